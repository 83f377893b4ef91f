using Google.Protobuf;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>Sends the images over the control lane, file by file, each once.</summary>
internal sealed class ImageSender(ControlChannel control)
{
    /// <summary>Less than the protocol's limit: the receiver's copy of a chunk then stays off the heap for large objects, whose every page would be a new one.</summary>
    private const int ChunkBytes = ProtocolLimits.ImageChunkBytes / 4;

    private readonly Dictionary<string, byte[]> _early = new(StringComparer.Ordinal);
    private readonly byte[] _buffer = new byte[ChunkBytes];
    private uint _files;
    private ulong _bytes;

    /// <summary>Sends files that are going to be among the images, before they are.</summary>
    internal void SendEarly(IReadOnlyDictionary<string, byte[]> files)
    {
        foreach ((string name, byte[] content) in files)
        {
            _early.Add(name, content);
            Send(name, content);
            _files++;
        }
    }

    /// <summary>Sends what was not sent yet, and says that this is all.</summary>
    /// <param name="imageDirectory">Where CRIU has written them.</param>
    /// <param name="pageMapsFinal">Until it ends, page maps and pages may still change: they are sent last. Fails, and so does this, when they cannot be read.</param>
    /// <param name="cancellation">Looked at between chunks; for one that is being sent, end the channel.</param>
    /// <exception cref="MigrationException">A file has become another than the one that was sent early.</exception>
    internal void SendAll(string imageDirectory, Task pageMapsFinal, CancellationToken cancellation)
    {
        foreach (string path in Directory.EnumerateFiles(imageDirectory).OrderBy(IsOfPages).ThenBy(static path => path, StringComparer.Ordinal))
        {
            cancellation.ThrowIfCancellationRequested();
            if (IsOfPages(path))
            {
                pageMapsFinal.GetAwaiter().GetResult();
            }

            if (!_early.Remove(Path.GetFileName(path), out byte[]? sent))
            {
                SendFile(path, cancellation);
            }
            else if (!File.ReadAllBytes(path).AsSpan().SequenceEqual(sent))
            {
                throw new MigrationException($"{path} is another than the one with which the destination has started its restore, from runc's state before the dump: report this, with what 'runc --version' says");
            }
        }

        if (_early.Keys.FirstOrDefault() is { } missing)
        {
            throw new MigrationException($"{missing} is not among the images, but the destination has started its restore with it, from runc's state before the dump: report this, with what 'runc --version' says");
        }

        control.Send(FrameKind.ImagesDone, new ImagesDone { Files = _files, Bytes = _bytes });
    }

    private static bool IsOfPages(string path) =>
        Path.GetFileName(path.AsSpan()).StartsWith("pagemap-", StringComparison.Ordinal) || Path.GetFileName(path.AsSpan()).StartsWith("pages-", StringComparison.Ordinal);

    private void SendFile(string path, CancellationToken cancellation)
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        int read;
        do
        {
            cancellation.ThrowIfCancellationRequested();
            read = file.ReadAtLeast(_buffer, _buffer.Length, throwOnEndOfStream: false);
            Send(Path.GetFileName(path), _buffer.AsMemory(0, read));
        }
        while (read == _buffer.Length);
        _files++;
    }

    private void Send(string name, ReadOnlyMemory<byte> data)
    {
        // Encoded before this returns: the buffer may be used again.
        control.Send(FrameKind.ImageChunk, new ImageChunk { Name = name, Data = UnsafeByteOperations.UnsafeWrap(data) });
        _bytes += (ulong)data.Length;
    }
}
