using System.Globalization;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace PostCopy.Hosting;

/// <summary>Everything is logged to standard error, which leaves standard output to results.</summary>
internal static class SerilogSetup
{
    private const string Template = "{Timestamp:HH:mm:ss.fff} {Level:u3} {Message:lj}{NewLine}{Exception}";

    internal static Logger Create(bool verbose, LogEventLevel usual) =>
        new LoggerConfiguration()
            .MinimumLevel.Is(verbose ? LogEventLevel.Debug : usual)
            .MinimumLevel.Override("Microsoft", LogEventLevel.Warning)
            .WriteTo.Console(outputTemplate: Template, formatProvider: CultureInfo.InvariantCulture, standardErrorFromLevel: LogEventLevel.Verbose)
            .CreateLogger();
}
