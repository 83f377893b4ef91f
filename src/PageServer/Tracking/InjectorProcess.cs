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
    private readonly HashSet<ProcessIdentity> _mayHold = [];
    private ChildProcess? _child;
    private int _socket = -1;

    /// <param name="program">The program that is started with the argument <c>tracker-inject</c>.</param>
    internal InjectorProcess(string program) => _program = program;

    /// <summary>Processes at which an injector died, or which it could not leave in order, and which no other has looked after since.</summary>
    internal IEnumerable<int> MayHoldSomething => _mayHold.Where(static process => process.IsAlive).Select(static process => process.Pid);

    /// <summary>The running injector, for tests that end it.</summary>
    internal int Pid => _child?.Pid ?? 0;

    /// <summary>
    /// A userfaultfd of that process, which is ours alone. <paramref name="closeLeftovers"/>: the injector of another source may have died at work on it before;
    /// what one of ours may have left is closed in any case.
    /// </summary>
    /// <exception cref="TrackingException">It cannot be had.</exception>
    internal int Steal(int pid, bool closeLeftovers)
    {
        ProcessIdentity target = ProcessIdentity.Of(pid);
        for (int attempt = 1; ; attempt++)
        {
            Start();
            (int Descriptor, string? Refusal, bool Ends) answer = (-1, null, Ends: true);
            try
            {
                InjectorProtocol.SendRequest(_socket, pid, closeLeftovers || _mayHold.Contains(target));
                if (Syscall.poll([new Pollfd { fd = _socket, events = PollEvents.POLLIN }], PatienceMs) == 0)
                {
                    // A target that gets signals all the time, for example. It heals itself when its tracer is gone.
                    _child!.Kill(Signal.SIGKILL);
                    Stop();
                    _mayHold.Add(target);
                    throw new TrackingException($"no call could be injected into process {pid} within {PatienceMs / 1000} s");
                }

                answer = InjectorProtocol.ReceiveAnswer(_socket);
            }
            catch (LinuxException e) when (e.Errno is Errno.EPIPE or Errno.ECONNRESET)
            {
                // It is dead: as if it had closed.
            }

            if (answer.Descriptor >= 0)
            {
                _mayHold.Remove(target);
                return answer.Descriptor;
            }

            if (answer.Ends)
            {
                Stop();
                _mayHold.Add(target);
            }

            if (answer.Refusal is { } reason)
            {
                throw new TrackingException(reason);
            }

            if (attempt == Attempts)
            {
                throw new TrackingException($"the helper that injects a call into process {pid} died {attempt} times");
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
        (_child, _socket) = ChildProcess.StartConnected(_program, ["tracker-inject"], InjectorProtocol.SocketDescriptor);
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
