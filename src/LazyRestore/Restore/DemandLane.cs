using System.Net.Sockets;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Restore;

/// <summary>Asks for pages. Only so many requests are unanswered at a time; the others wait here.</summary>
/// <remarks>
/// The bound, <see cref="ProtocolLimits.MaxRequestsInFlight"/>, makes asking safe: that many requests fit into the socket's buffer, so the fault thread never blocks
/// in a send. It could otherwise wait for a source that waits for our receiver, which waits for the fault thread to read an event.
/// </remarks>
internal sealed class DemandLane : IPageRequester
{
    /// <summary>A Unix socket's buffer holds each send as a piece of its own of nearly 1 KiB, 208 of them by default (net.core.wmem_default).</summary>
    private const int MaxLocalRequestsInFlight = 128;

    private readonly Lock _lock = new();
    private readonly Queue<PageRequest> _waiting = new();
    private SocketLane? _lane;
    private ulong _lastId;
    private ulong _lastAnswered;
    private int _inFlight;
    private int _maxInFlight;

    /// <summary>
    /// Uses this lane from now on. What was asked before, on another lane or on none, is forgotten: have it asked again
    /// (<see cref="LazyMemory.RepeatRequests"/>).
    /// </summary>
    internal void Attach(SocketLane lane)
    {
        lock (_lock)
        {
            _lane = lane;
            _lastId = 0;
            _lastAnswered = 0;
            _inFlight = 0;
            _maxInFlight = lane.IsLocal ? MaxLocalRequestsInFlight : ProtocolLimits.MaxRequestsInFlight;
            _waiting.Clear();
        }
    }

    /// <inheritdoc/>
    public void Request(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            while (range.PageCount > ProtocolLimits.MaxPagesPerFrame)
            {
                _waiting.Enqueue(new PageRequest(pid, range with { PageCount = ProtocolLimits.MaxPagesPerFrame }));
                range = new PageRange(range.Start + PageSize.ToBytes(ProtocolLimits.MaxPagesPerFrame), range.PageCount - ProtocolLimits.MaxPagesPerFrame);
            }

            _waiting.Enqueue(new PageRequest(pid, range));
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
        lock (_lock)
        {
            SendWaiting();
        }
    }

    /// <summary>No lane any more: requests wait. When this returns, nothing of this class uses the lane.</summary>
    internal void Detach()
    {
        lock (_lock)
        {
            _lane = null;
        }
    }

    /// <summary>No more of this lane, if it is the one in use.</summary>
    internal void Detach(SocketLane lane)
    {
        lock (_lock)
        {
            if (_lane == lane)
            {
                _lane = null;
            }
        }
    }

    /// <summary>The answer to a request has come. Answers come in the requests' order; throws <see cref="ProtocolException"/> for any other.</summary>
    internal void Answered(SocketLane lane, ulong id)
    {
        lock (_lock)
        {
            if (_lane != lane)
            {
                // An answer that was received before the lane was given up: the page is as good as any.
                return;
            }

            if (id != _lastAnswered + 1 || id > _lastId)
            {
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"demand lane: an answer has id {id}, requests {_lastAnswered + 1} to {_lastId} are unanswered");
            }

            _lastAnswered = id;
            if (_inFlight-- == _maxInFlight)
            {
                // Only what the bound held back: what is being asked for just now is sent by whoever asks, all at once.
                SendWaiting();
            }
        }
    }

    private void SendWaiting()
    {
        if (_lane is null || _inFlight >= _maxInFlight || _waiting.Count == 0)
        {
            return;
        }

        try
        {
            while (_inFlight < _maxInFlight && _waiting.TryDequeue(out PageRequest request))
            {
                FrameWriter.WritePageRequest(_lane.Output, ++_lastId, request);
                _inFlight++;
            }

            _lane.Flush();
        }
        catch (Exception e) when (e is SocketException or IOException or InvalidOperationException)
        {
            // The thread that receives on this lane meets the end that this makes, and reports it; the pages stay owed.
            _lane.Abort();
            _lane = null;
        }
    }
}
