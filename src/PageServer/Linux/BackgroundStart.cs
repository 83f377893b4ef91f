using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>
/// What a C program does with daemon(3): leaves a process behind that serves on. .NET cannot fork, so the program is started afresh, in a session of
/// its own and with /dev/null for its streams.
/// </summary>
public static class BackgroundStart
{
    /// <summary>The descriptor on which the new process says with one byte that it serves.</summary>
    public const int ReadyDescriptor = 3;

    /// <summary>The descriptor that a further one, which the new process is to have, gets there.</summary>
    public const int KeptDescriptor = 4;

    /// <summary>Returns the pid once the new process has said that it serves. Throws <see cref="IOException"/> when it ended before.</summary>
    /// <param name="program">The executable file.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="pidFile">Where to write the pid, in decimal; it must not exist. Null for nowhere.</param>
    /// <param name="workingDirectory">Of the new process.</param>
    /// <param name="kept">A further descriptor for the new process; null for none.</param>
    public static int Run(string program, IReadOnlyList<string> arguments, string? pidFile, string workingDirectory, int? kept = null)
    {
        if (Syscall.pipe(out int reading, out int writing) != 0)
        {
            throw new LinuxException("pipe", (Errno)Stdlib.GetLastError());
        }

        using SafeFileHandle ready = new(reading, ownsHandle: true);
        ChildProcess child;
        try
        {
            ChildDescriptor[] descriptors = [new(writing, ReadyDescriptor), .. kept is { } own ? (ChildDescriptor[])[new(own, KeptDescriptor)] : []];
            child = ChildProcess.Start(program, arguments, descriptors: descriptors, workingDirectory: workingDirectory, newSession: true);
        }
        finally
        {
            _ = Syscall.close(writing);
        }

        using FileStream said = new(ready, FileAccess.Read, bufferSize: 0);
        if (said.ReadByte() < 0)
        {
            throw new IOException("the process in the background ended before it served");
        }

        if (pidFile is not null)
        {
            WritePid(pidFile, child);
        }

        return child.Pid;
    }

    private static void WritePid(string path, ChildProcess child)
    {
        try
        {
            using FileStream file = new(path, FileMode.CreateNew, FileAccess.Write);
            file.Write(System.Text.Encoding.ASCII.GetBytes(child.Pid.ToString(CultureInfo.InvariantCulture)));
        }
        catch
        {
            // Nobody could find it any more.
            child.Kill(Signal.SIGKILL);
            throw;
        }
    }
}
