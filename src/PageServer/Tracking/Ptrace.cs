using System.Runtime.InteropServices;
using PostCopy.Linux;

namespace PostCopy.Tracking;

/// <summary>
/// ptrace(2) and what goes with it, for x86-64. All calls about one tracee come from the one thread that seized it; a tracer that dies lets its tracees
/// go, with the registers that they have at that moment.
/// </summary>
internal static unsafe partial class Ptrace
{
    internal const nint PTRACE_CONT = 7;
    internal const nint PTRACE_GETREGS = 12;
    internal const nint PTRACE_SETREGS = 13;
    internal const nint PTRACE_DETACH = 17;
    internal const nint PTRACE_SYSCALL = 24;
    internal const nint PTRACE_SEIZE = 0x4206;
    internal const nint PTRACE_INTERRUPT = 0x4207;
    internal const nint PTRACE_GETREGSET = 0x4204;
    internal const nint PTRACE_GETSIGMASK = 0x420a;
    internal const nint PTRACE_SETSIGMASK = 0x420b;
    internal const nint PTRACE_O_TRACESYSGOOD = 1;
    internal const nint PTRACE_O_SUSPEND_SECCOMP = 0x200000;
    internal const int PTRACE_EVENT_STOP = 128;
    internal const int SIGTRAP = 5;

    /// <summary>A stop at a system call, told apart by PTRACE_O_TRACESYSGOOD.</summary>
    internal const int SyscallStop = SIGTRAP | 0x80;

    /// <summary>The stop that <see cref="Interrupt"/> asks for.</summary>
    internal const int EventStop = SIGTRAP | PTRACE_EVENT_STOP << 8;

    private const nint PTRACE_SECCOMP_GET_FILTER = 0x420c;
    private const nint PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
    private const nint NT_X86_XSTATE = 0x202;
    private const int P_PID = 1;
    private const int WNOHANG = 1;
    private const int WSTOPPED = 2;
    private const int WEXITED = 4;
    private const int WNOWAIT = 0x01000000;
    private const int __WALL = 0x40000000;
    private const int CLD_TRAPPED = 4;
    private const int CLD_STOPPED = 5;
    private const nint SYS_pidfd_getfd = 438;

    internal static void Seize(int tid, nint options) => Check(ptrace(PTRACE_SEIZE, tid, 0, options), "PTRACE_SEIZE", tid);

    internal static void Interrupt(int tid) => Check(ptrace(PTRACE_INTERRUPT, tid, 0, 0), "PTRACE_INTERRUPT", tid);

    /// <summary>Lets the stopped tracee go on, to the next stop of the kind that <paramref name="request"/> names, with a signal unless it is 0.</summary>
    internal static void Resume(nint request, int tid, int signal) => Check(ptrace(request, tid, 0, signal), "ptrace request to go on", tid);

    internal static UserRegisters GetRegisters(int tid)
    {
        UserRegisters registers;
        Check(ptrace(PTRACE_GETREGS, tid, 0, (nint)(&registers)), "PTRACE_GETREGS", tid);
        return registers;
    }

    internal static void SetRegisters(int tid, UserRegisters registers) => Check(ptrace(PTRACE_SETREGS, tid, 0, (nint)(&registers)), "PTRACE_SETREGS", tid);

    /// <summary>The signals that the thread blocks, or will once the system call that blocks others for its own time has ended.</summary>
    internal static ulong GetSignalMask(int tid)
    {
        ulong mask;
        Check(ptrace(PTRACE_GETSIGMASK, tid, sizeof(ulong), (nint)(&mask)), "PTRACE_GETSIGMASK", tid);
        return mask;
    }

    /// <summary>Has the thread block these signals from now on, whatever the system call that it is in wanted to restore.</summary>
    internal static void SetSignalMask(int tid, ulong mask) => Check(ptrace(PTRACE_SETSIGMASK, tid, sizeof(ulong), (nint)(&mask)), "PTRACE_SETSIGMASK", tid);

    /// <summary>The floating-point and vector registers, in the form of XSAVE. Returns the bytes.</summary>
    internal static int GetExtendedState(int tid, Span<byte> state)
    {
        fixed (byte* target = state)
        {
            Libc.iovec vector = new() { iov_base = (nuint)target, iov_len = (nuint)state.Length };
            Check(ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, (nint)(&vector)), "PTRACE_GETREGSET NT_X86_XSTATE", tid);
            return (int)vector.iov_len;
        }
    }

    /// <summary>Where the stopped thread has its struct rseq; null when it has none, or the kernel knows of no such thing.</summary>
    internal static ulong? GetRestartableArea(int tid)
    {
        RseqConfiguration configuration;
        return ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(RseqConfiguration), (nint)(&configuration)) < 0
            ? LinuxException.LastErrno is var errno and not (Errno.EIO or Errno.EINVAL) ? throw new LinuxException($"PTRACE_GET_RSEQ_CONFIGURATION of thread {tid}", errno) : null
            : configuration.rseq_abi_pointer == 0 ? null : configuration.rseq_abi_pointer;
    }

    /// <summary>The programs of all seccomp filters of the stopped thread.</summary>
    internal static List<byte[]> GetSeccompFilters(int tid)
    {
        List<byte[]> filters = [];
        while (true)
        {
            nint instructions = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, filters.Count, 0);
            if (instructions < 0)
            {
                // EINVAL: the thread has no filter at all.
                Errno errno = LinuxException.LastErrno;
                return errno is Errno.ENOENT or Errno.EINVAL ? filters : throw new LinuxException($"PTRACE_SECCOMP_GET_FILTER of thread {tid}", errno);
            }

            byte[] program = new byte[instructions * SeccompFilter.InstructionBytes];
            fixed (byte* target = program)
            {
                Check(ptrace(PTRACE_SECCOMP_GET_FILTER, tid, filters.Count, (nint)target), "PTRACE_SECCOMP_GET_FILTER", tid);
            }

            filters.Add(program);
        }
    }

    /// <summary>
    /// The tracee's stop, or its end, in the form of waitpid(2), if there is one; false if there is none yet. A stop is looked at and not taken: the kernel forgets the
    /// signal of one that was (kernel/exit.c, wait_task_stopped), and were the tracer to die before it says what becomes of the signal, the tracee would never get it.
    /// </summary>
    internal static bool TryWait(int tid, out int status)
    {
        SignalInformation seen = default;
        while (waitid(P_PID, tid, &seen, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        {
            if (LinuxException.LastErrno != Errno.EINTR)
            {
                throw LinuxException.Last($"waitid of tracee {tid}");
            }
        }

        status = seen.si_status << 8 | 0x7f;
        if (seen.si_pid != 0 && seen.si_code is not (CLD_TRAPPED or CLD_STOPPED))
        {
            // Its parent waits for us to have seen this.
            _ = waitpid(tid, out status, WNOHANG | __WALL);
        }

        return seen.si_pid != 0;
    }

    /// <summary>A duplicate of another process's descriptor; negative when there is none of this number or it may not be had.</summary>
    internal static int GetDescriptor(int pid, int descriptor)
    {
        int pidfd = Libc.pidfd_open(pid);
        if (pidfd < 0)
        {
            return -1;
        }

        int duplicate = (int)Libc.syscall(SYS_pidfd_getfd, pidfd, descriptor, 0, 0);
        _ = Libc.close(pidfd);
        return duplicate;
    }

    /// <summary>Writes into another process's memory; false when not all of it was mapped.</summary>
    internal static bool TryWrite(int pid, ulong address, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* source = bytes)
        {
            Libc.iovec local = new() { iov_base = (nuint)source, iov_len = (nuint)bytes.Length };
            Libc.iovec remote = new() { iov_base = (nuint)address, iov_len = (nuint)bytes.Length };
            return process_vm_writev(pid, &local, 1, &remote, 1, 0) == bytes.Length;
        }
    }

    private static void Check(nint result, string request, int tid)
    {
        if (result < 0)
        {
            throw LinuxException.Last($"{request} of thread {tid}");
        }
    }

    // Variadic in C; on linux-x64 fixed arguments are passed alike.
    [LibraryImport("libc", SetLastError = true)]
    private static partial nint ptrace(nint request, nint pid, nint address, nint data);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int waitpid(int pid, out int status, int options);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int waitid(int type, int id, SignalInformation* information, int options);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint process_vm_writev(int pid, Libc.iovec* local, nuint localCount, Libc.iovec* remote, nuint remoteCount, nuint flags);

    /// <summary>siginfo_t of a child's change of state (sigaction(2)), of x86-64.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 128)]
    private struct SignalInformation
    {
        [FieldOffset(8)]
        internal int si_code;

        [FieldOffset(16)]
        internal int si_pid;

        [FieldOffset(24)]
        internal int si_status;
    }

    /// <summary>struct ptrace_rseq_configuration of linux/ptrace.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct RseqConfiguration
    {
        internal ulong rseq_abi_pointer;
        internal uint rseq_abi_size, signature, flags, pad;
    }

    /// <summary>struct user_regs_struct of x86-64 (sys/user.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct UserRegisters
    {
        internal ulong r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
        internal ulong fs_base, gs_base, ds, es, fs, gs;
    }
}
