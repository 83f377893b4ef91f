using System.Text;
using Microsoft.Win32.SafeHandles;

namespace PostCopy.Linux;

/// <summary>What a child that ran to its end printed, at most <see cref="MaxCapturedBytes"/> of each stream.</summary>
internal sealed record CapturedChild(ExitStatus Status, string Output, string Error)
{
    /// <summary>More than any version or error message; what a child prints beyond it is dropped from the result.</summary>
    internal const int MaxCapturedBytes = 64 * 1024;

    /// <summary>
    /// Runs a child to its end. Its streams go to memory files, which nobody needs to read while it runs, and which a grandchild that keeps
    /// them open (a restored task) does not hold up.
    /// </summary>
    /// <remarks>When cancelled, the child is killed and reaped before this throws.</remarks>
    internal static async Task<CapturedChild> RunAsync(
        string path,
        IReadOnlyList<string> arguments,
        IReadOnlyDictionary<string, string>? environment,
        string? input,
        CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using SafeFileHandle output = Create("output");
        using SafeFileHandle error = Create("error");
        using SafeFileHandle stdin = Create("input");
        RandomAccess.Write(stdin, Encoding.UTF8.GetBytes(input ?? ""), 0); // at an offset: the position it is read from stays 0

        ChildProcess child = ChildProcess.Start(path, arguments, environment, [new(Fd(stdin), 0), new(Fd(output), 1), new(Fd(error), 2)]);
        try
        {
            ExitStatus status = await child.WaitAsync(cancellationToken).ConfigureAwait(false);
            return new CapturedChild(status, Read(output), Read(error));
        }
        catch (OperationCanceledException)
        {
            child.Kill(Signal.SIGKILL);
            await child.WaitAsync(CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }

    private static int Fd(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    private static SafeFileHandle Create(string name)
    {
        int fd = Libc.memfd_create($"postcopy-{name}", Libc.MFD_CLOEXEC);
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw LinuxException.Last("memfd_create");
    }

    private static string Read(SafeFileHandle file)
    {
        byte[] bytes = new byte[Math.Min(RandomAccess.GetLength(file), MaxCapturedBytes)];
        int length = RandomAccess.Read(file, bytes, 0);
        return Encoding.UTF8.GetString(bytes, 0, length);
    }
}
