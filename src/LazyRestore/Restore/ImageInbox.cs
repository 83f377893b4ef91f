using System.Buffers;
using PostCopy.Control.Messages;
using PostCopy.Wire;

namespace PostCopy.Restore;

/// <summary>Writes arriving image files into a directory. Names and sums come from the wire and are checked.</summary>
internal sealed class ImageInbox(string directory) : IDisposable
{
    /// <summary>CRIU writes about ten files a process and thirty for the rest.</summary>
    private const int MaxFiles = 1_000_000;

    private const int MaxNameChars = 255;

    private static readonly SearchValues<char> NameChars = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");

    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private FileStream? _file;
    private InventoryGate? _gate;
    private string _name = "";
    private ulong _bytes;

    /// <summary>From now on whoever reads the images waits until they are complete.</summary>
    internal void HoldReaders() => _gate = new InventoryGate(directory);

    /// <summary>Takes the next piece: of the file before it, or the first of a new one.</summary>
    internal void Write(ImageChunk chunk)
    {
        if (_file is null || chunk.Name != _name)
        {
            Open(chunk.Name);
        }

        _file!.Write(chunk.Data.Span);
        _bytes += (ulong)chunk.Data.Length;
    }

    /// <summary>Ends the last file, compares the sums with the sender's, and lets readers go.</summary>
    internal void Complete(ImagesDone done)
    {
        _file?.Dispose();
        if (done.Files != _names.Count || done.Bytes != _bytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"images done: {done.Files} files with {done.Bytes} bytes were sent, {_names.Count} with {_bytes} arrived");
        }

        _gate?.Open();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _file?.Dispose();
        _gate?.Dispose();
    }

    private void Open(string name)
    {
        if (name.Length is 0 or > MaxNameChars || name[0] == '.' || name.AsSpan().ContainsAnyExcept(NameChars))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"image chunk: a name of {name.Length} characters is not one that CRIU or runc gives a file");
        }

        if (_names.Count >= MaxFiles || !_names.Add(name))
        {
            throw new ProtocolException(WireErrorCode.TooLarge, $"image chunk: '{name}' comes twice, or is beyond the limit of {MaxFiles} files");
        }

        _file?.Dispose();
        _name = name;
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 0, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        _file = new FileStream(_gate is not null && name == InventoryGate.ImageName ? _gate.ArrivingPath : Path.Combine(directory, name), options);
    }
}
