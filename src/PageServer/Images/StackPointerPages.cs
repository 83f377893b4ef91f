using System.Buffers.Binary;
using Google.Protobuf;
using PostCopy.Images.Proto;

namespace PostCopy.Images;

/// <summary>
/// Makes lazy again what CRIU kept back because of a thread's stack pointer (<see cref="EagerReason.StackPointer"/>): one of a process's threads in 256 stands at
/// the very start of a page, and CRIU then writes the whole memory of that process into its images. The processes are frozen and still have
/// those pages, so the images need not carry them.
/// </summary>
internal static class StackPointerPages
{
    private const int CopyBytes = 1 << 20;

    /// <summary>Rewrites the page maps, and shortens the pages files, of a dump whose processes are frozen. Nobody else may read them yet.</summary>
    /// <returns>The pages that are owed now and were not before.</returns>
    /// <exception cref="ImageFormatException">A pages file does not hold what its page map says.</exception>
    public static ulong MakeLazy(ImageSet images)
    {
        ulong pages = 0;
        bool since42 = PagemapDialect.IsSince42(images) ?? true;
        foreach (ImageProcess process in images.Processes.Where(static process => process.IsLive))
        {
            if (images.PagesByVma(process).Where(IsKeptBack).Aggregate(0UL, static (sum, part) => sum + part.Run.Range.PageCount) is > 0 and var kept)
            {
                VmaPages[] parts = [.. images.PagesByVma(process)];
                Shorten(Path.Join(images.Path, $"pages-{process.PagesId}.img"), parts);
                Write(Path.Join(images.Path, $"pagemap-{process.Pid}.img"), process.PagesId!.Value, parts, since42);
                pages += kept;
            }
        }

        return pages;
    }

    private static bool IsKeptBack(VmaPages part) => part.Vma.CanBeLazy && part.Run.Flags == PagemapFlags.Present;

    /// <summary>Moves what stays together. A pages file holds the present pages of its page map, in the same order.</summary>
    private static void Shorten(string path, VmaPages[] parts)
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read, bufferSize: 0);
        long expected = parts.Where(static part => (part.Run.Flags & PagemapFlags.Present) != 0).Sum(static part => (long)part.Run.Range.ByteCount);
        if (file.Length != expected)
        {
            throw new ImageFormatException(path, $"{file.Length} bytes, where the page map has {expected}");
        }

        byte[] buffer = new byte[CopyBytes];
        long from = 0, to = 0;
        foreach (VmaPages part in parts.Where(static part => (part.Run.Flags & PagemapFlags.Present) != 0))
        {
            long end = from + (long)part.Run.Range.ByteCount;
            if (IsKeptBack(part))
            {
                from = end;
                continue;
            }

            while (from < end)
            {
                int length = (int)Math.Min(buffer.Length, end - from);
                file.Position = from;
                file.ReadExactly(buffer, 0, length);
                file.Position = to;
                file.Write(buffer, 0, length);
                from += length;
                to += length;
            }
        }

        file.SetLength(to);
    }

    private static void Write(string path, uint pagesId, VmaPages[] parts, bool since42)
    {
        using MemoryStream image = new();
        WriteWord(image, ImageMagic.Common);
        WriteWord(image, ImageMagic.Pagemap);
        WriteEntry(image, new PagemapHead { PagesId = pagesId });
        foreach (VmaPages part in parts)
        {
            ulong pages = part.Run.Range.PageCount;
            PagemapEntry entry = new()
            {
                Vaddr = part.Run.Range.Start,
                CompatNrPages = since42 ? 0 : (uint)pages,
                Flags = (uint)(IsKeptBack(part) ? PagemapFlags.Lazy : part.Run.Flags),
            };
            if (since42)
            {
                entry.NrPages = pages;
            }

            WriteEntry(image, entry);
        }

        using FileStream file = new(path, FileMode.Truncate, FileAccess.Write);
        image.WriteTo(file);
    }

    private static void WriteEntry(MemoryStream image, IMessage message)
    {
        WriteWord(image, (uint)message.CalculateSize());
        message.WriteTo(image);
    }

    private static void WriteWord(MemoryStream image, uint value)
    {
        Span<byte> word = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(word, value);
        image.Write(word);
    }
}
