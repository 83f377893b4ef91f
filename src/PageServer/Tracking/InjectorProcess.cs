using Mono.Unix.Native;
using PostCopy.Linux;
using Errno = PostCopy.Linux.Errno;

namespace PostCopy.Tracking;

/// <summary>
/// The source's end of an injector: a process of its own that traces the targets, so that whatever becomes of the source, or of the injector, takes
/// nothing but itself.
/// </summary>
internal sealed class InjectorProcess : IDisposable
{
    /// <summary>An injector that dies is started anew and puts away what the dead one may have left.</summary>
    private const int Attempts = 3;

    /// <summary>For one target; most take less than a millisecond.</summary>
    private const int PatienceMs = 5000;

    private readonly string _program;
    private ChildProcess? _child;
    private int _socket = -1;

    /// <param name="program">The program that is started with the argument <c>tracker-inject</c>.</param>
    internal InjectorProcess(string program) => _program = program;

    /// <summary>True when an injector died at work and none after it has looked after its target.</summary>
    internal bool MayHaveLeftSomething { get; private set; }

    /// <summary>The running injector, for tests that end it.</summary>
    internal int Pid => _child?.Pid ?? 0;

    /// <summary>A userfaultfd of that process, which is ours alone. <paramref name="closeLeftovers"/>: an injector may have died at work on it before.</summary>
    /// <exception cref="TrackingException">It cannot be had.</exception>
    internal int Steal(int pid, bool closeLeftovers)
    {
        for (int attempt = 1; ; attempt++)
        {
            Start();
            (int descriptor, string? refusal) answer = (-1, null);
            try
            {
                InjectorProtocol.SendRequest(_socket, pid, closeLeftovers);
                if (Syscall.poll([new Pollfd { fd = _socket, events = PollEvents.POLLIN }], PatienceMs) == 0)
                {
                    // A target that gets signals all the time, for example. It heals itself when its tracer is gone.
                    ProcessSignal.Kill(_child!.Pid);
                    Stop();
                    MayHaveLeftSomething = true;
                    throw new TrackingException($"no call could be injected into process {pid} within {PatienceMs / 1000} s");
                }

                answer = InjectorProtocol.ReceiveAnswer(_socket);
            }
            catch (LinuxException e) when (e.Errno is Errno.EPIPE or Errno.ECONNRESET)
            {
                // It is dead: as if it had closed.
            }

            switch (answer)
            {
                case ( >= 0, _):
                    MayHaveLeftSomething = false;
                    return answer.descriptor;
                case (_, { } reason):
                    throw new TrackingException(reason);
                default:
                    Stop();
                    MayHaveLeftSomething = true;
                    closeLeftovers = true;
                    if (attempt == Attempts)
                    {
                        throw new TrackingException($"the helper that injects a call into process {pid} died {attempt} times");
                    }

                    break;
            }
        }
    }

    /// <summary>Closes its socket, upon which it ends.</summary>
    public void Dispose() => Stop();

    private void Start()
    {
        if (_child is { HasExited: false })
        {
            return;
        }

        Stop();
        if (Syscall.socketpair(UnixAddressFamily.AF_UNIX, UnixSocketType.SOCK_SEQPACKET, UnixSocketFlags.SOCK_CLOEXEC, 0, out int ours, out int theirs) != 0)
        {
            throw new LinuxException("socketpair for the injector", (Errno)Stdlib.GetLastError());
        }

        _socket = ours;
        try
        {
            _child = ChildProcess.Start(_program, ["tracker-inject"], descriptors: [new ChildDescriptor(theirs, InjectorProtocol.SocketDescriptor)], workingDirectory: "/", newSession: true);
        }
        finally
        {
            _ = Libc.close(theirs);
        }
    }

    private void Stop()
    {
        if (_socket >= 0)
        {
            _ = Libc.close(_socket);
            _socket = -1;
        }

        _child = null;
    }
}
