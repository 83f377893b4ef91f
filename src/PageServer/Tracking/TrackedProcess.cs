using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>One process whose writes are watched.</summary>
internal sealed class TrackedProcess : IDisposable
{
    private readonly Func<WriteProtection> _protect;
    private readonly List<PageRange> _found = [];
    private WriteProtection _protection;

    /// <param name="pid">Its pid here.</param>
    /// <param name="imagePid">Its pid in the images.</param>
    /// <param name="protect">Makes a protection of the address space that it has at the time.</param>
    internal TrackedProcess(int pid, ImagePid imagePid, Func<WriteProtection> protect)
    {
        Identity = ProcessIdentity.Of(pid);
        ImagePid = imagePid;
        _protect = protect;
        _protection = protect();
    }

    internal ProcessIdentity Identity { get; }

    internal ImagePid ImagePid { get; }

    /// <summary>Why its memory cannot be watched for certain, once that was seen: then for ever, because what was seen once may have been missed before.</summary>
    internal string? CannotBeWatched { get; private set; }

    /// <summary>Everything written since the last look, under protection anew; a mapping that is new since then as a whole.</summary>
    /// <param name="onNewMapping">Called for a mapping whose protection begins now: whatever was known of its addresses is void.</param>
    /// <param name="onWritten">Called for each run of written pages.</param>
    internal void TakeWritten(Action<PageRange> onNewMapping, Action<PageRange> onWritten)
    {
        List<ProcessMapping> mappings = ProcessMap.Of(Identity.Pid);
        LookForInvisibleWrites(mappings);
        if (CannotBeWatched is not null)
        {
            return;
        }

        if (!TryTakeWrittenOf(onNewMapping, onWritten))
        {
            // It executed another program: its address space is not the one that the descriptor is for. That one may even go on, with a child of vfork(2) in it.
            _protection.Dispose();
            _protection = _protect();
            TryTakeWrittenOf(onNewMapping, onWritten);
        }

        // Whatever was open when the protection began anew is open before, or behind it.
        LookForInvisibleWrites(ProcessMap.Of(Identity.Pid));
    }

    /// <summary>Runs of pages that hold what they held at the last look. Nothing when that is not certain.</summary>
    internal List<PageRange> FindClean(PageRange range)
    {
        List<PageRange> clean = [];
        LookForInvisibleWrites(ProcessMap.Of(Identity.Pid));
        if (CannotBeWatched is null)
        {
            using PagemapScan scan = new(Identity.Pid);
            scan.FindClean(range, clean);
        }

        return clean;
    }

    /// <inheritdoc/>
    public void Dispose() => _protection.Dispose();

    /// <summary>False when nothing of it is under protection, not even what was to be from here on.</summary>
    private bool TryTakeWrittenOf(Action<PageRange> onNewMapping, Action<PageRange> onWritten)
    {
        using PagemapScan scan = new(Identity.Pid);
        using MappingCursor cursor = new(Identity.Pid);
        bool any = false;
        ulong unknownUntil = 0;
        ulong at = 0;
        while (cursor.From(at) is { } mapping)
        {
            // Protected, a new mapping may have become one with those on either side.
            PageRange range = PageRange.FromBounds(Math.Max(at, mapping.Range.Start), mapping.Range.EndExclusive);
            _found.Clear();
            if (!IsWatched(mapping))
            {
                at = range.EndExclusive;
            }
            else if (range.Start < unknownUntil)
            {
                // As it is now, in one piece: half a mapping under protection is two mappings to the kernel, and a program's mremap(2) over both would fail.
                any |= TryTakeAll(scan, range, onNewMapping, onWritten);
                at = range.EndExclusive;
            }
            else if (scan.TryTakeWritten(range, _found))
            {
                _found.ForEach(onWritten);
                any = true;
                at = range.EndExclusive;
            }
            else
            {
                // It is new, or the program changed its mappings meanwhile: then the scan took some of the marks before it met what is not protected. Of all of it
                // nothing is known any more, whatever mappings it is now.
                onNewMapping(range);
                unknownUntil = range.EndExclusive;
            }
        }

        return any;
    }

    private bool TryTakeAll(PagemapScan scan, PageRange range, Action<PageRange> onNewMapping, Action<PageRange> onWritten)
    {
        bool isProtected = _protection.TryRegister(range);
        onNewMapping(range);
        _found.Clear();
        if (!isProtected || !scan.TryTakeAll(range, _found))
        {
            return false;
        }

        _found.ForEach(onWritten);
        return true;
    }

    private static bool IsWatched(ProcessMapping mapping) => mapping is { IsPrivateAnonymous: true, IsReadable: true };

    private void LookForInvisibleWrites(List<ProcessMapping> mappings) => CannotBeWatched ??= InvisibleWrites.ReasonIn(Identity.Pid, mappings);
}
