namespace PostCopy.Images;

/// <summary>Where the bytes of a pagemap entry are (CRIU's PE_ bits).</summary>
[Flags]
internal enum PagemapFlags : uint
{
    None = 0,

    /// <summary>In the parent image; restored eagerly from there.</summary>
    Parent = 1,

    /// <summary>Left out by a lazy restore and filled on demand.</summary>
    Lazy = 2,

    /// <summary>In this image's pages file.</summary>
    Present = 4,
}
