using System.Buffers.Binary;
using Google.Protobuf;
using Mono.Unix.Native;

namespace PostCopy.Images;

/// <summary>
/// Reads one image file, entry by entry: the magics, then records of a 32-bit little-endian size and that many bytes of protobuf. Memory use
/// is one entry, and an entry's buffer is only allocated when the file is long enough to hold it.
/// </summary>
internal sealed class ImageFile : IDisposable
{
    private readonly FileStream _stream;
    private readonly int _maxEntryBytes;
    private byte[] _entry = [];

    private ImageFile(string path, FileStream stream, int maxEntryBytes)
    {
        Path = path;
        _stream = stream;
        _maxEntryBytes = maxEntryBytes;
        RemainingBytes = stream.Length;
    }

    public string Path { get; }

    /// <summary>What lies behind the last entry that was read.</summary>
    public long RemainingBytes { get; private set; }

    public static ImageFile Open(string path, uint magic, int maxEntryBytes)
    {
        // A FIFO in a regular file's place would block the open for ever.
        if (Syscall.stat(path, out Stat stat) != 0 || (stat.st_mode & FilePermissions.S_IFMT) != FilePermissions.S_IFREG)
        {
            throw new ImageFormatException(path, "no such image file");
        }

        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var file = new ImageFile(path, stream, maxEntryBytes);
        try
        {
            file.ReadMagics(magic);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The next entry, valid until the next call; false at the end of the file.</summary>
    public bool TryReadEntry(out ArraySegment<byte> entry)
    {
        entry = default;
        if (RemainingBytes == 0)
        {
            return false;
        }

        uint size = ReadWord("entry size");
        if (size > (uint)_maxEntryBytes)
        {
            throw Malformed($"entry size {size} is above the limit of {_maxEntryBytes} bytes");
        }

        if (size > RemainingBytes)
        {
            throw Malformed($"truncated: entry size {size}, but only {RemainingBytes} bytes follow");
        }

        if (_entry.Length < size)
        {
            _entry = new byte[size];
        }

        entry = new ArraySegment<byte>(_entry, 0, (int)size);
        Fill(entry);
        return true;
    }

    /// <summary>The next entry as a message; null at the end of the file.</summary>
    public T? ReadMessage<T>(MessageParser<T> parser)
        where T : class, IMessage<T>
    {
        if (!TryReadEntry(out ArraySegment<byte> entry))
        {
            return null;
        }

        try
        {
            return parser.ParseFrom(entry.AsSpan());
        }
        catch (InvalidProtocolBufferException e)
        {
            throw Malformed($"malformed {typeof(T).Name}: {e.Message}", e);
        }
    }

    /// <summary>The first entry, which must be there.</summary>
    public T ReadFirst<T>(MessageParser<T> parser)
        where T : class, IMessage<T> =>
        ReadMessage(parser) ?? throw Malformed($"truncated: no {typeof(T).Name}");

    public ImageFormatException Malformed(string problem, Exception? innerException = null) => new(Path, problem, innerException);

    public void Dispose() => _stream.Dispose();

    private void ReadMagics(uint magic)
    {
        if (magic != ImageMagic.Inventory)
        {
            Expect(ImageMagic.Common);
        }

        Expect(magic);
    }

    private void Expect(uint magic)
    {
        uint found = ReadWord("magic");
        if (found != magic)
        {
            throw Malformed($"magic {found:x8} where {magic:x8} was expected");
        }
    }

    private uint ReadWord(string field)
    {
        if (RemainingBytes < sizeof(uint))
        {
            throw Malformed($"truncated: {RemainingBytes} bytes where {field} was expected");
        }

        Span<byte> word = stackalloc byte[sizeof(uint)];
        Fill(word);
        return BinaryPrimitives.ReadUInt32LittleEndian(word);
    }

    private void Fill(Span<byte> destination)
    {
        if (_stream.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false) < destination.Length)
        {
            throw Malformed("the file became shorter while it was read");
        }

        RemainingBytes -= destination.Length;
    }
}
