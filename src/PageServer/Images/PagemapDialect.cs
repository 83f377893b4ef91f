namespace PostCopy.Images;

/// <summary>Tells by its page maps which CRIU wrote an image set.</summary>
internal static class PagemapDialect
{
    /// <summary>
    /// True when it was CRIU 4.2 or later: that one counts pages in field 5 of a pagemap entry, earlier ones in field 2. Its page server's frames
    /// changed in the same release. Null when no process has a page.
    /// </summary>
    internal static bool? IsSince42(ImageSet images, ImageLimits? limits = null)
    {
        limits ??= ImageLimits.Default;
        if (images.Processes.FirstOrDefault(static process => process.Pagemap.Count > 0) is not { } process)
        {
            return null;
        }

        using ImageFile file = ImageFile.Open(Path.Join(images.Path, $"pagemap-{process.Pid}.img"), ImageMagic.Pagemap, limits.MaxPagemapEntryBytes);
        _ = file.ReadFirst(ImageParsers.PagemapHead);
        return file.ReadFirst(ImageParsers.PagemapEntry).HasNrPages;
    }
}
