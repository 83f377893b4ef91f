namespace PostCopy.Images;

/// <summary>Pages of one pagemap entry inside one VMA.</summary>
/// <param name="VmaIndex">The VMA's place in <see cref="ImageProcess.Vmas"/>.</param>
/// <param name="Vma">The VMA.</param>
/// <param name="Run">The pages.</param>
internal readonly record struct VmaPages(int VmaIndex, ImageVma Vma, PagemapRun Run);
