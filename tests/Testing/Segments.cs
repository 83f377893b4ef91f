using System.Buffers;

namespace PostCopy.Tests.Testing;

/// <summary>Byte sequences as a pipe may hold them: cut anywhere.</summary>
internal static class Segments
{
    /// <summary>The bytes, with a segment's border in front of each index in <paramref name="cuts"/> (ascending; empty segments arise from equal ones).</summary>
    public static ReadOnlySequence<byte> Cut(byte[] bytes, params int[] cuts)
    {
        Segment first = new(bytes.AsMemory(0, cuts.Length > 0 ? cuts[0] : bytes.Length), null);
        Segment last = first;
        for (int i = 0; i < cuts.Length; i++)
        {
            int end = i + 1 < cuts.Length ? cuts[i + 1] : bytes.Length;
            last = new Segment(bytes.AsMemory(cuts[i], end - cuts[i]), last);
        }

        return new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length);
    }

    /// <summary>The worst that can happen.</summary>
    public static ReadOnlySequence<byte> OneByteEach(byte[] bytes) => Cut(bytes, [.. Enumerable.Range(1, Math.Max(bytes.Length - 1, 0))]);

    /// <summary>Whole, cut in two at every byte, and one byte a segment.</summary>
    public static IEnumerable<ReadOnlySequence<byte>> EveryWay(byte[] bytes)
    {
        yield return new ReadOnlySequence<byte>(bytes);
        for (int cut = 0; cut <= bytes.Length; cut++)
        {
            yield return Cut(bytes, cut);
        }

        yield return OneByteEach(bytes);
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(ReadOnlyMemory<byte> memory, Segment? previous)
        {
            Memory = memory;
            if (previous is not null)
            {
                previous.Next = this;
                RunningIndex = previous.RunningIndex + previous.Memory.Length;
            }
        }
    }
}
