using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>
/// Pages that the source owes and cannot read although their task lives: broken memory, for example (EHWPOISON). They stay owed, and everything else goes on; so whoever
/// touches one of them on the destination waits, and the drain does not end. Outlives connections: each page is told of once.
/// </summary>
/// <param name="found">Told of a page that was not known, from any thread.</param>
internal sealed class UnreadablePages(Action<ImagePid, ulong>? found = null)
{
    /// <summary>Of so many it is told; the others are counted.</summary>
    private const int MaxTold = 20;

    private readonly Lock _lock = new();
    private readonly HashSet<(ImagePid Pid, ulong Address)> _pages = [];

    /// <summary>Null when there are none.</summary>
    internal string? Summary
    {
        get
        {
            lock (_lock)
            {
                return _pages.Count == 0 ? null : $"{_pages.Count} pages that cannot be read on the source (page {_pages.First().Address:x} of process {_pages.First().Pid}): whoever needs one of them waits, and the drain does not end";
            }
        }
    }

    internal void Add(ImagePid pid, ulong address)
    {
        lock (_lock)
        {
            if (!_pages.Add((pid, address)) || _pages.Count > MaxTold)
            {
                return;
            }
        }

        found?.Invoke(pid, address);
    }
}
