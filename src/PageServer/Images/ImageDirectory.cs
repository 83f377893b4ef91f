using PostCopy.Images.Proto;

namespace PostCopy.Images;

/// <summary>Reads a directory of CRIU images.</summary>
internal static class ImageDirectory
{
    /// <summary>The version with a common magic in front of each file's own (CRIU 2.0 and later).</summary>
    private const uint SupportedImageVersion = 2;

    private const string InventoryFile = "inventory.img";

    /// <summary>Reads everything but the pages themselves.</summary>
    /// <exception cref="ImageFormatException">The directory holds no image set, or one that is damaged or beyond the limits.</exception>
    public static ImageSet Open(string path, ImageLimits? limits = null)
    {
        limits ??= ImageLimits.Default;
        if (!File.Exists(Path.Join(path, InventoryFile)))
        {
            throw new ImageFormatException(path, $"not a directory of CRIU images: there is no {InventoryFile} in it");
        }

        ImageInventory inventory = ReadInventory(Path.Join(path, InventoryFile), limits);
        List<ImageProcess> processes = new ProcessTreeReader(path, limits).Read();
        uint? networkNamespace = ReadNetworkNamespaceId(Path.Join(path, $"ids-{processes[0].Pid}.img"), limits);
        return new ImageSet(path, inventory, networkNamespace, processes);
    }

    private static ImageInventory ReadInventory(string path, ImageLimits limits)
    {
        using ImageFile file = ImageFile.Open(path, ImageMagic.Inventory, limits.MaxInventoryEntryBytes);
        InventoryEntry entry = file.ReadFirst(ImageParsers.Inventory);
        if (entry.ImgVersion != SupportedImageVersion)
        {
            throw file.Malformed($"img_version {entry.ImgVersion}, only {SupportedImageVersion} can be read");
        }

        string? runId = entry.HasDumpCriuRunId ? entry.DumpCriuRunId : null;
        if (runId is not null && (runId.Length > limits.MaxRunIdChars || !runId.All(static c => char.IsAsciiHexDigit(c) || c == '-')))
        {
            throw file.Malformed($"dump_criu_run_id is not a UUID of at most {limits.MaxRunIdChars} characters");
        }

        var networkLock = (ImageNetworkLock)entry.NetworkLockMethod;
        if (!Enum.IsDefined(networkLock))
        {
            throw file.Malformed($"network_lock_method {entry.NetworkLockMethod} is unknown");
        }

        return new ImageInventory(entry.ImgVersion, runId, networkLock, NetworkNamespaceId(entry.RootIds));
    }

    private static uint? ReadNetworkNamespaceId(string path, ImageLimits limits)
    {
        using ImageFile file = ImageFile.Open(path, ImageMagic.Ids, limits.MaxIdsEntryBytes);
        return NetworkNamespaceId(file.ReadFirst(ImageParsers.Ids));
    }

    private static uint? NetworkNamespaceId(KernelObjectIds? ids) => ids is { HasNetNsId: true } ? ids.NetNsId : null;
}
