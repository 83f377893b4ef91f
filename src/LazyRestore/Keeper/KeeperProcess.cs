using Mono.Unix.Native;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Userfault;
using Errno = PostCopy.Linux.Errno;

namespace PostCopy.Keeper;

/// <summary>
/// The agent's end of a keeper: a small process that holds duplicates of a session's userfaultfds and outlives the agent. Were the last reference
/// to close while pages are owed, the kernel would hand out zeroes (userfaultfd(2)); as long as the keeper lives, tasks wait instead.
/// </summary>
internal sealed class KeeperProcess : IUserfaultfdKeeper, IDisposable
{
    private readonly int _socket;
    private readonly ChildProcess _child;
    private int _closed;

    /// <summary>Starts a keeper: <paramref name="program"/> run with the one argument <c>keeper</c>, in a session and, if it can, a cgroup of its own.</summary>
    internal KeeperProcess(string program)
    {
        if (Syscall.socketpair(UnixAddressFamily.AF_UNIX, UnixSocketType.SOCK_SEQPACKET, UnixSocketFlags.SOCK_CLOEXEC, 0, out int ours, out int theirs) != 0)
        {
            throw new LinuxException("socketpair for the keeper", (Errno)Stdlib.GetLastError());
        }

        try
        {
            _child = ChildProcess.Start(program, ["keeper"], descriptors: [new ChildDescriptor(theirs, KeeperProtocol.SocketDescriptor)], workingDirectory: "/", newSession: true);
        }
        catch
        {
            _ = Syscall.close(ours);
            throw;
        }
        finally
        {
            _ = Syscall.close(theirs);
        }

        _socket = ours;
    }

    /// <summary>The keeper's pid.</summary>
    internal int Pid => _child.Pid;

    /// <inheritdoc/>
    public void Keep(Userfaultfd uffd) => DescriptorSocket.Send(_socket, KeeperProtocol.Hold, uffd.Descriptor);

    /// <summary>Names the container's first process, after whose death the keeper need not live on.</summary>
    internal void Watch(int initPid)
    {
        int pidfd = Libc.pidfd_open(initPid);
        if (pidfd < 0)
        {
            throw LinuxException.Last($"pidfd_open of the container's first process {initPid}");
        }

        try
        {
            DescriptorSocket.Send(_socket, KeeperProtocol.Container, pidfd);
        }
        finally
        {
            _ = Syscall.close(pidfd);
        }
    }

    /// <summary>Tasks run whose pids are not known: the keeper need not live on once all their address spaces are gone.</summary>
    internal void WatchAddressSpaces() => DescriptorSocket.Send(_socket, KeeperProtocol.AddressSpaces, -1);

    /// <summary>Nothing is owed any more: the keeper lets go and ends. Returns when it has.</summary>
    internal async Task ReleaseAsync()
    {
        DescriptorSocket.Send(_socket, KeeperProtocol.Release, -1);
        await _child.WaitAsync(CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>Closes our end. Without <see cref="ReleaseAsync"/> the keeper goes on holding.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            _ = Syscall.close(_socket);
        }
    }
}
