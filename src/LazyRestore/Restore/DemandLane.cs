using System.Net.Sockets;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Restore;

/// <summary>Asks for pages. At most <see cref="ProtocolLimits.MaxRequestsInFlight"/> requests are unanswered at a time; the others wait here.</summary>
/// <remarks>
/// The bound makes asking safe: that many requests fit into the socket's buffer, so the fault thread never blocks in a send. It could otherwise wait
/// for a source that waits for our receiver, which waits for the fault thread to read an event.
/// </remarks>
internal sealed class DemandLane : IPageRequester
{
    private readonly Lock _lock = new();
    private readonly Queue<PageRequest> _waiting = new();
    private SocketLane? _lane;
    private ulong _lastId;
    private int _inFlight;

    /// <summary>Uses this lane from now on; what has been asked for before goes out at once.</summary>
    internal void Attach(SocketLane lane)
    {
        lock (_lock)
        {
            _lane = lane;
            SendWaiting();
        }
    }

    /// <inheritdoc/>
    public void Request(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            _waiting.Enqueue(new PageRequest(pid, range));
            SendWaiting();
        }
    }

    /// <summary>An answer has come.</summary>
    internal void Answered()
    {
        lock (_lock)
        {
            _inFlight--;
            SendWaiting();
        }
    }

    private void SendWaiting()
    {
        bool wrote = false;
        while (_lane is not null && _inFlight < ProtocolLimits.MaxRequestsInFlight && _waiting.TryDequeue(out PageRequest request))
        {
            FrameWriter.WritePageRequest(_lane.Output, ++_lastId, request);
            _inFlight++;
            wrote = true;
        }

        if (!wrote)
        {
            return;
        }

        try
        {
            _lane!.Flush();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The thread that receives on this lane meets the same end and reports it; the pages stay owed.
            _lane = null;
        }
    }
}
