using System.Collections;

namespace PostCopy.Control;

/// <summary>
/// What went wrong, in words for people: the first messages, which say how it began, and the latest, which say where it ended. However long a session fails again and
/// again, this fits into one message of the control lane.
/// </summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ErrorList : IEnumerable<string>
{
    /// <summary>Kept of the first messages, and of the latest as many.</summary>
    internal const int KeptOfEach = 32;

    /// <summary>Four kilobytes of ASCII: with every message as long, and of the longest characters, all of them are below the limit of 1 MiB.</summary>
    internal const int MaxChars = 4096;

    private readonly Lock _lock = new();
    private readonly List<string> _first = [];
    private readonly Queue<string> _latest = new();
    private long _leftOut;

    /// <summary>How many messages an enumeration gives.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _first.Count + _latest.Count + (_leftOut > 0 ? 1 : 0);
            }
        }
    }

    internal void Add(string message)
    {
        string kept = message.Length <= MaxChars ? message : string.Concat(message.AsSpan(0, MaxChars), "...");
        lock (_lock)
        {
            if (_first.Count < KeptOfEach)
            {
                _first.Add(kept);
                return;
            }

            _latest.Enqueue(kept);
            if (_latest.Count > KeptOfEach)
            {
                _latest.Dequeue();
                _leftOut++;
            }
        }
    }

    internal void AddRange(IEnumerable<string> messages)
    {
        foreach (string message in messages)
        {
            Add(message);
        }
    }

    /// <inheritdoc/>
    public IEnumerator<string> GetEnumerator()
    {
        List<string> all;
        lock (_lock)
        {
            all = [.. _first, .. _leftOut > 0 ? (string[])[$"({_leftOut} more messages, left out here)"] : [], .. _latest];
        }

        return all.GetEnumerator();
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
