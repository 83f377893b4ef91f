using System.CommandLine;
using PostCopy.Check;
using PostCopy.Display;

namespace PostCopy.Commands;

/// <summary><c>postcopy check</c>: what this host can do, what is missing, how to get it.</summary>
internal static class CheckCommand
{
    /// <summary>This host, or the pair of hosts, cannot migrate.</summary>
    private const int HostCannot = 3;

    internal static Command Create()
    {
        Option<bool> json = new("--json") { Description = "Print the report as JSON." };
        Command command = new("check", "Try out what this host can do, and say what is missing and how to get it.") { json };
        command.SetAction((result, cancellationToken) => RunAsync(result.GetValue(json), result.InvocationConfiguration.Output, cancellationToken));
        return command;
    }

    /// <summary>Checks this host and prints the report; answers the exit code.</summary>
    internal static async Task<int> RunAsync(bool json, TextWriter output, CancellationToken cancellationToken)
    {
        HostCheckReport report = await HostCheck.RunAsync(new HostCheckOptions(), cancellationToken);
        if (json)
            await output.WriteLineAsync(report.ToJson(indented: true));
        else
            HostCheckText.Write(output, report, "this host");
        return report.CanSend && report.CanReceive ? 0 : HostCannot;
    }
}
