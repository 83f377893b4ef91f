using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using PostCopy.CriuWire;
using PostCopy.Linux;

namespace PostCopy.Commands;

/// <summary>What the commands that stand in for CRIU's have in common: CRIU's way of writing options, and its exit codes.</summary>
internal static class CriuStyleCommand
{
    /// <summary>CRIU knows two: it went well, it did not.</summary>
    internal const int Failed = 1;

    internal static readonly string[] CommonOptions =
    [
        "images-dir", "work-dir", "log-file", "address", "port", "ps-socket", "daemon", "pidfile", "status-fd", "auto-dedup", "config", "no-default-config",
        "tls", "tls-cacert", "tls-cacrl", "tls-cert", "tls-key", "tls-no-cn-verify",
    ];

    /// <param name="name">The command's.</param>
    /// <param name="summary">One sentence, for the list of commands.</param>
    /// <param name="help">All there is to say.</param>
    /// <param name="options">Long names CRIU has as well, beside <see cref="CommonOptions"/>.</param>
    /// <param name="ownOptions">Long names CRIU does not have.</param>
    /// <param name="run">Does it.</param>
    internal static Command Create(string name, string summary, string help, string[] options, string[] ownOptions, Func<CriuArguments, Task<int>> run)
    {
        Command command = new(name, summary) { TreatUnmatchedTokensAsErrors = false };
        command.Options.Add(new HelpOption("--help", "-h") { Action = new PrintHelp(help) });
        command.SetAction(async (parsed, _) =>
        {
            try
            {
                // Not its unmatched tokens: those are without the "--".
                string[] words = [.. parsed.Tokens.SkipWhile(token => token.Value != name).Skip(1).Select(static token => token.Value)];
                string[] theirs = [.. CommonOptions, .. options];
                string[] known = [.. theirs, .. ownOptions];
                IEnumerable<string> configured = CriuConfigFiles.Options(new CriuArguments(known, words), theirs);
                return await run(new CriuArguments(known, [.. configured, .. words])).ConfigureAwait(false);
            }
            catch (Exception e) when (e is FormatException or IOException or UnauthorizedAccessException)
            {
                await Console.Error.WriteLineAsync($"postcopy {name}: {e.Message}").ConfigureAwait(false);
                return Failed;
            }
        });
        return command;
    }

    /// <summary>Relative names of files mean the work directory's, as with CRIU.</summary>
    internal static string? InWorkDirectory(CriuArguments arguments, string option) =>
        arguments.Text(option) is { } name ? Path.GetFullPath(name, WorkDirectory(arguments)) : null;

    internal static string ImagesDirectory(CriuArguments arguments) => Path.GetFullPath(arguments.Text("images-dir") ?? ".");

    internal static string WorkDirectory(CriuArguments arguments) => Path.GetFullPath(arguments.Text("work-dir") ?? ImagesDirectory(arguments));

    internal static int? StatusDescriptor(CriuArguments arguments) => arguments.Number("status-fd", 0, int.MaxValue);

    /// <summary>An inherited descriptor, the number which it has here.</summary>
    internal static int? PageServerDescriptor(CriuArguments arguments) => arguments.Number("ps-socket", 0, int.MaxValue);

    internal static CriuTls? Tls(CriuArguments arguments)
    {
        if (!arguments.Has("tls"))
        {
            return null;
        }

        CriuTls standard = new();
        return new CriuTls
        {
            CaFile = arguments.Text("tls-cacert"),
            RevocationFile = arguments.Text("tls-cacrl"),
            CertificateFile = arguments.Text("tls-cert") ?? standard.CertificateFile,
            KeyFile = arguments.Text("tls-key") ?? standard.KeyFile,
            AcceptAnyName = arguments.Has("tls-no-cn-verify"),
        };
    }

    private sealed class PrintHelp(string text) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine(text);
            return 0;
        }
    }

    /// <summary>
    /// <c>-d</c>: starts this command once more, without it, and returns when that one serves. It has no standard error to say on what must be heard, so without
    /// <c>-o</c> it logs in the work directory, to a file with the command's name.
    /// </summary>
    internal static int RunInBackground(string name, CriuArguments arguments)
    {
        string program = Environment.ProcessPath ?? throw new IOException("the program's own path is not known");
        string log = InWorkDirectory(arguments, "log-file") ?? Path.Combine(WorkDirectory(arguments), $"{name}.log");
        DateTime lastLog = File.GetLastWriteTimeUtc(log);
        // What the configuration files say is among the arguments by now.
        string[] words =
        [
            "--no-default-config", $"--status-fd={BackgroundStart.ReadyDescriptor}", $"--log-file={log}",
            .. arguments.Without("daemon", "pidfile", "status-fd", "config", "ps-socket", "log-file"),
        ];
        int? connection = PageServerDescriptor(arguments);
        try
        {
            BackgroundStart.Run(
                program,
                [name, .. connection is null ? [] : (string[])[$"--ps-socket={BackgroundStart.KeptDescriptor}"], .. words],
                InWorkDirectory(arguments, "pidfile"),
                Directory.GetCurrentDirectory(),
                connection);
        }
        catch (IOException e) when (File.Exists(log) && File.GetLastWriteTimeUtc(log) != lastLog)
        {
            throw new IOException($"{e.Message}: {File.ReadLines(log).LastOrDefault(static line => line.Length > 0)} (its log: {log})", e);
        }

        if (StatusDescriptor(arguments) is { } descriptor)
        {
            StatusByte.Write(descriptor);
        }

        return 0;
    }
}
