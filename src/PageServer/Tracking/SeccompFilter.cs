using System.Buffers.Binary;

namespace PostCopy.Tracking;

/// <summary>
/// What a seccomp filter says of a system call: its program, classic BPF (linux/filter.h), run on struct seccomp_data as the kernel does (seccomp(2)).
/// </summary>
internal static class SeccompFilter
{
    internal const uint Allow = 0x7fff0000;
    internal const uint Log = 0x7ffc0000;
    internal const uint Errno = 0x00050000;
    internal const uint ActionMask = 0xffff0000;

    /// <summary>Of an instruction: two bytes of code, two of jumps, four of constant.</summary>
    internal const int InstructionBytes = 8;

    private const uint AUDIT_ARCH_X86_64 = 0xc000003e;
    private const int DataBytes = 64;
    private const int MemoryWords = 16;

    /// <summary>The action for a call; null when the program has an instruction that no filter should have.</summary>
    internal static uint? ActionFor(ReadOnlySpan<byte> program, int number, ulong instruction, ulong argument)
    {
        Span<byte> data = stackalloc byte[DataBytes];
        data.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(data, number);
        BinaryPrimitives.WriteUInt32LittleEndian(data[4..], AUDIT_ARCH_X86_64);
        BinaryPrimitives.WriteUInt64LittleEndian(data[8..], instruction);
        BinaryPrimitives.WriteUInt64LittleEndian(data[16..], argument);
        Span<uint> memory = stackalloc uint[MemoryWords];
        memory.Clear();
        uint a = 0;
        uint x = 0;
        // Jumps go forward only, so that every program ends.
        for (int at = 0; at < program.Length / InstructionBytes; at++)
        {
            ReadOnlySpan<byte> bytes = program.Slice(at * InstructionBytes, InstructionBytes);
            ushort code = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
            uint k = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            switch (code)
            {
                case 0x20 when k <= DataBytes - sizeof(uint): // ld [k]
                    a = BinaryPrimitives.ReadUInt32LittleEndian(data[(int)k..]);
                    break;
                case 0x00: // ld #k
                    a = k;
                    break;
                case 0x01: // ldx #k
                    x = k;
                    break;
                case 0x80: // ld #len
                    a = DataBytes;
                    break;
                case 0x81: // ldx #len
                    x = DataBytes;
                    break;
                case 0x60 when k < MemoryWords: // ld M[k]
                    a = memory[(int)k];
                    break;
                case 0x61 when k < MemoryWords: // ldx M[k]
                    x = memory[(int)k];
                    break;
                case 0x02 when k < MemoryWords: // st M[k]
                    memory[(int)k] = a;
                    break;
                case 0x03 when k < MemoryWords: // stx M[k]
                    memory[(int)k] = x;
                    break;
                case 0x07: // tax
                    x = a;
                    break;
                case 0x87: // txa
                    a = x;
                    break;
                case 0x06: // ret #k
                    return k & ActionMask;
                case 0x16: // ret a
                    return a & ActionMask;
                case 0x05 when k < int.MaxValue / InstructionBytes: // ja
                    at += (int)k;
                    break;
                default:
                    if (Jump(code, a, (code & 8) == 0 ? k : x) is { } taken)
                    {
                        at += taken ? bytes[2] : bytes[3];
                    }
                    else if (Calculate(code, a, (code & 8) == 0 ? k : x) is { } result)
                    {
                        a = result;
                    }
                    else
                    {
                        return null;
                    }

                    break;
            }
        }

        return null;
    }

    private static bool? Jump(ushort code, uint a, uint operand) => (code & ~8) switch
    {
        0x15 => a == operand,
        0x25 => a > operand,
        0x35 => a >= operand,
        0x45 => (a & operand) != 0,
        _ => null,
    };

    private static uint? Calculate(ushort code, uint a, uint operand) => (code & ~8) switch
    {
        0x04 => unchecked(a + operand),
        0x14 => unchecked(a - operand),
        0x24 => unchecked(a * operand),
        0x34 when operand != 0 => a / operand,
        0x44 => a | operand,
        0x54 => a & operand,
        0x64 when operand < 32 => a << (int)operand,
        0x74 when operand < 32 => a >> (int)operand,
        0x84 => unchecked(0 - a),
        0xa4 => a ^ operand,
        _ => null,
    };
}
