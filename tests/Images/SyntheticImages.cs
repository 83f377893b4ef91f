using System.Buffers.Binary;
using System.Text;
using PostCopy.Images;
using PostCopy.Memory;

namespace PostCopy.Tests.Images;

/// <summary>A directory of images written by hand. It starts as a valid set of one process, whose VMAs and pagemap each test replaces.</summary>
internal sealed class SyntheticImages : IDisposable
{
    public const ulong Base = 0x10_0000_0000;
    public const uint PrivateAnonymous = 0x22;
    public const uint Regular = 0x201;
    public const uint CommonMagic = 0x54564319;
    public const uint PstreeMagic = 0x50273030;
    public const uint CoreMagic = 0x55053847;
    public const uint MmMagic = 0x57492820;
    public const uint PagemapMagic = 0x56084025;
    public const uint InventoryMagic = 0x58313116;
    public const uint IdsMagic = 0x54432030;

    public SyntheticImages()
    {
        Inventory(new ProtoWriter().Number(1, 2).Number(11, 1).Text(13, "e574bd99-df18-4a42-a368-c13f1b685af1"));
        Tree(Task(1, 0));
        Core(1, state: 1);
        File("ids-1.img", IdsMagic, new ProtoWriter().Number(6, 2));
        Vmas(Vma(0, 16));
        Pagemap(Entry(0, 4, flags: 2));
    }

    public string Path { get; } = Directory.CreateTempSubdirectory("postcopy-images-test-").FullName;

    public static ulong At(ulong page) => Base + (page << PageSize.Shift);

    public static ProtoWriter Task(uint pid, uint ppid) =>
        new ProtoWriter().Number(1, pid).Number(2, ppid).Number(3, pid).Number(4, pid).Number(5, pid);

    public static ProtoWriter Vma(ulong page, ulong pages, uint flags = PrivateAnonymous, uint status = Regular) =>
        new ProtoWriter().Number(1, At(page)).Number(2, At(page + pages)).Number(3, 0).Number(4, 0).Number(5, 3).Number(6, flags).Number(7, status).Number(8, 1);

    /// <summary>As CRIU 4.2 and later write it: the count in field 5, and 0 in field 2.</summary>
    public static ProtoWriter Entry(ulong page, ulong pages, uint flags) =>
        new ProtoWriter().Number(1, At(page)).Number(2, 0).Number(4, flags).Number(5, pages);

    /// <summary>As CRIU up to 4.1 writes it: the count in field 2.</summary>
    public static ProtoWriter OldEntry(ulong page, ulong pages, uint? flags, bool? inParent = null)
    {
        ProtoWriter entry = new ProtoWriter().Number(1, At(page)).Number(2, pages);
        if (inParent is { } parent)
            entry.Number(3, parent ? 1u : 0u);
        return flags is { } bits ? entry.Number(4, bits) : entry;
    }

    public void Inventory(ProtoWriter entry) => Write("inventory.img", [InventoryMagic], [entry]);

    public void Tree(params ProtoWriter[] tasks) => File("pstree.img", PstreeMagic, tasks);

    public void Core(int pid, uint state, string command = "synthetic") => Core(pid, state, Encoding.UTF8.GetBytes(command));

    public void Core(int pid, uint state, byte[] command) => File(
        $"core-{pid}.img",
        CoreMagic,
        new ProtoWriter().Number(1, 1).Message(3, new ProtoWriter().Number(1, state).Number(2, 0).Bytes(6, command)));

    public void Vmas(params ProtoWriter[] vmas)
    {
        ProtoWriter mm = new ProtoWriter().Number(1, 0);
        foreach (ProtoWriter vma in vmas)
            mm.Message(14, vma);
        File("mm-1.img", MmMagic, mm);
    }

    public void Pagemap(params ProtoWriter[] entries) => File("pagemap-1.img", PagemapMagic, [new ProtoWriter().Number(1, 1), .. entries]);

    public void File(string name, uint magic, params ProtoWriter[] entries) => Write(name, [CommonMagic, magic], entries);

    public ImageSet Open(ImageLimits? limits = null) => ImageDirectory.Open(Path, limits);

    /// <summary>Reading must fail and name the file.</summary>
    public ImageFormatException Refused(string file, ImageLimits? limits = null)
    {
        ImageFormatException e = Assert.Throws<ImageFormatException>(() => OwedMemory.From(Open(limits)));
        Assert.Contains(file, e.Message, StringComparison.Ordinal);
        return e;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    private void Write(string name, uint[] magics, ProtoWriter[] entries)
    {
        using FileStream file = System.IO.File.Create(System.IO.Path.Join(Path, name));
        foreach (uint magic in magics)
            Word(file, magic);
        foreach (byte[] entry in entries.Select(entry => entry.ToArray()))
        {
            Word(file, (uint)entry.Length);
            file.Write(entry);
        }
    }

    private static void Word(FileStream file, uint value)
    {
        Span<byte> word = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(word, value);
        file.Write(word);
    }
}
