using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>
/// Addresses of a few instructions that the target has anyway, and that take it back by itself to where it was: nothing of its code is ever changed.
/// </summary>
/// <param name="SyscallReturn"><c>syscall; ret</c>.</param>
/// <param name="PopRax"><c>pop %rax; ret</c>.</param>
/// <param name="PopRdi"><c>pop %rdi; ret</c>; 0 when there is none.</param>
/// <param name="ReturnFar"><c>ret $n</c>, which takes n bytes more off the stack; 0 when there is none.</param>
/// <param name="FarBytes">This n: at least the red zone of 128 bytes.</param>
internal readonly record struct Gadgets(ulong SyscallReturn, ulong PopRax, ulong PopRdi, ulong ReturnFar, ulong FarBytes)
{
    /// <summary>Below the stack pointer, so many bytes may be in use by a function that calls no other (System V ABI, x86-64).</summary>
    internal const ulong RedZoneBytes = 128;

    private const int MaxFarBytes = 4096;

    /// <summary>Bytes of one mapping that are looked through: the largest C library has 2 MiB of code.</summary>
    private const ulong MaxSearchBytes = 16 << 20;

    internal bool CanRestartSleep => PopRdi != 0 && ReturnFar != 0;

    /// <summary>Looks through code that stays where it is: the vDSO, the program and its C library. Null when it does not have what is needed.</summary>
    internal static Gadgets? Find(int pid, IReadOnlyList<ProcessMapping> mappings)
    {
        string program = new FileInfo($"/proc/{pid}/exe").LinkTarget ?? "";
        Gadgets found = default;
        byte[] code = [];
        foreach (ProcessMapping mapping in mappings.Where(mapping => mapping.IsExecutable && StaysMapped(mapping, program)))
        {
            int length = (int)Math.Min(mapping.Range.ByteCount, MaxSearchBytes);
            if (code.Length < length)
            {
                code = new byte[length];
            }

            length = RemoteMemory.Read(pid, mapping.Range.Start, code.AsSpan(0, length));
            found = found.With(code.AsSpan(0, length), mapping.Range.Start);
            if (found is { SyscallReturn: > 0, PopRax: > 0, CanRestartSleep: true })
            {
                break;
            }
        }

        return found is { SyscallReturn: > 0, PopRax: > 0 } ? found : null;
    }

    private static bool StaysMapped(ProcessMapping mapping, string program)
    {
        string file = Path.GetFileName(mapping.Name);
        return mapping.Name == "[vdso]" || mapping.Name == program
            || file.StartsWith("libc.", StringComparison.Ordinal) || file.StartsWith("libc-", StringComparison.Ordinal)
            || file.StartsWith("ld-", StringComparison.Ordinal);
    }

    private Gadgets With(ReadOnlySpan<byte> code, ulong start)
    {
        ulong At(ulong known, int index) => known != 0 || index < 0 ? known : start + (ulong)index;
        Gadgets next = new(
            At(SyscallReturn, code.IndexOf((ReadOnlySpan<byte>)[0x0f, 0x05, 0xc3])),
            At(PopRax, code.IndexOf((ReadOnlySpan<byte>)[0x58, 0xc3])),
            At(PopRdi, code.IndexOf((ReadOnlySpan<byte>)[0x5f, 0xc3])),
            ReturnFar,
            FarBytes);
        return next.ReturnFar != 0 ? next : next.WithReturnFar(code, start);
    }

    private Gadgets WithReturnFar(ReadOnlySpan<byte> code, ulong start)
    {
        for (int at = 0; at + 2 < code.Length; at++)
        {
            int next = code[at..].IndexOf((byte)0xc2);
            if (next < 0 || at + next + 2 >= code.Length)
            {
                break;
            }

            at += next;
            int bytes = code[at + 1] | (code[at + 2] << 8);
            if (bytes is >= (int)RedZoneBytes and <= MaxFarBytes && bytes % 8 == 0)
            {
                return this with { ReturnFar = start + (ulong)at, FarBytes = (ulong)bytes };
            }
        }

        return this;
    }
}
