using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>
/// A child with exactly the descriptors it was given, default signal dispositions and an empty signal mask.
/// <see cref="System.Diagnostics.Process"/> has no list of descriptors (every one without close-on-exec leaks into the child), and its
/// SIGCHLD handler takes away the ptrace stops of its children. This one is unknown to that handler, so it may be traced.
/// </summary>
/// <remarks>
/// It is always reaped, watched or not: one thread of the process waits for all of them (<see cref="ChildReaper"/>). Nothing kills it but
/// <see cref="Kill"/>. All members may be used from any thread.
/// </remarks>
internal sealed class ChildProcess
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource<ExitStatus> _exit = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly int _pidfd;

    private ChildProcess(int pid, int pidfd)
    {
        Pid = pid;
        _pidfd = pidfd;
    }

    public int Pid { get; }

    public bool HasExited => _exit.Task.IsCompleted;

    /// <summary>Starts <paramref name="path"/>; returns once its execution has begun, and throws when it could not be executed.</summary>
    /// <param name="path">The executable file; not searched for, see <see cref="ChildPath.Find(string)"/>.</param>
    /// <param name="arguments">Its arguments, without the program's name.</param>
    /// <param name="environment">Its whole environment; null gives it ours, with <see cref="ChildPath.Value"/> as PATH.</param>
    /// <param name="descriptors">All that it may have. Standard streams that are not named are /dev/null, everything else is closed.</param>
    /// <param name="workingDirectory">Null for ours.</param>
    /// <param name="newSession">In a session of its own, out of reach of our terminal's signals.</param>
    public static ChildProcess Start(
        string path,
        IReadOnlyList<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null,
        IReadOnlyList<ChildDescriptor>? descriptors = null,
        string? workingDirectory = null,
        bool newSession = false)
    {
        string[] argv = [path, .. arguments];
        string[] envp = [.. (environment ?? ChildPath.Environment()).Select(pair => $"{pair.Key}={pair.Value}")];
        int pid = SpawnRequest.Run(path, argv, envp, descriptors ?? [], workingDirectory, newSession);

        int pidfd = Libc.pidfd_open(pid);
        if (pidfd < 0)
        {
            LinuxException failure = LinuxException.Last($"pidfd_open of child {pid} ({path})");
            ChildReaper.KillAndReap(pid);
            throw failure;
        }

        ChildProcess child = new(pid, pidfd);
        ChildReaper.Watch(child, pidfd);
        return child;
    }

    /// <summary>
    /// Starts a helper of ours in a session of its own, with nothing but one end of a pair of sockets that keep messages apart (SOCK_SEQPACKET).
    /// </summary>
    /// <param name="path">The executable file.</param>
    /// <param name="arguments">Its arguments, without the program's name.</param>
    /// <param name="descriptor">What its end is called there.</param>
    /// <returns>The child, and our end, which is the caller's to close.</returns>
    internal static (ChildProcess Child, int Socket) StartConnected(string path, IReadOnlyList<string> arguments, int descriptor)
    {
        if (Syscall.socketpair(UnixAddressFamily.AF_UNIX, UnixSocketType.SOCK_SEQPACKET, UnixSocketFlags.SOCK_CLOEXEC, 0, out int ours, out int theirs) != 0)
        {
            throw new LinuxException($"socketpair for {path} {arguments[0]}", (Errno)Stdlib.GetLastError());
        }

        try
        {
            return (Start(path, arguments, descriptors: [new ChildDescriptor(theirs, descriptor)], workingDirectory: "/", newSession: true), ours);
        }
        catch
        {
            _ = Libc.close(ours);
            throw;
        }
        finally
        {
            _ = Libc.close(theirs);
        }
    }

    /// <summary>Completes when the child has ended and was reaped. Cancelling ends the waiting, not the child.</summary>
    public Task<ExitStatus> WaitAsync(CancellationToken cancellationToken) => _exit.Task.WaitAsync(cancellationToken);

    /// <summary>Sends a signal; does nothing when the child has ended. It can never reach another process that got the same pid.</summary>
    public void Kill(Signal signal)
    {
        lock (_gate)
        {
            if (HasExited || Libc.pidfd_send_signal(_pidfd, (int)signal) == 0)
            {
                return;
            }

            Errno errno = LinuxException.LastErrno;
            if (errno != Errno.ESRCH) // ESRCH: ended, not yet reaped
                throw new LinuxException($"pidfd_send_signal {signal} to child {Pid}", errno);
        }
    }

    /// <summary>For the reaper: the child was reaped, its descriptor can go.</summary>
    internal void Ended(ExitStatus status)
    {
        lock (_gate)
        {
            _ = Libc.close(_pidfd);
            _exit.SetResult(status);
        }
    }

    /// <summary>For the reaper: somebody else reaped the child, as the kernel does in a process that was started with SIGCHLD ignored.</summary>
    internal void Lost(LinuxException reason)
    {
        lock (_gate)
        {
            _ = Libc.close(_pidfd);
            _exit.SetException(reason);
        }
    }
}
