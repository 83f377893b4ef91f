using System.Buffers;
using CsCheck;
using PostCopy.Control;
using PostCopy.Memory;
using PostCopy.Tests.Testing;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

/// <summary>Whatever arrives: whole frames, nothing yet, or a <see cref="ProtocolException"/>. Nothing else, and no memory beyond what arrived.</summary>
public sealed class HostileBytesTests
{
    private static readonly Gen<byte[]> ValidFrame = Gen.OneOf(
        Gen.Select(Gen.ULong, Gen.Int, Gen.ULong[0, 1UL << 35], Gen.ULong[1, 256], (id, pid, page, pages) => Samples.Request(id, pid, page << PageSize.Shift, pages)),
        Gen.Select(Gen.ULong, Gen.ULong[0, 1UL << 35], Gen.Bool.Array[1, 4], (id, page, zero) => Samples.Pages(id, 1, page << PageSize.Shift, zero)),
        Gen.Select(Gen.Enum<WireErrorCode>(), Gen.String[0, 40], Samples.Error),
        Gen.Select(OneOf(FrameKind.Prepare, FrameKind.ImageChunk, FrameKind.NeverRan, FrameKind.Hello), Gen.ULong, Gen.Byte.Array[0, 60], Samples.Frame),
        Gen.Select(OneOf(FrameKind.Ack, FrameKind.PushDone, FrameKind.Goodbye, FrameKind.Ask), Gen.ULong, static (kind, id) => Samples.Frame(kind, id)));

    [Fact]
    public void Frames_survive_any_fragmentation() => Gen.Select(ValidFrame.Array[1, 8], Gen.Int[0, 1 << 20].Array[0, 12]).Sample((frames, cuts) =>
    {
        byte[] stream = [.. frames.SelectMany(static frame => frame)];
        int[] at = [.. cuts.Select(cut => cut % (stream.Length + 1)).Order()];

        // As a pipe delivers it: what was not consumed comes again, with more behind it.
        List<byte[]> read = [];
        int consumed = 0;
        foreach (int arrived in at.Append(stream.Length))
        {
            int[] borders = [.. at.Where(cut => cut > consumed && cut < arrived).Select(cut => cut - consumed)];
            ReadOnlySequence<byte> buffer = Segments.Cut(stream[consumed..Math.Max(arrived, consumed)], borders);
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                byte[] again = Samples.Frame(header.Kind, header.Id, payload.ToArray());
                read.Add(again);
                consumed += again.Length;
            }
        }

        return read.Count == frames.Length && read.Zip(frames).All(static pair => pair.First.AsSpan().SequenceEqual(pair.Second));
    }, iter: 2000);

    [Fact]
    public void Garbage_is_refused_or_waited_for() => Gen.Byte.Array[0, 200].Sample(static bytes => Swallow(bytes), iter: 20_000);

    [Fact]
    public void Damaged_frames_are_refused_or_waited_for() =>
        Gen.Select(ValidFrame, Gen.Select(Gen.Int[0, 100], Gen.Byte).Array[1, 4], Gen.Int[0, 8]).Sample(static (frame, flips, drop) =>
        {
            byte[] bytes = [.. frame.Take(frame.Length - Math.Min(drop, frame.Length))];
            foreach ((int at, byte value) in flips)
            {
                // Most of the flips in what is parsed, not in the pages' bytes.
                if (at < bytes.Length)
                {
                    bytes[at] ^= value;
                }
            }

            Swallow(bytes);
        }, iter: 20_000);

    [Fact]
    public void Garbage_behind_a_valid_header_is_refused() =>
        Gen.Select(Gen.Enum<FrameKind>(), Gen.Byte.Array[0, 200]).Sample(static (kind, payload) =>
            Swallow(Samples.Frame(kind, 1, payload[..Math.Min(payload.Length, FrameTests.Limits[kind])])), iter: 20_000);

    private static Gen<FrameKind> OneOf(params FrameKind[] kinds) => Gen.Int[0, kinds.Length - 1].Select(i => kinds[i]);

    private static void Swallow(byte[] bytes)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        ReadOnlySequence<byte> buffer = new(bytes);
        try
        {
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                Parse(header.Kind, payload);
            }
        }
        catch (ProtocolException e)
        {
            Assert.NotEmpty(e.Message);
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < (64 * bytes.Length) + (64 << 10), $"{bytes.Length} bytes made {allocated} bytes of garbage");
    }

    private static void Parse(FrameKind kind, in ReadOnlySequence<byte> payload)
    {
        switch (kind)
        {
            case FrameKind.Welcome:
                Welcome.Parse(payload.ToArray());
                break;
            case FrameKind.Hello:
                LaneHello.Parse(payload.ToArray());
                break;
            case FrameKind.Error:
                FrameWriter.ParseError(payload);
                break;
            case FrameKind.PageRequest:
                PageRequest.Parse(payload);
                break;
            case FrameKind.Pages:
                PagesFrame.Parse(payload, out _, out _, out _, out _);
                break;
            default:
                ControlMessage.Parse(kind, payload);
                break;
        }
    }
}
