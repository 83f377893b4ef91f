using System.Runtime.InteropServices;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.LazyPages;

/// <summary>Pages from this host's disk: one thread reads and installs, faults first.</summary>
internal sealed class LocalFeeder(IPageSource source, FetchPlan plan) : IPageFeeder
{
    /// <summary>Pages read at once, so that a fault waits for no more than 1 MiB (with 4 KiB pages).</summary>
    private const int MaxPages = 256;

    /// <summary>Guards the plan; pulsed when there is news.</summary>
    private readonly object _lock = new();
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? _reader;
    private LazyMemory? _memory;
    private bool _aborted;

    /// <inheritdoc/>
    public Task Failed => _failed.Task;

    /// <inheritdoc/>
    public void Start(LazyMemory memory)
    {
        _memory = memory;
        _reader = new Thread(ReadAll) { IsBackground = true, Name = "page reader" };
        _reader.Start();
    }

    /// <inheritdoc/>
    public void Request(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            plan.OnFault(pid, range.Start);
            Monitor.Pulse(_lock);
        }
    }

    /// <inheritdoc/>
    public void RestoreFinished()
    {
        lock (_lock)
        {
            plan.BulkAllowed = true;
            Monitor.Pulse(_lock);
        }
    }

    /// <inheritdoc/>
    public Task CompleteAsync() => Task.CompletedTask;

    /// <inheritdoc/>
    public void Abort()
    {
        lock (_lock)
        {
            _aborted = true;
            Monitor.Pulse(_lock);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Abort();
        _reader?.Join();
    }

    private unsafe void ReadAll()
    {
        // Not being permitted to is no error: faults then wait a little longer.
        _ = FaultPriority.TryRaise();
        byte* buffer = (byte*)NativeMemory.AlignedAlloc((nuint)(MaxPages * PageSize.Bytes), (nuint)PageSize.Bytes);
        try
        {
            while (TryNext(out ImagePid pid, out PageRange range))
            {
                Bring(pid, range, new Span<byte>(buffer, MaxPages * PageSize.Bytes));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or OperationCanceledException)
        {
            _failed.TrySetException(e);
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
    }

    /// <summary>Waits for the next pages to bring. False when no more are wanted.</summary>
    private bool TryNext(out ImagePid pid, out PageRange range)
    {
        lock (_lock)
        {
            (pid, range) = (default, default);
            while (!_aborted && !plan.TryNextUrgent(out pid, out range) && !plan.TryNextBulk(out pid, out range))
            {
                Monitor.Wait(_lock);
            }

            return !_aborted;
        }
    }

    private void Bring(ImagePid pid, PageRange range, Span<byte> buffer)
    {
        PageRange now = range with { PageCount = Math.Min(range.PageCount, MaxPages) };
        Span<byte> bytes = buffer[..(int)now.ByteCount];
        int read = source.Read(pid, now.Start, bytes);
        if (read < bytes.Length)
        {
            throw new PageSourceException($"page {now.Start + (ulong)read:x} of process {pid} is not in the images although they owe it");
        }

        _memory!.Install(pid, now, bytes);
        lock (_lock)
        {
            if (now.PageCount < range.PageCount)
            {
                plan.ComeBackTo(pid, PageRange.FromBounds(now.EndExclusive, range.EndExclusive));
            }

            if (!_memory.IsOwedAnything(pid))
            {
                plan.Abandon(pid);
            }
        }
    }
}
