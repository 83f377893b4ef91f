using System.Runtime.InteropServices;
using PostCopy.Linux;

namespace PostCopy.Tracking;

/// <summary>
/// Restartable sequences (rseq(2)): code that the kernel has begun anew when it was interrupted. It finds out by the instruction pointer, and would take the one
/// that we set for that of a thread which has left the sequence: that would then go on in the middle.
/// </summary>
internal static class RestartableSequence
{
    /// <summary>In struct rseq: the pointer to the sequence that the thread may be in.</summary>
    private const ulong CurrentOffset = 8;

    /// <summary>The registers with which the stopped thread goes on: those it has, or, within a sequence, those with which the kernel would have it go on.</summary>
    internal static Ptrace.UserRegisters Leave(int tid, Ptrace.UserRegisters registers)
    {
        if (Ptrace.GetRestartableArea(tid) is { } area && TryRead(tid, area + CurrentOffset, out ulong current) && current != 0
            && TryRead(tid, current, out Descriptor sequence) && registers.rip - sequence.start_ip < sequence.post_commit_offset)
        {
            registers.rip = sequence.abort_ip;
        }

        return registers;
    }

    private static bool TryRead<T>(int pid, ulong address, out T value)
        where T : unmanaged
    {
        value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
        return RemoteMemory.Read(pid, address, bytes) == bytes.Length;
    }

    /// <summary>struct rseq_cs of linux/rseq.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Descriptor
    {
        internal uint version, flags;
        internal ulong start_ip, post_commit_offset, abort_ip;
    }
}
