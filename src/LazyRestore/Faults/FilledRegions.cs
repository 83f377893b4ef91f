using System.Threading.Channels;
using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>
/// Aligned regions of run-time memory, told of when their last page is put in place. Those alone that the dump owed in one piece: the others have holes. Whoever
/// installs pays for a look into the ledger, and never waits: while nobody takes what is told, the first <see cref="Capacity"/> are kept.
/// </summary>
/// <param name="regionBytes">A power of two.</param>
internal sealed class FilledRegions(ulong regionBytes)
{
    /// <summary>32 GiB in regions of 2 MiB.</summary>
    private const int Capacity = 16384;

    private readonly Channel<(ImagePid Pid, ulong Start)> _filled = Channel.CreateBounded<(ImagePid, ulong)>(new BoundedChannelOptions(Capacity) { SingleReader = true });

    /// <summary>Of each region.</summary>
    public ulong RegionBytes => regionBytes;

    /// <summary>The regions as they are filled, by whose memory they are and where. Blocks until there is one.</summary>
    /// <exception cref="OperationCanceledException">While it waited.</exception>
    public IEnumerable<(ImagePid Pid, ulong Start)> TakeAll(CancellationToken cancellation)
    {
        while (_filled.Reader.WaitToReadAsync(cancellation).AsTask().GetAwaiter().GetResult())
        {
            while (_filled.Reader.TryRead(out (ImagePid, ulong) region))
            {
                yield return region;
            }
        }
    }

    /// <summary>These pages have been put in place, and the ledger knows; its lock is held.</summary>
    public void Installed(AddressSpace space, OwedRun pages)
    {
        for (ulong start = pages.RunTime & ~(regionBytes - 1); start < pages.RunTimeEnd; start += regionBytes)
        {
            if (!space.IsForked && space.Owed.IsFilled(start, (long)(regionBytes >> PageSize.Shift)))
            {
                _ = _filled.Writer.TryWrite((space.Process.Pid, start));
            }
        }
    }
}
