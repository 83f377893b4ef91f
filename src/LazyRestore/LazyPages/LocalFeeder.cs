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

    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _work = new(0);
    private Thread? _reader;
    private LazyMemory? _memory;
    private volatile bool _disposed;

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
        }

        _work.Release();
    }

    /// <inheritdoc/>
    public void RestoreFinished()
    {
        lock (_lock)
        {
            plan.BulkAllowed = true;
        }

        _work.Release();
    }

    /// <inheritdoc/>
    public Task CompleteAsync() => Task.CompletedTask;

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _work.Release();
        _reader?.Join();
        _work.Dispose();
    }

    private unsafe void ReadAll()
    {
        // Not being permitted to is no error: faults then wait a little longer.
        _ = FaultPriority.TryRaise();
        byte* buffer = (byte*)NativeMemory.AlignedAlloc((nuint)(MaxPages * PageSize.Bytes), (nuint)PageSize.Bytes);
        try
        {
            while (!_disposed)
            {
                if (TryNext(out ImagePid pid, out PageRange range))
                {
                    Bring(pid, range, new Span<byte>(buffer, MaxPages * PageSize.Bytes));
                }
                else
                {
                    _work.Wait();
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or OperationCanceledException)
        {
            if (!_disposed)
            {
                _failed.TrySetException(e);
            }
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
    }

    private bool TryNext(out ImagePid pid, out PageRange range)
    {
        lock (_lock)
        {
            return plan.TryNextUrgent(out pid, out range) || plan.TryNextBulk(out pid, out range);
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
