using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>What PostCopy knows of one dump after reading its image directory.</summary>
/// <param name="Path">The directory.</param>
/// <param name="Inventory">The dump as a whole.</param>
/// <param name="RootNetworkNamespaceId">The root process's network namespace, in the numbering of this image set.</param>
/// <param name="Processes">Parents before their children; the root first.</param>
internal sealed record ImageSet(string Path, ImageInventory Inventory, uint? RootNetworkNamespaceId, IReadOnlyList<ImageProcess> Processes)
{
    /// <summary>The dumped tree has a network namespace other than CRIU's: the network lock sits inside it.</summary>
    public bool HasOwnNetworkNamespace =>
        RootNetworkNamespaceId is { } own && Inventory.HostNetworkNamespaceId is { } host && own != host;

    /// <summary>A process's pages, cut where its VMAs begin and end, in ascending order.</summary>
    /// <exception cref="ImageFormatException">A page lies in no VMA.</exception>
    public IEnumerable<VmaPages> PagesByVma(ImageProcess process)
    {
        IReadOnlyList<ImageVma> vmas = process.Vmas;
        int index = 0;
        foreach (PagemapRun run in process.Pagemap)
        {
            ulong address = run.Range.Start;
            while (address < run.Range.EndExclusive)
            {
                while (index < vmas.Count && vmas[index].EndExclusive <= address)
                {
                    index++;
                }

                if (index == vmas.Count || vmas[index].Start > address)
                {
                    throw new ImageFormatException(Path, $"pagemap-{process.Pid}.img: the page at {address:x} lies in no VMA of mm-{process.Pid}.img");
                }

                ulong end = Math.Min(run.Range.EndExclusive, vmas[index].EndExclusive);
                yield return new VmaPages(index, vmas[index], run with { Range = PageRange.FromBounds(address, end) });
                address = end;
            }
        }
    }
}
