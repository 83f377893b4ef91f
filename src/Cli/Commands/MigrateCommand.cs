using System.CommandLine;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Mono.Unix.Native;
using PostCopy.Display;
using PostCopy.Hosting;
using PostCopy.Migrate;
using PostCopy.Transport;
using Serilog.Core;
using Serilog.Events;
using Serilog.Extensions.Logging;

namespace PostCopy.Commands;

/// <summary><c>postcopy migrate runc ID --to HOST:PORT</c> and <c>postcopy migrate process PID --to HOST:PORT</c>.</summary>
internal static class MigrateCommand
{
    private const string PostCopyMode = "post-copy";
    private const string StopCopyMode = "stop-copy";

    // All forms of the command have these; they may stand before or behind the word that names the form.
    private static readonly Option<string> StateDirectory = new("--state-dir")
    {
        Description = "Where the session keeps its state; on tmpfs.",
        HelpName = "DIR",
        DefaultValueFactory = static _ => Defaults.StateDirectory,
        Recursive = true,
    };

    private static readonly Option<bool> Json = new("--json") { Description = "Print the report as one JSON object, and nothing else, on standard output.", Recursive = true };
    private static readonly Option<string?> ReportFile = new("--report") { Description = "Also write the JSON report to this file.", HelpName = "FILE", Recursive = true };
    private static readonly Option<bool> Verbose = new("--verbose", "-v") { Description = "Log more.", Recursive = true };

    private static readonly Option<string?> Resume = new("--resume")
    {
        Description = "Go on with a session whose process has died, or was left while it was stalled: serve what is still owed.",
        HelpName = "SESSION",
    };

    internal static Command Create()
    {
        ReportFile.Validators.Add(static result =>
        {
            if (result.GetValueOrDefault<string?>() is { } file && (file.Length == 0 || !Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(file)))))
            {
                result.AddError($"--report {file}: there is no such directory");
            }
        });
        Command command = new("migrate", "Move a container, or a process tree, to another host while it runs.") { CreateRunc(), CreateProcess(), Resume, StateDirectory, Json, ReportFile, Verbose };
        command.SetAction(static (parsed, _) => ResumeAsync(parsed));
        return command;
    }

    private static async Task<int> ResumeAsync(ParseResult parsed)
    {
        if (parsed.GetValue(Resume) is not { } session)
        {
            await Console.Error.WriteLineAsync("postcopy migrate: name a container (postcopy migrate runc ID --to HOST:PORT) or a process (postcopy migrate process PID --to HOST:PORT), or a session with --resume").ConfigureAwait(false);
            return ExitCodes.Usage;
        }

        string stateDirectory = Path.GetFullPath(parsed.GetRequiredValue(StateDirectory));
        try
        {
            return await MigrateAsync(parsed, null, (display, logger, signals) => ContainerMigration.ResumeAsync(session, stateDirectory, display, logger, signals)).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            Complaint.Write(e.Message);
            return ExitCodes.Usage;
        }
    }

    private static Command CreateRunc()
    {
        Argument<string> id = new("ID") { Description = "The container's id, as runc list shows it." };
        Option<string?> bundle = new("--bundle") { Description = "The container's bundle on the destination. Default: the same path as here.", HelpName = "DEST_DIR" };
        Option<string?> newId = new("--as") { Description = "The container's id on the destination. Default: the same as here.", HelpName = "NEW_ID" };
        Option<string?> runcRoot = new("--runc-root") { Description = "runc's state directory on this host (runc --root).", HelpName = "DIR" };
        Option<bool> tcpEstablished = new("--tcp-established") { Description = "Keep established TCP connections. The container's IP address must move with it." };
        Command command = new("runc", "Move a runc container. It keeps its processes, its memory and its identity; its bundle must exist on the destination already.")
        {
            id, bundle, newId, tcpEstablished, runcRoot,
        };
        return Complete(command, (parsed, common) => common with
        {
            ContainerId = parsed.GetRequiredValue(id),
            DestinationBundle = parsed.GetValue(bundle),
            DestinationId = parsed.GetValue(newId),
            RuncRoot = parsed.GetValue(runcRoot) is { } root ? Path.GetFullPath(root) : null,
            TcpEstablished = parsed.GetValue(tcpEstablished),
        });
    }

    private static Command CreateProcess()
    {
        Argument<int> pid = new("PID") { Description = "The root of the tree: it moves with all its descendants." };
        Command command = new("process", "Move a bare process tree. Its pids must be free and its files must exist at the same paths on the destination; it must have no terminal.") { pid };
        return Complete(command, (parsed, common) => common with { ProcessId = parsed.GetRequiredValue(pid) });
    }

    /// <summary>Adds what all migrations have in common.</summary>
    private static Command Complete(Command command, Func<ParseResult, MigrationOptions, MigrationOptions> specify)
    {
        Option<AgentEndpoint> to = EndpointOption.Create("--to", "The destination's agent: HOST:PORT or unix:PATH.");
        to.Required = true;
        Option<string> mode = new("--mode")
        {
            Description = "post-copy: run there at once, memory follows. stop-copy: suspend, copy everything, resume there; the safest and the longest downtime.",
            DefaultValueFactory = static _ => PostCopyMode,
        };
        mode.AcceptOnlyFromAmong(PostCopyMode, StopCopyMode);
        Option<string> policy = new("--policy")
        {
            Description = "What is pushed next. sequential: from the lowest address up. neighbours: around the latest faults. none: nothing, only faults move pages (for research).",
            DefaultValueFactory = static _ => "sequential",
        };
        policy.AcceptOnlyFromAmong("sequential", "neighbours", "none");
        Option<bool> keepCpusAwake = new("--keep-cpus-awake")
        {
            Description = "Keep this host's idle CPUs awake while pages are owed: faults wait a third to a half as long, idle CPUs burn power.",
        };
        Option<bool> collapse = new("--collapse") { Description = "Join memory into transparent huge pages on the destination as it arrives, where that takes no more memory. Good for programs with large, full heaps, and where a page's first touch is dear." };
        Option<string?> criuConfig = new("--criu-config") { Description = "Further CRIU options for both sides: a file of at most 64 KiB with one long option a line, without dashes. ps-socket is ours to set; an action-script runs beside ours.", HelpName = "FILE" };
        Option<string> tokenFile = new("--token-file")
        {
            Description = "The agent's token (0600).",
            HelpName = "FILE",
            DefaultValueFactory = static _ => Defaults.TokenFile,
        };
        Option<bool> insecure = new("--insecure")
        {
            Description = "Send the container's memory to another machine without encryption: whoever can read the wire reads it.",
        };
        Option<string?> tlsName = TlsNameOption.Create();
        Option<double> stepDeadline = StepDeadlineOption.ForMigrate();
        Option<bool> verify = new("--verify") { Description = "Checksum every frame of pages on both sides: pages damaged on the way, in memory for example, are noticed and never installed." };

        foreach (Option option in (Option[])[to, mode, policy, keepCpusAwake, collapse, criuConfig, tokenFile, tlsName, insecure, verify, stepDeadline])
        {
            command.Add(option);
        }

        PreCopyOptions preCopy = new(command);
        TlsOptions tls = new(command);
        tls.Exclude(command, insecure);
        command.Validators.Add(static result =>
        {
            if (result.GetResult(Resume) is { Implicit: false })
            {
                result.AddError("--resume SESSION stands alone: the session knows what it moves, and where to");
            }
        });
        command.SetAction((parsed, _) => RunAsync(
            parsed,
            specify(parsed, preCopy.Apply(parsed, new MigrationOptions
            {
                Destination = parsed.GetRequiredValue(to),
                Mode = parsed.GetValue(mode) == StopCopyMode ? MigrationMode.StopCopy : MigrationMode.PostCopy,
                Policy = Enum.Parse<PrefetchPolicy>(parsed.GetRequiredValue(policy), ignoreCase: true),
                KeepCpusAwake = parsed.GetValue(keepCpusAwake),
                Collapse = parsed.GetValue(collapse),
                CriuConfigFile = parsed.GetValue(criuConfig),
                TokenFile = Path.GetFullPath(parsed.GetRequiredValue(tokenFile)),
                StateDirectory = Path.GetFullPath(parsed.GetRequiredValue(StateDirectory)),
                Insecure = parsed.GetValue(insecure),
                Tls = tls.Read(parsed, parsed.GetRequiredValue(to), parsed.GetValue(insecure)),
                TlsName = parsed.GetValue(tlsName),
                Verify = parsed.GetValue(verify),
                StepDeadline = TimeSpan.FromSeconds(parsed.GetValue(stepDeadline)),
            }))));
        return command;
    }

    private static Task<int> RunAsync(ParseResult parsed, MigrationOptions options) =>
        MigrateAsync(parsed, options, (display, logger, signals) => new ContainerMigration(options, logger).RunAsync(display, signals));

    private static async Task<int> MigrateAsync(
        ParseResult parsed,
        MigrationOptions? options,
        Func<IMigrationDisplay, ILogger<ContainerMigration>, CancellationToken, Task<MigrationReport>> migrate)
    {
        using TerminationSignals signals = new();
        using Logger logger = SerilogSetup.Create(parsed.GetValue(Verbose), LogEventLevel.Warning);
        using SerilogLoggerFactory loggers = new(logger);
        MigrationReport report;
        // Of what CRIU and runc write for us, images above all, nothing is for others. The report's mode is the user's to say.
        FilePermissions usual = Syscall.umask(FilePermissions.S_IRWXG | FilePermissions.S_IRWXO);
        using (IMigrationDisplay display = MigrationDisplay.ForThisTerminal())
        {
            report = await migrate(display, loggers.CreateLogger<ContainerMigration>(), signals.Token).ConfigureAwait(false);
        }

        Syscall.umask(usual);
        string text = JsonSerializer.Serialize(report, ReportJson.Default.MigrationReport);
        // The exit code says where the container is, whoever of these cannot be told.
        Complaint.Attempt("the report could not be printed", () =>
        {
            if (parsed.GetValue(Json))
            {
                Console.Out.WriteLine(text);
            }
            else if (options is null)
            {
                Console.Out.WriteLine(ReportText.Where(report.Outcome));
            }
            else
            {
                ReportText.Write(Console.Out, options, report);
            }
        });
        if (parsed.GetValue(ReportFile) is { } file)
        {
            Complaint.Attempt($"the report could not be written to {file}", () => File.WriteAllText(file, text + Environment.NewLine));
        }

        Complaint.Write(report.Errors);
        return ExitCodes.For(report.Outcome);
    }
}
