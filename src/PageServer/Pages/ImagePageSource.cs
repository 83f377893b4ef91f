using System.Collections.Concurrent;
using Microsoft.Win32.SafeHandles;
using PostCopy.Images;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>
/// Memory from an image directory: <c>pagemap-PID.img</c> says where a page is in <c>pages-N.img</c>, or that it is in the image set behind the
/// symbolic link <c>parent</c>, which may say the same again.
/// </summary>
internal sealed class ImagePageSource : IPageSource, IDisposable
{
    /// <summary>Links of a parent chain that are followed: each is one pre-dump. A chain that comes back to itself ends here, too.</summary>
    internal const int MaxParents = 256;

    private readonly string _directory;
    private readonly ImageLimits _limits;
    private readonly int _depth;
    private readonly ConcurrentDictionary<ImagePid, Lazy<StoredProcess?>> _processes = new();
    private readonly Lazy<ImagePageSource?> _parent;

    internal ImagePageSource(string directory, ImageLimits? limits = null)
        : this(directory, limits ?? ImageLimits.Default, depth: 0)
    {
    }

    private ImagePageSource(string directory, ImageLimits limits, int depth)
    {
        _directory = directory;
        _limits = limits;
        _depth = depth;
        _parent = new Lazy<ImagePageSource?>(OpenParent);
    }

    /// <inheritdoc/>
    public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
    {
        StoredProcess process = Find(addressSpace) ?? throw new PageSourceException($"there is no pagemap-{addressSpace}.img in {_directory}");
        int done = 0;
        while (done < destination.Length)
        {
            ulong at = address + (ulong)done;
            if (!process.TryFind(at, out PagemapRun run, out long offset))
            {
                break;
            }

            int length = (int)Math.Min((ulong)(destination.Length - done), run.Range.EndExclusive - at);
            Span<byte> part = destination.Slice(done, length);
            int read = (run.Flags & PagemapFlags.Present) != 0 ? process.ReadPages(offset, part)
                : (run.Flags & PagemapFlags.Parent) != 0 ? ReadParent(addressSpace, at, part)
                : 0;
            done += read;
            if (read < length)
            {
                break;
            }
        }

        return done;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Lazy<StoredProcess?> process in _processes.Values)
        {
            if (process.IsValueCreated)
            {
                process.Value?.Dispose();
            }
        }

        if (_parent.IsValueCreated)
        {
            _parent.Value?.Dispose();
        }
    }

    private int ReadParent(ImagePid addressSpace, ulong address, Span<byte> destination) =>
        _parent.Value is { } parent
            ? parent.Read(addressSpace, address, destination)
            : throw new PageSourceException($"page {address:x} of process {addressSpace} is in the parent of {_directory}, but there is no link 'parent' in it");

    private StoredProcess? Find(ImagePid pid) => _processes.GetOrAdd(pid, id => new Lazy<StoredProcess?>(() =>
    {
        string path = Path.Join(_directory, $"pagemap-{id}.img");
        return File.Exists(path) ? new StoredProcess(_directory, PagemapImage.Read(path, _limits)) : null;
    })).Value;

    private ImagePageSource? OpenParent()
    {
        string path = Path.Join(_directory, "parent");
        if (!Directory.Exists(path))
        {
            return null;
        }

        return _depth < MaxParents
            ? new ImagePageSource(path, _limits, _depth + 1)
            : throw new ImageFormatException(path, $"a chain of more than {MaxParents} parents");
    }

    /// <summary>One process's map and the file its present pages are in, one behind the other.</summary>
    private sealed class StoredProcess : IDisposable
    {
        private readonly IReadOnlyList<PagemapRun> _runs;
        private readonly long[] _offsets;
        private readonly string _path;
        private readonly Lazy<SafeFileHandle> _pages;

        internal StoredProcess(string directory, PagemapImage pagemap)
        {
            _runs = pagemap.Runs;
            _offsets = new long[_runs.Count];
            long offset = 0;
            for (int i = 0; i < _offsets.Length; i++)
            {
                _offsets[i] = offset;
                if ((_runs[i].Flags & PagemapFlags.Present) != 0)
                {
                    offset = checked(offset + (long)_runs[i].Range.ByteCount);
                }
            }

            _path = Path.Join(directory, $"pages-{pagemap.PagesId}.img");
            _pages = new Lazy<SafeFileHandle>(() => File.OpenHandle(_path));
        }

        /// <summary>The run that holds the address, and where in the pages file the address's page is.</summary>
        internal bool TryFind(ulong address, out PagemapRun run, out long offset)
        {
            int low = 0, high = _runs.Count;
            while (low < high)
            {
                int middle = (low + high) >>> 1;
                if (_runs[middle].Range.EndExclusive <= address)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            if (low == _runs.Count || !_runs[low].Range.Contains(address))
            {
                run = default;
                offset = 0;
                return false;
            }

            run = _runs[low];
            offset = _offsets[low] + (long)(address - run.Range.Start);
            return true;
        }

        /// <summary>Whole pages; fewer than asked when the file ends before its map does.</summary>
        internal int ReadPages(long offset, Span<byte> destination)
        {
            int done = 0;
            while (done < destination.Length)
            {
                int read = RandomAccess.Read(_pages.Value, destination[done..], offset + done);
                if (read == 0)
                {
                    break;
                }

                done += read;
            }

            return (int)PageSize.AlignDown((ulong)done);
        }

        public void Dispose()
        {
            if (_pages.IsValueCreated)
            {
                _pages.Value.Dispose();
            }
        }
    }
}
