using System.Net.Sockets;
using System.Runtime.InteropServices;
using PostCopy.CriuWire;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.LazyPages;

/// <summary>Pages from a server that speaks CRIU's protocol: CRIU's own dump, CRIU's page server, or ours.</summary>
/// <remarks>
/// Requests are written by whoever has news (the fault thread, the receiver), answers are received and installed by one thread. Several requests are
/// under way at a time, so that the server never waits for us; but few of the bulk, because a fault's answer comes behind them.
/// </remarks>
internal sealed class RemoteFeeder(Func<CriuPageConnection> connect, FetchPlan plan) : IPageFeeder
{
    /// <summary>Requests of the bulk that are unanswered at a time: one that the server works on and one that it finds next.</summary>
    private const int MaxBulkInFlight = 2;

    /// <summary>
    /// Unanswered requests in all. So many fit into the socket's buffer: a send never waits for a server that waits for us to receive.
    /// </summary>
    private const int MaxInFlight = 256;

    /// <summary>Pages received before they are installed: 256 KiB with 4 KiB pages, about what a CPU's cache keeps from one to the other.</summary>
    private const int SlicePages = 64;

    private readonly Lock _lock = new();
    private readonly Queue<Asked> _inFlight = new();
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CriuPageConnection? _connection;
    private LazyMemory? _memory;
    private Thread? _receiver;
    private int _bulkInFlight;
    private bool _complete;
    private bool _closeSent;
    private volatile bool _aborted;

    private readonly record struct Asked(ImagePid Pid, PageRange Range, bool IsBulk);

    /// <inheritdoc/>
    public Task Failed => _failed.Task;

    /// <inheritdoc/>
    public void Start(LazyMemory memory)
    {
        CriuPageConnection connection = connect();
        lock (_lock)
        {
            _memory = memory;
            _connection = connection;
            Pump();
        }

        _receiver = new Thread(Receive) { IsBackground = true, Name = "page receiver" };
        _receiver.Start();
    }

    /// <inheritdoc/>
    public void Request(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            plan.OnFault(pid, range.Start);
            TryPump();
        }
    }

    /// <inheritdoc/>
    public void RestoreFinished()
    {
        lock (_lock)
        {
            plan.BulkAllowed = true;
            TryPump();
        }
    }

    /// <inheritdoc/>
    public async Task CompleteAsync()
    {
        lock (_lock)
        {
            _complete = true;
            CloseWhenQuiet();
        }

        await Task.WhenAny(_closed.Task, _failed.Task).Unwrap().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Abort()
    {
        _aborted = true;
        _connection?.Abort();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Abort();
        _receiver?.Join();
        _connection?.Dispose();
    }

    /// <summary>For the fault thread, which must not fail: the receiver meets the same broken connection and reports it.</summary>
    private void TryPump()
    {
        try
        {
            Pump();
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            _failed.TrySetException(e);
        }
    }

    private void Pump()
    {
        if (_connection is null || _complete || _aborted)
        {
            return;
        }

        while (_inFlight.Count < MaxInFlight && plan.TryNextUrgent(out ImagePid pid, out PageRange range))
        {
            Send(new Asked(pid, range, IsBulk: false));
        }

        while (_inFlight.Count < MaxInFlight && _bulkInFlight < MaxBulkInFlight && plan.TryNextBulk(out ImagePid pid, out PageRange range))
        {
            _bulkInFlight++;
            Send(new Asked(pid, range, IsBulk: true));
        }
    }

    private void Send(Asked request)
    {
        _inFlight.Enqueue(request);
        _connection!.SendGet(request.Pid, request.Range);
    }

    /// <summary>Answers still outstanding were for pages that tasks have dropped; they are received first.</summary>
    private void CloseWhenQuiet()
    {
        if (_complete && !_closeSent && _inFlight.Count == 0)
        {
            _closeSent = true;
            if (_connection is null)
            {
                _closed.TrySetResult();
            }
            else
            {
                _connection.SendClose();
            }
        }
    }

    private unsafe void Receive()
    {
        // Not being permitted to is no error: faults then wait a little longer.
        _ = FaultPriority.TryRaise();
        byte* buffer = (byte*)NativeMemory.AlignedAlloc((nuint)(SlicePages * PageSize.Bytes), (nuint)PageSize.Bytes);
        try
        {
            while (ReceiveOne(new Span<byte>(buffer, SlicePages * PageSize.Bytes)))
            {
            }

            _connection!.AwaitEnd();
            _closed.TrySetResult();
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or InvalidDataException or OperationCanceledException)
        {
            if (!_aborted)
            {
                // No reset yet: it lets a dump's tasks run on, and whether those here run is for others to see to first.
                _failed.TrySetException(e is EndOfStreamException ? new CriuProtocolException("page server: it closed the connection while pages are owed") : e);
            }
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
    }

    /// <summary>Receives and installs one answer. False when it was the answer to our close.</summary>
    private bool ReceiveOne(Span<byte> buffer)
    {
        int word = _connection!.ReceiveWord();
        Asked request;
        lock (_lock)
        {
            if (_closeSent)
            {
                return word == 0 ? false : throw new CriuProtocolException($"page server: status {word} in the answer to CLOSE");
            }

            request = _inFlight.TryPeek(out Asked oldest) ? oldest : throw new CriuProtocolException("page server: bytes came that nobody asked for");
        }

        int answered = _connection.ReceiveAnswer(request.Pid, request.Range);
        for (int done = 0; done < answered;)
        {
            int pages = Math.Min(SlicePages, answered - done);
            Span<byte> slice = buffer[..(pages * PageSize.Bytes)];
            _connection.ReceivePages(slice);
            PageRange range = new(request.Range.Start + PageSize.ToBytes((ulong)done), (ulong)pages);
            _memory!.Install(request.Pid, range, slice);
            done += pages;
        }

        lock (_lock)
        {
            _ = _inFlight.Dequeue();
            _bulkInFlight -= request.IsBulk ? 1 : 0;
            if ((ulong)answered < request.Range.PageCount)
            {
                plan.ComeBackTo(request.Pid, PageRange.FromBounds(request.Range.Start + PageSize.ToBytes((ulong)answered), request.Range.EndExclusive));
            }

            if (!_memory!.IsOwedAnything(request.Pid))
            {
                plan.Abandon(request.Pid);
            }

            Pump();
            CloseWhenQuiet();
        }

        return true;
    }
}
