using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>
/// Has a stopped thread make one system call and then, by itself, go on where it was. Everything it needs for that lies in dead memory of its own before
/// the one PTRACE_SETREGS that starts it, so a tracer may die at any instant: the thread makes the call, or does not, and goes on.
/// </summary>
/// <remarks>
/// Two ways back, both chains of return addresses behind a <c>syscall; ret</c> of the target's own code:
/// <list type="bullet">
/// <item>rt_sigreturn(2) with a signal frame that holds all registers, the vector state and the signal mask. A system call that was interrupted is begun
/// anew, as the kernel would (signal(7)).</item>
/// <item>For a sleep with a time-out, which the kernel goes on with by restart_syscall(2), and which rt_sigreturn would end: two pops and a return, which
/// change nothing but %rax, and %rcx and %r11, which every system call changes.</item>
/// </list>
/// </remarks>
internal sealed class SelfHealing
{
    // errno.h of the kernel: what an interrupted system call has in %rax until it is begun anew.
    private const long ERESTARTSYS = -512;
    private const long ERESTARTNOINTR = -513;
    private const long ERESTARTNOHAND = -514;
    private const long ERESTART_RESTARTBLOCK = -516;

    private const ulong SYS_rt_sigreturn = 15;
    private const ulong SYS_restart_syscall = 219;
    private const ulong NoSystemCall = ulong.MaxValue;
    private const ulong SyscallInstructionBytes = 2;

    /// <summary>struct ucontext of the kernel (asm/ucontext.h) and the signal information behind it, which nobody reads.</summary>
    private const int UcontextBytes = 304;
    private const int SiginfoBytes = 128;
    private const int SigcontextOffset = 40;
    private const int FpstatePointerOffset = SigcontextOffset + 184;
    private const int SigmaskOffset = SigcontextOffset + 256;
    private const int ChainBytes = 24;
    private const ulong UC_FP_XSTATE_AND_SS = 7;

    /// <summary>No valid value: rt_sigreturn then leaves the alternate signal stack as it is (do_sigaltstack, whose EINVAL it ignores).</summary>
    private const int KeepAlternateStack = 0x7fff;

    // asm/sigcontext.h: struct _fpx_sw_bytes and the layout of XSAVE.
    private const int SoftwareBytesOffset = 464;
    private const int XstateBvOffset = 512;
    private const int MinXstateBytes = 576;
    private const uint FP_XSTATE_MAGIC1 = 0x46505853;
    private const uint FP_XSTATE_MAGIC2 = 0x46505845;

    private readonly Gadgets _gadgets;
    private readonly ulong _chain;

    private SelfHealing(Gadgets gadgets, Ptrace.UserRegisters original, ulong? signalMask, ulong chain)
    {
        _gadgets = gadgets;
        Original = original;
        SignalMask = signalMask;
        _chain = chain;
    }

    /// <summary>As it was stopped, or at the beginning of a restartable sequence: for stops in which the kernel itself restarts what was interrupted.</summary>
    internal Ptrace.UserRegisters Original { get; }

    /// <summary>The signals that it blocks when it is back; null when its way back leaves them alone.</summary>
    internal ulong? SignalMask { get; }

    private static int MaxFrameBytes(int extendedStateBytes) => extendedStateBytes + UcontextBytes + SiginfoBytes + ChainBytes + 256;

    /// <summary>The thread with all that it needs to come back. Null when it cannot: there is no dead memory to put that into.</summary>
    internal static SelfHealing? Prepare(int tid, Gadgets gadgets, IReadOnlyList<ProcessMapping> mappings)
    {
        Ptrace.UserRegisters original = RestartableSequence.Leave(tid, Ptrace.GetRegisters(tid));
        bool sleeps = IsInterrupted(original) && unchecked((long)original.rax) == ERESTART_RESTARTBLOCK;
        ProcessMapping stack = mappings.FirstOrDefault(static mapping => mapping.IsStack);
        bool onStack = stack.Range.Contains(original.rsp);
        if (sleeps && onStack && gadgets.CanRestartSleep)
        {
            return PrepareReturns(tid, gadgets, original, stack);
        }

        byte[] state = new byte[64 << 10];
        int stateBytes = Ptrace.GetExtendedState(tid, state);
        return ScratchMemory.Find(tid, original.rsp, stack, MaxFrameBytes(stateBytes)) is { } end
            ? PrepareSigreturn(tid, gadgets, original, state.AsSpan(0, stateBytes), end)
            : null;
    }

    /// <summary>The registers with which the thread makes this call and comes back.</summary>
    internal Ptrace.UserRegisters Calling(ulong number, ulong argument)
    {
        Ptrace.UserRegisters registers = Original;
        registers.rip = _gadgets.SyscallReturn;
        registers.rsp = _chain;
        registers.rax = number;
        registers.rdi = argument;
        // Else the kernel would take the number for that of an interrupted call and touch %rip.
        registers.orig_rax = NoSystemCall;
        return registers;
    }

    private static bool IsInterrupted(in Ptrace.UserRegisters registers) =>
        unchecked((long)registers.orig_rax) >= 0 && unchecked((long)registers.rax) is ERESTARTSYS or ERESTARTNOINTR or ERESTARTNOHAND or ERESTART_RESTARTBLOCK;

    private static Ptrace.UserRegisters BegunAnew(Ptrace.UserRegisters registers, ulong number)
    {
        registers.rax = number;
        registers.rip -= SyscallInstructionBytes;
        registers.orig_rax = NoSystemCall;
        return registers;
    }

    private static SelfHealing? PrepareReturns(int tid, Gadgets gadgets, Ptrace.UserRegisters original, ProcessMapping stack)
    {
        Ptrace.UserRegisters continued = BegunAnew(original, SYS_restart_syscall);
        ReadOnlySpan<ulong> chain = [gadgets.PopRdi, original.rdi, gadgets.PopRax, SYS_restart_syscall, gadgets.ReturnFar, continued.rip];
        ulong start = original.rsp - gadgets.FarBytes - (ulong)(chain.Length * sizeof(ulong));
        return stack.Range.Contains(start) && Ptrace.TryWrite(tid, start, System.Runtime.InteropServices.MemoryMarshal.AsBytes(chain))
            ? new SelfHealing(gadgets, original, signalMask: null, start)
            : null;
    }

    private static SelfHealing? PrepareSigreturn(int tid, Gadgets gadgets, Ptrace.UserRegisters original, Span<byte> state, ulong end)
    {
        Ptrace.UserRegisters continued = original;
        continued.orig_rax = NoSystemCall;
        if (IsInterrupted(original))
        {
            continued = BegunAnew(original, original.orig_rax);
        }

        byte[] extended = SignalFrameState(state);
        ulong fpstate = (end - (ulong)extended.Length) & ~63UL;
        ulong context = (fpstate - UcontextBytes - SiginfoBytes) & ~15UL;
        ulong start = context - ChainBytes;
        byte[] frame = new byte[(int)(fpstate - start) + extended.Length];
        Span<byte> bytes = frame;
        Put(bytes, 0, gadgets.PopRax);
        Put(bytes, 8, SYS_rt_sigreturn);
        Put(bytes, 16, gadgets.SyscallReturn);
        ulong mask = Ptrace.GetSignalMask(tid);
        WriteContext(bytes[ChainBytes..], continued, mask, fpstate);
        extended.CopyTo(bytes[(int)(fpstate - start)..]);
        return Ptrace.TryWrite(tid, start, frame) ? new SelfHealing(gadgets, original, mask, start) : null;
    }

    private static void WriteContext(Span<byte> context, in Ptrace.UserRegisters r, ulong signalMask, ulong fpstate)
    {
        Put(context, 0, UC_FP_XSTATE_AND_SS);
        BinaryPrimitives.WriteInt32LittleEndian(context[24..], KeepAlternateStack);
        ReadOnlySpan<ulong> registers = [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags];
        for (int i = 0; i < registers.Length; i++)
        {
            Put(context, SigcontextOffset + (i * sizeof(ulong)), registers[i]);
        }

        int segments = SigcontextOffset + (registers.Length * sizeof(ulong));
        BinaryPrimitives.WriteUInt16LittleEndian(context[segments..], (ushort)r.cs);
        BinaryPrimitives.WriteUInt16LittleEndian(context[(segments + 6)..], (ushort)r.ss);
        Put(context, FpstatePointerOffset, fpstate);
        Put(context, SigmaskOffset, signalMask);
    }

    /// <summary>XSAVE's bytes as a signal frame has them: with the size and a word behind them that say so, and nothing that is in its initial state.</summary>
    private static byte[] SignalFrameState(Span<byte> state)
    {
        ulong features = BinaryPrimitives.ReadUInt64LittleEndian(state[XstateBvOffset..]) | 3;
        int size = MinXstateBytes;
        for (int feature = 2; feature < 63; feature++)
        {
            if ((features >> feature & 1) != 0)
            {
                (int bytes, int offset, _, _) = X86Base.CpuId(0xd, feature);
                size = Math.Max(size, offset + bytes);
            }
        }

        byte[] framed = new byte[size + sizeof(uint)];
        state[..size].CopyTo(framed);
        Span<byte> software = framed.AsSpan(SoftwareBytesOffset, 48);
        software.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(software, FP_XSTATE_MAGIC1);
        BinaryPrimitives.WriteInt32LittleEndian(software[4..], framed.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(software[8..], features);
        BinaryPrimitives.WriteInt32LittleEndian(software[16..], size);
        BinaryPrimitives.WriteUInt32LittleEndian(framed.AsSpan(size), FP_XSTATE_MAGIC2);
        return framed;
    }

    private static void Put(Span<byte> bytes, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes[offset..], value);
}
