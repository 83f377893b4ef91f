using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>
/// One thread that waits for all children of <see cref="ChildProcess"/>, through their pidfds. It never waits for a child by pid or for
/// "any child": those of <see cref="System.Diagnostics.Process"/> are the runtime's to reap.
/// </summary>
internal static unsafe class ChildReaper
{
    private const int EventsPerWait = 64;

    private static readonly int DataOffset = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 4 : 8;
    private static readonly int EventBytes = DataOffset + sizeof(long);
    private static readonly ConcurrentDictionary<long, (ChildProcess Child, int PidFd)> Children = new();
    private static readonly int EpollFd = Start();
    private static long s_lastKey;

    internal static void Watch(ChildProcess child, int pidfd)
    {
        // A key of our own: a pid or a descriptor may be given out again while its old entry is being removed.
        long key = Interlocked.Increment(ref s_lastKey);
        Children[key] = (child, pidfd);
        byte* request = stackalloc byte[EventBytes];
        *(uint*)request = Libc.EPOLLIN | Libc.EPOLLET;
        *(long*)(request + DataOffset) = key;
        if (Libc.epoll_ctl(EpollFd, Libc.EPOLL_CTL_ADD, pidfd, request) == 0)
        {
            return;
        }

        LinuxException failure = LinuxException.Last($"epoll_ctl for child {child.Pid}");
        Children.TryRemove(key, out _);
        child.Ended(KillAndReap(child.Pid));
        throw failure;
    }

    /// <summary>Ends a child that nobody watches. What is no child of ours is not killed but thrown as ECHILD.</summary>
    internal static ExitStatus KillAndReap(int pid)
    {
        if (Wait(Libc.P_PID, pid, Libc.WEXITED | Libc.WNOHANG) is ExitStatus ended)
        {
            return ended;
        }

        _ = Libc.kill(pid, (int)Signal.SIGKILL);
        return Wait(Libc.P_PID, pid, Libc.WEXITED) ?? throw new InvalidOperationException($"A blocking waitid of child {pid} found nothing.");
    }

    private static int Start()
    {
        int epoll = Libc.epoll_create1(Libc.O_CLOEXEC);
        if (epoll < 0)
        {
            throw LinuxException.Last("epoll_create1 for children");
        }

        new Thread(() => Run(epoll)) { Name = "postcopy-reaper", IsBackground = true }.Start();
        return epoll;
    }

    private static void Run(int epoll)
    {
        byte* events = stackalloc byte[EventsPerWait * EventBytes];
        while (true)
        {
            int count = Libc.epoll_wait(epoll, events, EventsPerWait, -1);
            if (count < 0 && LinuxException.LastErrno != Errno.EINTR)
            {
                throw LinuxException.Last("epoll_wait for children");
            }

            for (int i = 0; i < count; i++)
            {
                Reap(*(long*)(events + (i * EventBytes) + DataOffset));
            }
        }
    }

    // While another process traces a child that died, only the tracer may reap it; the pidfd becomes ready again when the tracer let go.
    // Hence WNOHANG, and edge-triggered.
    private static void Reap(long key)
    {
        (ChildProcess child, int pidfd) = Children[key];
        try
        {
            if (Wait(Libc.P_PIDFD, pidfd, Libc.WEXITED | Libc.WNOHANG) is not ExitStatus status)
            {
                return;
            }

            Forget(key, pidfd);
            child.Ended(status);
        }
        catch (LinuxException exception)
        {
            Forget(key, pidfd);
            child.Lost(exception);
        }
    }

    // Closing would not do: a fork of this process that has not executed its program yet holds the pidfd too, and epoll with it.
    private static void Forget(long key, int pidfd)
    {
        _ = Libc.epoll_ctl(EpollFd, Libc.EPOLL_CTL_DEL, pidfd, null);
        Children.TryRemove(key, out _);
    }

    private static ExitStatus? Wait(int idType, int id, int options)
    {
        Libc.ChildSignalInfo info = default;
        while (Libc.waitid(idType, id, &info, options | Libc.__WALL) != 0)
        {
            if (LinuxException.LastErrno is Errno errno and not Errno.EINTR)
            {
                throw new LinuxException($"waitid of child {id}", errno);
            }
        }
        if (info.si_pid == 0)
        {
            return null;
        }

        return info.si_code == Libc.CLD_EXITED ? new ExitStatus(info.si_status, 0) : new ExitStatus(0, (Signal)info.si_status);
    }
}
