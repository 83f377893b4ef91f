using System.Buffers.Binary;

namespace PostCopy.Tests.Fuzz;

/// <summary>Changes valid input the way that finds mistakes in readers: bits, borders, lengths, pieces of other inputs.</summary>
internal sealed class Mutator(int seed)
{
    private const int MostBytes = 64 << 10;
    private static readonly uint[] Borders = [0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 4095, 4096, 0x7fff, 0xffff, 0x10000, 1 << 20, int.MaxValue, 0x8000_0000, uint.MaxValue];

    private readonly Random _random = new(seed);

    public byte[] Next(IReadOnlyList<byte[]> corpus)
    {
        List<byte> bytes = [.. Pick(corpus)];
        for (int left = _random.Next(7); left > 0; left--)
        {
            Change(bytes, corpus);
        }

        return [.. bytes.Take(MostBytes)];
    }

    private void Change(List<byte> bytes, IReadOnlyList<byte[]> corpus)
    {
        int at = _random.Next(bytes.Count + 1);
        int length = Math.Min(_random.Next(1, 33), bytes.Count - at);
        switch (_random.Next(8))
        {
            case 0 when at < bytes.Count:
                bytes[at] ^= (byte)(1 << _random.Next(8));
                break;
            case 1 when at < bytes.Count:
                bytes[at] = (byte)_random.Next(256);
                break;
            case 2:
                Overwrite(bytes, at);
                break;
            case 3:
                bytes.RemoveRange(at, length);
                break;
            case 4:
                bytes.InsertRange(at, Enumerable.Range(0, _random.Next(1, 33)).Select(_ => (byte)_random.Next(256)));
                break;
            case 5:
                bytes.InsertRange(_random.Next(bytes.Count + 1), bytes.GetRange(at, length));
                break;
            case 6:
                bytes.RemoveRange(at, bytes.Count - at);
                break;
            default:
                byte[] other = Pick(corpus);
                int from = _random.Next(other.Length + 1);
                bytes.InsertRange(at, other.AsSpan(from, _random.Next(other.Length - from + 1)).ToArray());
                break;
        }
    }

    /// <summary>A number that readers like to stumble over, in either byte order and three widths.</summary>
    private void Overwrite(List<byte> bytes, int at)
    {
        Span<byte> number = stackalloc byte[8];
        uint value = Borders[_random.Next(Borders.Length)];
        if (_random.Next(2) == 0)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(number, _random.Next(2) == 0 ? value : ulong.MaxValue - value);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(number, value);
        }

        int width = 1 << _random.Next(4);
        for (int i = 0; i < width && at + i < bytes.Count; i++)
        {
            bytes[at + i] = number[i];
        }
    }

    private byte[] Pick(IReadOnlyList<byte[]> corpus) => corpus[_random.Next(corpus.Count)];
}
