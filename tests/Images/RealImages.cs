using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Mono.Unix.Native;

namespace PostCopy.Tests.Images;

/// <summary>Images that CRIU itself made of the <see cref="MemoryZoo"/>: a plain dump and a lazy one of the same, unchanged process tree.</summary>
public sealed class RealImages : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _root = Directory.CreateTempSubdirectory("postcopy-images-test-").FullName;

    public RealImages()
    {
        SkipReason = Environment.IsPrivilegedProcess ? null : "CRIU needs root";
        string? criu = Find("criu");
        string? gcc = Find("gcc");
        SkipReason ??= criu is null ? "CRIU is not installed" : gcc is null ? "gcc is not installed" : null;
        if (SkipReason is not null)
            return;

        try
        {
            Dump(gcc!, criu!);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Null when the images could be made.</summary>
    public string? SkipReason { get; }

    public bool HasGuardRegions { get; private set; }

    public int RootPid { get; private set; }

    public string Plain => Path.Join(_root, "plain");

    public string Lazy => Path.Join(_root, "lazy");

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private void Dump(string gcc, string criu)
    {
        string program = Path.Join(_root, "zoo");
        string source = program + ".c";
        File.WriteAllText(source, MemoryZoo.Source);
        Assert.Equal(0, Run(gcc, "-O1", "-pthread", "-o", program, source));

        using Process zoo = Process.Start(new ProcessStartInfo(program) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        try
        {
            string? line = zoo.StandardOutput.ReadLine();
            Assert.StartsWith(MemoryZoo.Ready, line, StringComparison.Ordinal);
            HasGuardRegions = line!.EndsWith('1');
            RootPid = zoo.Id;
            // It redirects its own descriptors behind that line: the end of the pipe says it is done.
            Assert.Equal("", zoo.StandardOutput.ReadToEnd());

            Directory.CreateDirectory(Plain);
            Directory.CreateDirectory(Lazy);
            int plain = Run(criu, "dump", "-t", $"{zoo.Id}", "-D", Plain, "-o", "dump.log", "--leave-running");
            Assert.True(plain == 0, $"criu dump failed: {File.ReadAllText(Path.Join(Plain, "dump.log"))}");

            // The refusal at post-dump leaves complete images and a tree that runs on; then the port is not waited on, for status-ready is refused too.
            string hook = Path.Join(_root, "refuse.sh");
            File.WriteAllText(hook, "#!/bin/sh\ncase $CRTOOLS_SCRIPT_ACTION in post-dump|status-ready) exit 1 ;; esac\n");
            Assert.Equal(0, Syscall.chmod(hook, FilePermissions.S_IRWXU));
            int lazy = Run(
                criu, "dump", "-t", $"{zoo.Id}", "-D", Lazy, "-o", "dump.log", "-v4",
                "--lazy-pages", "--address", "127.0.0.1", "--port", $"{FreePort()}", "--action-script", hook);
            Assert.True(lazy != 0 && File.Exists(Path.Join(Lazy, "pstree.img")), File.ReadAllText(Path.Join(Lazy, "dump.log")));
            Assert.False(zoo.HasExited);
        }
        finally
        {
            // By the signal it handles: it then reaps its children instead of leaving that to an init that may not.
            Assert.Equal(0, Syscall.kill(zoo.Id, Signum.SIGTERM));
            Assert.True(zoo.WaitForExit(Patience));
        }
    }

    private static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(Patience), $"{program} did not end");
        return process.ExitCode;
    }

    private static string? Find(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/opt/postcopy/bin".Split(':')
            .Select(directory => Path.Join(directory, program))
            .FirstOrDefault(File.Exists);

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
