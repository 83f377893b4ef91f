using Google.Protobuf;
using PostCopy.Images.Proto;
using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>Reads the VMAs from <c>mm-PID.img</c>.</summary>
internal static class MmImage
{
    /// <summary>The VMAs, in ascending order and without overlap; guard regions, which are no VMAs of their own, are left out.</summary>
    public static List<ImageVma> Read(string path, ImageLimits limits)
    {
        using ImageFile file = ImageFile.Open(path, ImageMagic.Mm, limits.MaxMmEntryBytes);
        if (!file.TryReadEntry(out ArraySegment<byte> entry))
        {
            throw file.Malformed($"truncated: no {nameof(MmEntry)}");
        }

        List<ImageVma> vmas = ReadVmas(file, entry, limits);
        vmas.RemoveAll(static vma => vma.IsGuard);
        vmas.Sort(static (left, right) => left.Start.CompareTo(right.Start));
        for (int i = 1; i < vmas.Count; i++)
        {
            if (vmas[i].Start < vmas[i - 1].EndExclusive)
            {
                throw file.Malformed($"the VMA at {vmas[i].Start:x} overlaps the one at {vmas[i - 1].Start:x}");
            }
        }

        return vmas;
    }

    // Field by field: as one message, two hostile bytes per VMA would become a hundred bytes of objects before anything could be counted.
    private static List<ImageVma> ReadVmas(ImageFile file, ArraySegment<byte> entry, ImageLimits limits)
    {
        List<ImageVma> vmas = [];
        using var input = new CodedInputStream(entry.Array!, entry.Offset, entry.Count);
        try
        {
            for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
            {
                if (tag != WireFormat.MakeTag(MmEntry.VmasFieldNumber, WireFormat.WireType.LengthDelimited))
                {
                    input.SkipLastField();
                    continue;
                }

                if (vmas.Count == limits.MaxVmasPerProcess)
                {
                    throw file.Malformed($"more VMAs than the limit of {limits.MaxVmasPerProcess}");
                }

                var vma = new VmaEntry();
                input.ReadMessage(vma);
                vmas.Add(Convert(file, vma, limits));
            }
        }
        catch (InvalidProtocolBufferException e)
        {
            throw file.Malformed($"malformed {nameof(MmEntry)}: {e.Message}", e);
        }

        return vmas;
    }

    private static ImageVma Convert(ImageFile file, VmaEntry vma, ImageLimits limits)
    {
        if (!vma.HasStart || !vma.HasEnd || !vma.HasFlags || !vma.HasStatus)
        {
            throw file.Malformed($"the VMA at {vma.Start:x} lacks one of start, end, flags, status");
        }

        if (!PageSize.IsAligned(vma.Start) || !PageSize.IsAligned(vma.End) || vma.Start >= vma.End)
        {
            throw file.Malformed($"the VMA {vma.Start:x}-{vma.End:x} is not a range of whole pages of {PageSize.Bytes} bytes");
        }

        ImageVma converted = new(vma.Start, vma.End, (MapFlags)vma.Flags, (VmaStatus)vma.Status, vma.Madv);
        return !converted.CanBeLazy || vma.End <= limits.MaxAddress ? converted : throw file.Malformed($"the VMA {vma.Start:x}-{vma.End:x} ends above the limit of {limits.MaxAddress:x}");
    }
}
