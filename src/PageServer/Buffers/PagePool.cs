using System.Buffers;
using System.Collections.Concurrent;
using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Wire;
using Errno = PostCopy.Linux.Errno;

namespace PostCopy.Buffers;

/// <summary>
/// Blocks of native, page-aligned, pre-populated memory for the pipes that carry pages. The collector never moves them, so a pointer into a
/// block may be given to the kernel while the block is rented.
/// </summary>
/// <remarks>
/// Thread-safe. Blocks go back to a free list and are unmapped when the pool is disposed; a pool never holds more than were rented at once. The
/// pipe's thresholds bound that number.
/// </remarks>
internal sealed class PagePool : MemoryPool<byte>
{
    /// <summary>
    /// Bytes of a block: exactly the longest frame, which is read into and sent from a single span. A stream of such frames is received without one
    /// that straddles two blocks, too.
    /// </summary>
    internal static readonly int BlockBytes = PagesFrame.PrefixBytes + (ProtocolLimits.MaxPagesPerFrame * PageSize.Bytes);

    private readonly ConcurrentQueue<Block> _free = new();
    private volatile bool _disposed;
    private int _rented;

    /// <summary>Blocks that somebody holds.</summary>
    internal int Rented => Volatile.Read(ref _rented);

    /// <inheritdoc/>
    public override int MaxBufferSize => int.MaxValue;

    /// <summary>A block of at least <paramref name="minBufferSize"/> bytes; larger ones than <see cref="BlockBytes"/> are made for the occasion and not kept.</summary>
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (minBufferSize > BlockBytes)
        {
            return new Block(null, minBufferSize);
        }

        Block rented = _free.TryDequeue(out Block? block) ? block : new Block(this, BlockBytes);
        Interlocked.Increment(ref _rented);
        return rented;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // Blocks still rented are unmapped when they come back.
        _disposed = true;
        UnmapFree();
    }

    private void Return(Block block)
    {
        Interlocked.Decrement(ref _rented);
        _free.Enqueue(block);
        if (_disposed)
        {
            UnmapFree();
        }
    }

    private void UnmapFree()
    {
        while (_free.TryDequeue(out Block? block))
        {
            block.Unmap();
        }
    }

    private sealed unsafe class Block : MemoryManager<byte>
    {
        private readonly PagePool? _pool;
        private readonly int _bytes;
        private nint _address;

        internal Block(PagePool? pool, int bytes)
        {
            _pool = pool;
            _bytes = bytes;
            _address = Syscall.mmap(
                nint.Zero,
                (ulong)bytes,
                MmapProts.PROT_READ | MmapProts.PROT_WRITE,
                MmapFlags.MAP_PRIVATE | MmapFlags.MAP_ANONYMOUS | MmapFlags.MAP_POPULATE,
                -1,
                0);
            if (_address == -1)
            {
                throw new LinuxException($"mmap of {bytes} bytes for page buffers", (Errno)Stdlib.GetLastError());
            }
        }

        public override Span<byte> GetSpan() => new((void*)_address, _bytes);

        public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_address + elementIndex, default, this);

        public override void Unpin()
        {
        }

        internal void Unmap()
        {
            if (_address != 0)
            {
                _ = Syscall.munmap(_address, (ulong)_bytes);
                _address = 0;
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (_pool is null)
            {
                Unmap();
            }
            else
            {
                _pool.Return(this);
            }
        }
    }
}
