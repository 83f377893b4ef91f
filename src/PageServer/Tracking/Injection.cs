using System.Diagnostics;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>
/// Gets a userfaultfd of another process: has the process make one, takes a duplicate (pidfd_getfd(2)) and has it close its own. All on one thread.
/// </summary>
internal static class Injection
{
    private const ulong SYS_close = 3;
    private const ulong SYS_rt_sigreturn = 15;
    private const ulong SYS_restart_syscall = 219;
    private const ulong SYS_userfaultfd = 323;

    /// <summary>O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY: the last so that an unprivileged process may; writes of the kernel are tracked all the same.</summary>
    private const ulong UserfaultfdFlags = 0x80000 | 0x800 | 1;

    /// <summary>A code segment of 64-bit programs; a 32-bit one has other system calls.</summary>
    private const ulong Cs64Bit = 0x33;

    /// <summary>A task that waits in the kernel for a device stops for nobody.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromMilliseconds(500);

    /// <summary>A signal that comes just then is delivered at once, as if we had never been there; then there is another attempt.</summary>
    private const int Attempts = 20;

    /// <summary>A descriptor of ours. What an earlier attempt that died may have left in the process is closed first if <paramref name="closeLeftovers"/>.</summary>
    /// <exception cref="TrackingException">The process cannot be tracked; it was not changed.</exception>
    /// <exception cref="TracerMustEndException">Something of it may be left in the process, which may still be traced by us.</exception>
    internal static int StealUserfaultfd(int pid, bool closeLeftovers)
    {
        List<ProcessMapping> mappings = ProcessMap.Of(pid);
        if (closeLeftovers)
        {
            // A tracer that was killed may take a moment to let go.
            SpinWait.SpinUntil(() => TaskTree.TracerOf(pid) == 0, StopPatience);
        }

        TargetChecks.Require(pid);
        Gadgets gadgets = Gadgets.Find(pid, mappings) ?? throw new TrackingException($"the code of process {pid} has no instructions by which it could come back from an injected call");
        foreach ((int descriptor, bool isInert) in TargetChecks.UserfaultfdsOf(pid))
        {
            if (!isInert || !closeLeftovers)
            {
                throw new TrackingException($"process {pid} has a userfaultfd of its own");
            }

            Retry(pid, gadgets, mappings, target => target.Call(SYS_close, (ulong)descriptor));
        }

        int ours = -1;
        long made = -1;
        Retry(pid, gadgets, mappings, target =>
        {
            if (made < 0)
            {
                made = target.Call(SYS_userfaultfd, UserfaultfdFlags);
                if (made < 0)
                {
                    return;
                }

                ours = Ptrace.GetDescriptor(pid, (int)made);
            }

            target.Call(SYS_close, (ulong)made);
        });
        return ours >= 0 ? ours : throw new TrackingException(made < 0
            ? $"userfaultfd in process {pid}: {(Errno)(-made)}"
            : $"the userfaultfd of process {pid} could not be taken over (pidfd_getfd)");
    }

    /// <summary>A thread that we hold and cannot let go in order, for whatever reason, is let go by our end, and comes back by itself.</summary>
    private static void Retry(int pid, Gadgets gadgets, List<ProcessMapping> mappings, Action<StoppedThread> use)
    {
        bool hasCalled = false;
        for (int attempt = 1; ; attempt++)
        {
            StoppedThread target = new(pid);
            try
            {
                target.Stop(StopPatience);
                target.Prepare(gadgets, mappings);
                use(target);
                target.Continue();
                return;
            }
            catch (SignalCameException)
            {
                hasCalled |= target.HasCalled;
                if (attempt == Attempts)
                {
                    string message = $"process {pid} gets so many signals that no call could be injected";
                    throw hasCalled ? new TracerMustEndException(message) : new TrackingException(message);
                }

                Thread.Sleep(attempt);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                if (!hasCalled && target.TryLeaveUntouched())
                {
                    throw;
                }

                throw new TracerMustEndException(e.Message);
            }
        }
    }

    /// <summary>The first thread of a process while we hold it.</summary>
    private sealed class StoppedThread(int tid)
    {
        private SelfHealing? _healing;
        private bool _isStopped;
        private bool _isSeized;
        private bool _blocksSignals;

        /// <summary>Whether a call was begun, which may have done what it does.</summary>
        internal bool HasCalled { get; private set; }

        internal void Stop(TimeSpan patience)
        {
            Ptrace.Seize(tid, Ptrace.PTRACE_O_SUSPEND_SECCOMP | Ptrace.PTRACE_O_TRACESYSGOOD);
            _isSeized = true;
            Ptrace.Interrupt(tid);
            while (true)
            {
                int status = Wait(patience);
                int signal = status >> 8 & 0xff;
                if (status >> 16 == Ptrace.PTRACE_EVENT_STOP)
                {
                    _isStopped = true;
                    if (signal != Ptrace.SIGTRAP)
                    {
                        throw new TrackingException($"process {tid} is stopped (signal {signal})");
                    }

                    return;
                }

                // A signal was first: it is delivered. Any stop takes a pending one along (kernel/signal.c, ptrace_stop), so it has to be asked for again.
                Ptrace.Resume(Ptrace.PTRACE_CONT, tid, signal);
                Ptrace.Interrupt(tid);
            }
        }

        internal void Prepare(Gadgets gadgets, List<ProcessMapping> mappings)
        {
            if (Ptrace.GetRegisters(tid).cs != Cs64Bit)
            {
                throw new TrackingException($"process {tid} is a 32-bit program");
            }

            TargetChecks.RequireFiltersAllow(tid, gadgets.SyscallReturn, SYS_userfaultfd, UserfaultfdFlags, SYS_rt_sigreturn, SYS_restart_syscall);
            TargetChecks.RequireFiltersAllow(tid, gadgets.SyscallReturn, SYS_close, 0);
            _healing = SelfHealing.Prepare(tid, gadgets, mappings)
                ?? throw new TrackingException($"the stack of process {tid} has no room that is certainly unused");
        }

        internal long Call(ulong number, ulong argument)
        {
            HasCalled = true;
            Ptrace.SetRegisters(tid, _healing!.Calling(number, argument));
            if (_healing.SignalMask is not null && !_blocksSignals)
            {
                // Its way back restores the mask. Were a signal delivered before that, the interrupted call would not know of it and wait for another one.
                Ptrace.SetSignalMask(tid, ulong.MaxValue);
                _blocksSignals = true;
            }

            if (!TryRunTo(Ptrace.SyscallStop, Ptrace.PTRACE_SYSCALL) || !TryRunTo(Ptrace.SyscallStop, Ptrace.PTRACE_SYSCALL))
            {
                throw new SignalCameException();
            }

            return unchecked((long)Ptrace.GetRegisters(tid).rax);
        }

        /// <summary>Lets it go as if it had never been stopped: from a stop before which no signal is delivered, and behind which the kernel decides about the interrupted call.</summary>
        internal void Continue()
        {
            if (HasCalled)
            {
                Ptrace.Interrupt(tid);
            }

            if (!HasCalled || TryRunTo(Ptrace.EventStop, Ptrace.PTRACE_CONT))
            {
                LetGo(signal: 0);
            }
        }

        /// <summary>Lets a thread go that nothing was done to. False when something was, or may have been, or when it does not stand still to be let go.</summary>
        internal bool TryLeaveUntouched()
        {
            if (!_isSeized)
            {
                return true;
            }

            if (HasCalled || !_isStopped)
            {
                return false;
            }

            try
            {
                LetGo(signal: 0);
                return true;
            }
            catch (LinuxException)
            {
                // It was killed meanwhile. Its parent cannot have its end while it is ours.
                return false;
            }
        }

        private void LetGo(int signal)
        {
            if (_blocksSignals)
            {
                // First: with its registers as they were nothing else would.
                Ptrace.SetSignalMask(tid, _healing!.SignalMask!.Value);
            }

            if (HasCalled)
            {
                Ptrace.SetRegisters(tid, _healing!.Original);
            }

            Ptrace.Resume(Ptrace.PTRACE_DETACH, tid, signal);
            _isStopped = _isSeized = false;
        }

        /// <summary>False when a signal, or a stop by job control, was first: then it has been let go, and the kernel does with the interrupted call what it always does.</summary>
        private bool TryRunTo(int stop, nint request)
        {
            Ptrace.Resume(request, tid, 0);
            int status = Wait(StopPatience);
            if (status >> 8 == stop)
            {
                return true;
            }

            LetGo(status >> 16 == Ptrace.PTRACE_EVENT_STOP ? 0 : status >> 8 & 0xff);
            return false;
        }

        private int Wait(TimeSpan patience)
        {
            long since = Stopwatch.GetTimestamp();
            SpinWait spin = default;
            int status;
            while (!Ptrace.TryWait(tid, out status))
            {
                if (Stopwatch.GetElapsedTime(since) > patience)
                {
                    throw new TrackingException($"process {tid} does not stop: it waits in the kernel");
                }

                spin.SpinOnce(sleep1Threshold: 100);
            }

            return (status & 0x7f) == 0x7f ? status : throw new TrackingException($"process {tid} ended");
        }
    }

    private sealed class SignalCameException : Exception;
}

/// <summary>A process, or its tree, cannot be tracked. It runs on, untouched.</summary>
internal class TrackingException(string message) : IOException(message);

/// <summary>The tracer must end to let its tracee go, or has left something in it.</summary>
internal sealed class TracerMustEndException(string message) : TrackingException(message);
