using System.Buffers.Binary;
using System.Net.Sockets;
using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Restore;

/// <summary>
/// The server's end of <c>lazy-pages.socket</c>: <c>criu restore --lazy-pages</c> connects, sends each task's pid and userfaultfd, and says when all
/// memory is registered and the tasks may go (CRIU's criu/uffd.c).
/// </summary>
/// <remarks>
/// On the stream: int32 pid as in the images (negative: a zombie, nothing follows), then one byte with the descriptor beside it; at the end
/// uint32 0x52535446. There is never an answer.
/// </remarks>
internal sealed class LazyPagesSocket : IDisposable
{
    private const int RestoreFinished = 0x52535446;

    private readonly Lock _gate = new();
    private readonly Socket _listener;
    private readonly TaskCompletionSource _finished = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? _thread;
    private Socket? _connection;
    private bool _concluded;
    private volatile bool _saidFinished;

    /// <summary>Listens in <paramref name="workDirectory"/>, where CRIU looks.</summary>
    internal LazyPagesSocket(string workDirectory)
    {
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        // Before it has a name: bind gives the file the socket's own mode (unix(7)), and it is never open to others.
        _ = Syscall.fchmod((int)_listener.SafeHandle.DangerousGetHandle(), FilePermissions.S_IRUSR | FilePermissions.S_IWUSR);
        _listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(workDirectory, "lazy-pages.socket")));
        _listener.Listen(1);
    }

    /// <summary>Hears CRIU out, on a thread of its own.</summary>
    /// <param name="arrived">Called for each task; takes ownership of the descriptor.</param>
    /// <param name="connected">Called with the connection's descriptor, which stays ours: when its last duplicate closes before the end, CRIU kills what it has restored.</param>
    internal void Serve(Action<ImagePid, Userfaultfd> arrived, Action<int>? connected = null)
    {
        _thread = new Thread(() => HearOut(arrived, connected)) { IsBackground = true, Name = "lazy-pages socket" };
        _thread.Start();
    }

    /// <summary>Completes when CRIU says that the restore is finished; fails when it goes away before, or breaks the protocol.</summary>
    internal Task Finished => _finished.Task;

    /// <summary>
    /// Takes no more from CRIU, which cannot finish from here on: it finds its connection closed and kills what it built. What it had sent before is heard out.
    /// Returns whether the word that the restore is finished was among it: then the tasks run.
    /// </summary>
    internal bool Conclude()
    {
        lock (_gate)
        {
            _concluded = true;
            _listener.Dispose();
            ShutDown();
        }

        _thread?.Join();
        return _saidFinished;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = Conclude();
        lock (_gate)
        {
            _connection?.Dispose();
            _connection = null;
        }
    }

    private void HearOut(Action<ImagePid, Userfaultfd> arrived, Action<int>? connected)
    {
        Exception? failure = null;
        try
        {
            Socket connection = _listener.Accept();
            lock (_gate)
            {
                _connection = connection;
                // One restore a socket: a second one must fail at once, not wait in the queue. This removes the path, too.
                _listener.Dispose();
                if (_concluded)
                {
                    ShutDown();
                }
            }

            int socket = (int)connection.SafeHandle.DangerousGetHandle();
            connected?.Invoke(socket);
            int pid;
            while ((pid = ReadPid(socket)) != RestoreFinished)
            {
                if (pid > 0)
                {
                    Userfaultfd uffd = ReadDescriptor(socket, pid);
                    try
                    {
                        arrived(new ImagePid(pid), uffd);
                    }
                    catch (Exception e) when (IsFailure(e))
                    {
                        // The restore must not be finished; but it may be already, and then that must be known.
                        failure ??= e;
                        ShutDown();
                    }
                }
            }

            _saidFinished = true;
        }
        catch (Exception e) when (IsFailure(e))
        {
            failure ??= e;
        }

        if (failure is null)
        {
            _finished.SetResult();
        }
        else
        {
            _finished.SetException(failure);
        }
    }

    private static bool IsFailure(Exception e) => e is SocketException or IOException or ObjectDisposedException or ArgumentException;

    /// <summary>Either CRIU's bytes are here already and are read, or it cannot send them any more. A thread in recvmsg(2) is not woken by a close.</summary>
    private void ShutDown()
    {
        try
        {
            _connection?.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // CRIU has closed its end: the thread reads what there is, to the end.
        }
    }

    private static int ReadPid(int socket)
    {
        Span<byte> bytes = stackalloc byte[4];
        for (int have = 0; have < bytes.Length;)
        {
            int received = DescriptorSocket.Receive(socket, bytes[have..], out int descriptor);
            if (received == 0 || descriptor >= 0)
            {
                throw new IOException(received == 0 ? "lazy-pages socket: CRIU went away before the restore was finished" : "lazy-pages socket: a descriptor came before its pid");
            }

            have += received;
        }

        return BinaryPrimitives.ReadInt32LittleEndian(bytes);
    }

    private static Userfaultfd ReadDescriptor(int socket, int pid)
    {
        Span<byte> marker = stackalloc byte[1];
        int received = DescriptorSocket.Receive(socket, marker, out int descriptor);
        return received == 1 && descriptor >= 0
            ? new Userfaultfd(descriptor)
            : throw new IOException($"lazy-pages socket: no userfaultfd came for process {pid}");
    }
}
