namespace PostCopy.Images;

/// <summary>The first words of image files (CRIU, <c>criu/include/magic.h</c>).</summary>
internal static class ImageMagic
{
    /// <summary>Stands before the type's own magic in every image but the inventory.</summary>
    public const uint Common = 0x54564319;

    public const uint Inventory = 0x58313116;
    public const uint Pstree = 0x50273030;
    public const uint Core = 0x55053847;
    public const uint Ids = 0x54432030;
    public const uint Mm = 0x57492820;

    /// <summary>Of a process and of shared memory alike.</summary>
    public const uint Pagemap = 0x56084025;
}
