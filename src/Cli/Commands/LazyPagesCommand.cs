using System.CommandLine;
using Microsoft.Extensions.Logging;
using PostCopy.CriuWire;
using PostCopy.Hosting;
using PostCopy.LazyPages;
using Serilog.Core;
using Serilog.Extensions.Logging;

namespace PostCopy.Commands;

/// <summary><c>postcopy lazy-pages</c>: in the place of <c>criu lazy-pages</c>, with its options.</summary>
internal static class LazyPagesCommand
{
    private const string Name = "lazy-pages";

    private const string Help = """
        Serve the page faults of one "criu restore --lazy-pages" or "runc restore --lazy-pages": in the place of "criu lazy-pages", with its options.

        Options, as CRIU has them:
          -D, --images-dir DIR     the images; default: the current directory
          -W, --work-dir DIR       where restore finds lazy-pages.socket; default: the images' directory
              --page-server        get the pages from a page server: a dump's, or one for images; else from the images
              --address HOST       the page server's address
              --port PORT          its port
              --ps-socket FD       an inherited TCP socket, connected to the page server, in the place of address and port
              --tls [--tls-cacert FILE] [--tls-cacrl FILE] [--tls-cert FILE] [--tls-key FILE] [--tls-no-cn-verify]
          -o, --log-file FILE      log there and not to standard error; relative to the work directory; with -d the default is
                                   lazy-pages.log there
          -v[N], --verbosity[=N]   1 errors, 2 warnings (default), 3 what happens, 4 everything
          -d, --daemon             go to the background once restore can connect
              --pidfile FILE       with -d: write the pid there; the file must not exist
              --status-fd FD       write a zero byte there once restore can connect
              --config FILE        read this configuration file, too; CRIU's own ones are read as CRIU does
              --no-default-config  but not /etc/criu/default.conf and ~/.criu/default.conf
              --auto-dedup         accepted, without effect: the images stay as they are
        Only here:
              --header-size 24|32  the page server is of CRIU 4.1 or older | 4.2 or newer; default: as the images show
              --state-dir DIR      where the keeper of the userfaultfds has its files, on tmpfs; default: /run/postcopy

        Exit code: 0 every page is in place, 1 anything else: also when all tasks ended before their memory was here. Whatever goes wrong, tasks wait for
        pages that are missing and never read zeroes, and the tasks of a "criu dump --lazy-pages" that can be reached resume.
        """;

    internal static Command Create() => CriuStyleCommand.Create(Name, "Serve the page faults of a lazy restore, in the place of \"criu lazy-pages\".", Help, ["page-server"], ["header-size", "state-dir"], RunAsync);

    private static async Task<int> RunAsync(CriuArguments arguments)
    {
        LazyPagesOptions options = new()
        {
            ImagesDirectory = CriuStyleCommand.ImagesDirectory(arguments),
            WorkDirectory = CriuStyleCommand.WorkDirectory(arguments),
            PageServer = PageServer(arguments),
            HeaderBytes = arguments.Text("header-size") switch
            {
                null => null,
                "24" => 24,
                "32" => 32,
                string other => throw new FormatException($"--header-size {other}: 24 or 32"),
            },
            StatusDescriptor = CriuStyleCommand.StatusDescriptor(arguments),
        };
        options.StateDirectory = arguments.Text("state-dir") is { } state ? Path.GetFullPath(state) : options.StateDirectory;
        if (arguments.Has("daemon"))
        {
            return CriuStyleCommand.RunInBackground(Name, arguments);
        }

        using Logger logger = CriuStyleLog.Create(CriuStyleCommand.InWorkDirectory(arguments, "log-file"), arguments.Verbosity);
        using SerilogLoggerFactory loggers = new(logger);
        ILogger<LazyPagesDaemon> log = loggers.CreateLogger<LazyPagesDaemon>();
        CommandLog.WarnOfWhatHasNoEffect(log, arguments);
        try
        {
            return await new LazyPagesDaemon(options, log).RunAsync().ConfigureAwait(false) ? 0 : CriuStyleCommand.Failed;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            CommandLog.Failed(log, e.Message);
            return CriuStyleCommand.Failed;
        }
    }

    private static PageServerAddress? PageServer(CriuArguments arguments)
    {
        if (!arguments.Has("page-server"))
        {
            return null;
        }

        if (CriuStyleCommand.PageServerDescriptor(arguments) is { } descriptor)
        {
            return new PageServerAddress(arguments.Text("address") ?? "", arguments.Number("port", 0, ushort.MaxValue) ?? 0) { Descriptor = descriptor, Tls = CriuStyleCommand.Tls(arguments) };
        }

        string host = arguments.Text("address") ?? throw new FormatException("--page-server needs --address");
        int port = arguments.Number("port", 1, ushort.MaxValue) ?? throw new FormatException("--page-server needs --port");
        return new PageServerAddress(host, port) { Tls = CriuStyleCommand.Tls(arguments) };
    }
}
