using System.CommandLine;
using Microsoft.Extensions.Logging;
using PostCopy.CriuServe;
using PostCopy.Hosting;
using Serilog.Core;
using Serilog.Extensions.Logging;

namespace PostCopy.Commands;

/// <summary><c>postcopy page-server</c>: serves pages to <c>criu lazy-pages</c> or <c>postcopy lazy-pages</c>, with CRIU's options.</summary>
internal static class PageServerCommand
{
    private const string Name = "page-server";

    /// <summary>Each says whose memory to serve.</summary>
    private static readonly string[] Subjects = ["runc", "tree", "resume"];

    private const string Help = """
        Serve pages to "criu lazy-pages" or "postcopy lazy-pages": those in an image directory, to up to 256 restores at once; or those of a
        container or process tree that this command dumps and holds frozen, in the place of "runc checkpoint --lazy-pages" and "criu dump --lazy-pages".

        Options, as CRIU has them:
          -D, --images-dir DIR     the images, to read or to write; default: the current directory
          -W, --work-dir DIR       where a dump's logs go; default: the images' directory
              --address ADDR       listen there; default: 127.0.0.1 (CRIU's is every address: whoever connects reads the memory)
              --port PORT          the port; 0 lets the kernel choose one, which the log names (-v3)
              --ps-socket FD       an inherited socket, connected to the one client, in the place of address and port
              --lazy-pages         accepted: the other kind, which receives images, is not offered
              --tls [--tls-cacert FILE] [--tls-cacrl FILE] [--tls-cert FILE] [--tls-key FILE] [--tls-no-cn-verify]
          -o, --log-file FILE      log there and not to standard error; relative to the work directory; with -d the default is
                                   page-server.log there
          -v[N], --verbosity[=N]   1 errors, 2 warnings (default), 3 what happens, 4 everything
          -d, --daemon             go to the background once clients can connect
              --pidfile FILE       with -d: write the pid there; the file must not exist
              --status-fd FD       write a zero byte there once clients can connect (and a dump is complete)
              --config FILE        read this configuration file, too; CRIU's own ones are read as CRIU does
              --no-default-config  but not /etc/criu/default.conf and ~/.criu/default.conf
              --auto-dedup         accepted, without effect: the images stay as they are
        Only here, to serve from frozen processes:
              --runc ID            dump this runc container
              --runc-root DIR      runc's state directory (runc --root)
          -t, --tree PID           dump this process and all below it
              --resume SESSION     go on with frozen processes whose page server was killed: the log named the session (-v3), and so does
                                   postcopy status
              --state-dir DIR      where the dump keeps its state, on tmpfs; default: /run/postcopy
              -- OPTION...         further options for "runc checkpoint" or "criu dump"

        Serving images ends with SIGTERM or SIGINT. Serving from frozen processes ends when a client has fetched all pages: then the frozen copy is
        discarded, exit code 0. Should a client go away before, the copy stays frozen: SIGUSR1 discards it, SIGUSR2 lets it run on (exit code 1).
        """;

    internal static Command Create() => CriuStyleCommand.Create(Name, "Serve pages to lazy-pages, CRIU's or ours: from images, or from processes that it dumps and holds frozen.", Help, ["lazy-pages"], ["runc", "runc-root", "tree", "resume", "state-dir"], RunAsync);

    private static async Task<int> RunAsync(CriuArguments arguments)
    {
        CriuPageServerOptions options = new()
        {
            ImagesDirectory = CriuStyleCommand.ImagesDirectory(arguments),
            WorkDirectory = CriuStyleCommand.WorkDirectory(arguments),
            Port = arguments.Number("port", 0, ushort.MaxValue) ?? (arguments.Has("ps-socket") ? 0 : throw new FormatException("--port is missing")),
            ClientDescriptor = CriuStyleCommand.PageServerDescriptor(arguments),
            Tls = CriuStyleCommand.Tls(arguments),
            StatusDescriptor = CriuStyleCommand.StatusDescriptor(arguments),
            Dump = Dump(arguments),
            ResumedSession = arguments.Text("resume"),
        };
        options.Address = arguments.Text("address") ?? options.Address;
        options.StateDirectory = arguments.Text("state-dir") is { } state ? Path.GetFullPath(state) : options.StateDirectory;
        if (arguments.Has("daemon"))
        {
            return CriuStyleCommand.RunInBackground(Name, arguments);
        }

        using Logger logger = CriuStyleLog.Create(CriuStyleCommand.InWorkDirectory(arguments, "log-file"), arguments.Verbosity);
        using SerilogLoggerFactory loggers = new(logger);
        ILogger<CriuPageServer> log = loggers.CreateLogger<CriuPageServer>();
        CommandLog.WarnOfWhatHasNoEffect(log, arguments);
        using TerminationSignals signals = new();
        CriuPageServer server = new(options, log);
        using VerdictSignals verdicts = new(isGoneElsewhere =>
        {
            if (!server.Decide(isGoneElsewhere))
            {
                CommandLog.NothingToDecide(log);
            }
        });
        try
        {
            return await server.RunAsync(signals.Token).ConfigureAwait(false) ? 0 : CriuStyleCommand.Failed;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            CommandLog.Failed(log, e.Message);
            return CriuStyleCommand.Failed;
        }
    }

    private static DumpRequest? Dump(CriuArguments arguments)
    {
        string? container = arguments.Text("runc");
        int? root = arguments.Number("tree", 2, int.MaxValue);
        if (Subjects.Count(arguments.Has) > 1)
        {
            throw new FormatException("--runc, --tree and --resume: one of them");
        }

        if (arguments.Text("resume") is { } session && session != Path.GetFileName(session))
        {
            throw new FormatException($"--resume {session}: not the name of a session");
        }

        if (container is null && root is null)
        {
            return arguments.Rest.Count == 0 ? null : throw new FormatException("what follows -- is for a dump: it needs --runc or --tree");
        }

        return new DumpRequest(container, root ?? 0, arguments.Rest) { RuncRoot = arguments.Text("runc-root") is { } runc ? Path.GetFullPath(runc) : null };
    }
}
