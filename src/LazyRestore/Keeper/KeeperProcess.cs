using System.Net.Sockets;
using Mono.Unix.Native;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Userfault;

namespace PostCopy.Keeper;

/// <summary>
/// The agent's end of a keeper: a small process that holds duplicates of a session's userfaultfds and outlives the agent. Were the last reference
/// to close while pages are owed, the kernel would hand out zeroes (userfaultfd(2)); as long as the keeper lives, tasks wait instead.
/// </summary>
internal sealed class KeeperProcess : IUserfaultfdKeeper, IDisposable
{
    private const int SOL_SOCKET = 1;
    private const int SO_PEERCRED = 17;

    /// <summary>struct ucred: pid, uid, gid (unix(7)); of the process that listened.</summary>
    private const int UcredBytes = 12;

    private readonly int _socket;
    private readonly Socket? _connection;
    private readonly ChildProcess? _child;
    private int _closed;

    /// <summary>
    /// Starts a keeper: <paramref name="program"/> run with the arguments <c>keeper</c> and the session's directory, in a session and, if it can, a
    /// cgroup of its own.
    /// </summary>
    internal KeeperProcess(string program, string directory) =>
        (_child, _socket) = ChildProcess.StartConnected(program, ["keeper", directory], KeeperProtocol.SocketDescriptor);

    private KeeperProcess(Socket connection)
    {
        _connection = connection;
        _socket = (int)connection.SafeHandle.DangerousGetHandle();
    }

    /// <summary>
    /// Takes over the keeper of a dead agent, with duplicates of all it holds, by the numbers they were given. Throws <see cref="SocketException"/> when
    /// there is none, <see cref="IOException"/> when it does not give what it has.
    /// </summary>
    internal static (KeeperProcess Keeper, Dictionary<int, Userfaultfd> Held) TakeOver(string directory)
    {
        Socket connection = new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
        Dictionary<int, Userfaultfd> held = [];
        try
        {
            connection.Connect(new UnixDomainSocketEndPoint(Path.Combine(directory, KeeperProtocol.SocketName)));
            KeeperProcess keeper = new(connection);
            while (KeeperProtocol.TryReceive(keeper._socket, out byte kind, out int number, out int descriptor))
            {
                if (kind == KeeperProtocol.ThatIsAll && number == held.Count)
                {
                    return (keeper, held);
                }

                if (kind != KeeperProtocol.Hold || descriptor < 0 || !held.TryAdd(number, new Userfaultfd(descriptor)))
                {
                    throw new IOException($"the keeper said {kind:x} {number} while it handed over the userfaultfds");
                }
            }

            throw new IOException("the keeper ended while it handed over the userfaultfds");
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Keep(int id, Userfaultfd uffd) => KeeperProtocol.Send(_socket, KeeperProtocol.Hold, id, uffd.Descriptor);

    /// <inheritdoc/>
    public void Drop(int id) => KeeperProtocol.Send(_socket, KeeperProtocol.Drop, id, -1);

    /// <summary>Has the keeper hold CRIU's end of a conversation open that this process may not live to hear to its end.</summary>
    internal void KeepConnection(int descriptor) => KeeperProtocol.Send(_socket, KeeperProtocol.Connection, 0, descriptor);

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
            KeeperProtocol.Send(_socket, KeeperProtocol.Container, initPid, pidfd);
        }
        finally
        {
            _ = Syscall.close(pidfd);
        }
    }

    /// <summary>There is no session that another process could go on with.</summary>
    internal void SayNobodyFollows() => KeeperProtocol.Send(_socket, KeeperProtocol.NobodyFollows, 0, -1);

    /// <summary>Tasks run whose pids are not known: the keeper need not live on once all their address spaces are gone.</summary>
    internal void WatchAddressSpaces() => KeeperProtocol.Send(_socket, KeeperProtocol.TasksRun, 0, -1);

    /// <summary>Nothing is owed any more: the keeper lets go and ends. Returns when it has.</summary>
    internal async Task ReleaseAsync()
    {
        KeeperProtocol.Send(_socket, KeeperProtocol.Release, 0, -1);
        if (_child is not null)
        {
            await _child.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        }
        else
        {
            // Not a child of ours: its end closes the connection.
            await _connection!.ReceiveAsync(new byte[1]).ConfigureAwait(false);
        }
    }

    /// <summary>Completes when the keeper has ended, whoever ended it.</summary>
    internal async Task EndedAsync()
    {
        if (_child is not null)
        {
            await _child.WaitAsync(CancellationToken.None).ConfigureAwait(false);
            return;
        }

        // Not by the connection: an asynchronous receive would make it one that does not block, and a burst of forks would find it full.
        byte[] peer = new byte[UcredBytes];
        _connection!.GetRawSocketOption(SOL_SOCKET, SO_PEERCRED, peer);
        int pid = BitConverter.ToInt32(peer);
        await ProcessEnd.WaitAsync(pid).ConfigureAwait(false);
    }

    /// <summary>Closes our end. Without <see cref="ReleaseAsync"/> the keeper goes on holding.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            if (_connection is not null)
            {
                _connection.Dispose();
            }
            else
            {
                _ = Syscall.close(_socket);
            }
        }
    }
}
