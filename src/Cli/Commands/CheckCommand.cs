using System.CommandLine;
using PostCopy.Certificates;
using PostCopy.Check;
using PostCopy.Display;
using PostCopy.Migrate;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary><c>postcopy check</c>: what this host, or a pair of hosts, can do, what is missing, how to get it.</summary>
internal static class CheckCommand
{
    internal static Command Create()
    {
        Option<AgentEndpoint?> to = EndpointOption.CreateOptional("--to", "Also ask the agent there what its host can do: HOST:PORT or unix:PATH.");
        Option<string> tokenFile = new("--token-file")
        {
            Description = "The agent's token (0600).",
            HelpName = "FILE",
            DefaultValueFactory = static _ => Defaults.TokenFile,
        };
        Option<string?> tlsName = TlsNameOption.Create();
        Option<bool> insecure = new("--insecure") { Description = "Ask without encryption, although this host has certificates." };
        Option<bool> json = new("--json") { Description = "Print the report as JSON; with --to an object with 'source' and 'destination'." };
        Command command = new("check", "Try out what this host can do, and say what is missing and how to get it.") { to, tokenFile, tlsName, insecure, json };
        TlsOptions tls = new(command);
        tls.Exclude(command, insecure);
        command.SetAction((parsed, cancellation) =>
        {
            AgentEndpoint? agent = parsed.GetValue(to);
            TlsFiles? files = agent is null ? null : tls.Read(parsed, agent, parsed.GetValue(insecure));
            return RunAsync(
                agent,
                there => DestinationCheck.RunAsync(there, parsed.GetRequiredValue(tokenFile), files, parsed.GetValue(tlsName), cancellation),
                parsed.GetValue(json),
                parsed.InvocationConfiguration.Output,
                cancellation);
        });
        return command;
    }

    private static async Task<int> RunAsync(AgentEndpoint? to, Func<AgentEndpoint, Task<HostCheckReport>> ask, bool json, TextWriter output, CancellationToken cancellation)
    {
        HostCheckReport here = await HostCheck.RunAsync(new HostCheckOptions(), cancellation).ConfigureAwait(false);
        if (to is null)
        {
            Write(output, here, "this host", json);
            return here.CanSend && here.CanReceive ? ExitCodes.Moved : ExitCodes.CannotHere;
        }

        HostCheckReport? there = null;
        string? unasked = null;
        try
        {
            there = await ask(to).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            unasked = e.Message;
        }

        if (json)
        {
            await output.WriteLineAsync($"{{\"source\":{here.ToJson()},\"destination\":{there?.ToJson() ?? "null"}}}").ConfigureAwait(false);
        }
        else
        {
            Write(output, here, "this host", json);
            if (there is not null)
            {
                await output.WriteLineAsync().ConfigureAwait(false);
                Write(output, there, to.ToString(), json);
            }
        }

        if (unasked is not null)
        {
            Complaint.Write(unasked);
        }

        return here.CanSend && there is { CanReceive: true } ? ExitCodes.Moved : ExitCodes.CannotHere;
    }

    private static void Write(TextWriter output, HostCheckReport report, string host, bool json)
    {
        if (json)
        {
            output.WriteLine(report.ToJson(indented: true));
        }
        else
        {
            HostCheckText.Write(output, report, host);
        }
    }
}
