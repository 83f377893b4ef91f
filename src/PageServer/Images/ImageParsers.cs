using Google.Protobuf;
using PostCopy.Images.Proto;

namespace PostCopy.Images;

/// <summary>Parsers that drop the many fields of CRIU's messages this program has no use for, instead of keeping their bytes.</summary>
internal static class ImageParsers
{
    public static readonly MessageParser<InventoryEntry> Inventory = InventoryEntry.Parser.WithDiscardUnknownFields(true);
    public static readonly MessageParser<KernelObjectIds> Ids = KernelObjectIds.Parser.WithDiscardUnknownFields(true);
    public static readonly MessageParser<PstreeEntry> Pstree = PstreeEntry.Parser.WithDiscardUnknownFields(true);
    public static readonly MessageParser<CoreEntry> Core = CoreEntry.Parser.WithDiscardUnknownFields(true);
    public static readonly MessageParser<PagemapHead> PagemapHead = Proto.PagemapHead.Parser.WithDiscardUnknownFields(true);
    public static readonly MessageParser<PagemapEntry> PagemapEntry = Proto.PagemapEntry.Parser.WithDiscardUnknownFields(true);

    /// <summary>One that fills the same message over and over: page maps are read while the container stands still, and may have a million entries.</summary>
    public static MessageParser<PagemapEntry> ReusingPagemapEntry()
    {
        PagemapEntry entry = new();
        return new MessageParser<PagemapEntry>(() =>
        {
            entry.ClearVaddr();
            entry.ClearCompatNrPages();
            entry.ClearInParent();
            entry.ClearFlags();
            entry.ClearNrPages();
            return entry;
        }).WithDiscardUnknownFields(true);
    }
}
