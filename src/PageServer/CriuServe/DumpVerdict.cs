using System.Net.Sockets;

namespace PostCopy.CriuServe;

/// <summary>
/// Who is served from a frozen dump, and what was decided about its tasks. One lock for both, and the first one wins: nobody is served from what was let go,
/// and what is being served is not let go unasked. A frozen copy can become one running copy, so it has one client at a time: the one that asked first.
/// </summary>
internal sealed class DumpVerdict(FrozenDump dump)
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource<bool> _isGoneElsewhere = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Socket? _served;

    /// <summary>Completes when it is decided: with true when the copy here is to be discarded, with false when it is to run on.</summary>
    internal Task<bool> IsGoneElsewhere => _isGoneElsewhere.Task;

    /// <summary>Why no further client can be served at this moment; null when one can.</summary>
    internal string? Refusal
    {
        get
        {
            lock (_gate)
            {
                return RefusalOf(null);
            }
        }
    }

    /// <summary>A client asks for pages: from its first request on tasks may run there.</summary>
    /// <exception cref="ClientRefusedException">It cannot be served.</exception>
    /// <exception cref="IOException">The tasks here cannot be held, or have run on.</exception>
    internal void Serve(Socket client)
    {
        lock (_gate)
        {
            if (RefusalOf(client) is { } reason)
            {
                throw new ClientRefusedException(reason);
            }

            dump.HandOff();
            _served = client;
        }
    }

    /// <summary>A client's session has ended. Returns whether it leaves it open who runs.</summary>
    /// <param name="client">Whose.</param>
    /// <param name="hasEverything">It says, or has shown, that every page is where it belongs.</param>
    internal bool Left(Socket client, bool hasEverything)
    {
        lock (_gate)
        {
            bool wasServed = _served == client;
            _served = wasServed ? null : _served;
            if (hasEverything && _served is null)
            {
                _isGoneElsewhere.TrySetResult(true);
            }

            return wasServed && !_isGoneElsewhere.Task.IsCompleted;
        }
    }

    /// <summary>By whoever knows where it runs. False when it was decided before.</summary>
    internal bool Decide(bool isGoneElsewhere)
    {
        lock (_gate)
        {
            return _isGoneElsewhere.TrySetResult(isGoneElsewhere);
        }
    }

    /// <summary>Lets the tasks run on here, unless a client may have restored them. Returns whether it is so.</summary>
    internal bool TryLetRunOn()
    {
        lock (_gate)
        {
            return !dump.IsHandedOff && _isGoneElsewhere.TrySetResult(false);
        }
    }

    private string? RefusalOf(Socket? client) =>
        _isGoneElsewhere.Task.IsCompleted ? "it is decided already what becomes of the frozen copy"
        : _served is not null && _served != client ? "another client is being served, and a frozen copy can be restored once"
        : null;
}
