using System.Globalization;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Display;

namespace PostCopy.Hosting;

/// <summary>Logs where CRIU would: to the file of <c>-o</c>, else to standard error; as much as <c>-v</c> says.</summary>
internal sealed class CriuStyleLog : ILogEventSink, IDisposable
{
    private const string Template = "({Timestamp:HH:mm:ss.ffffff}) {Level:u3} {Message:lj}{NewLine}{Exception}";

    private readonly Lock _lock = new();
    private readonly TextWriter _output;
    private readonly MessageTemplateTextFormatter _format = new(Template, CultureInfo.InvariantCulture);

    private CriuStyleLog(TextWriter output) => _output = output;

    /// <param name="path">Null for standard error.</param>
    /// <param name="verbosity">CRIU's numbers: 1 errors, 2 warnings, 3 what happens, 4 everything.</param>
    internal static Logger Create(string? path, int verbosity)
    {
        TextWriter output = path is null ? Console.Error : new StreamWriter(path) { AutoFlush = true };
        LogEventLevel level = verbosity switch { <= 1 => LogEventLevel.Error, 2 => LogEventLevel.Warning, 3 => LogEventLevel.Information, _ => LogEventLevel.Debug };
        return new LoggerConfiguration().MinimumLevel.Is(level).WriteTo.Sink(new CriuStyleLog(output)).CreateLogger();
    }

    public void Emit(LogEvent logEvent)
    {
        lock (_lock)
        {
            _format.Format(logEvent, _output);
        }
    }

    public void Dispose() => _output.Dispose();
}
