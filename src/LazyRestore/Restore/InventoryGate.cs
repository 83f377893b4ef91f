using PostCopy.Linux;
using PostCopy.Wire;

namespace PostCopy.Restore;

/// <summary>
/// Holds a restore that was started before its images are here. The inventory is the first image that CRIU reads (criu/cr-restore.c, cr_restore_tasks), so until
/// <see cref="Open"/> a FIFO stands in its place: CRIU, and runc before it, get ready while the source still dumps, and wait there.
/// </summary>
/// <remarks>
/// CRIU waits in its read for as long as our own end is open. With our death it reads an end of file, which is no inventory, and fails. One that had not opened the FIFO
/// by then waits in its open until the next agent gives the attempt up (<see cref="LetReadersFail"/>).
/// </remarks>
internal sealed class InventoryGate : IDisposable
{
    internal const string ImageName = "inventory.img";

    /// <summary>What a FIFO takes in one piece and without a reader (PIPE_BUF, pipe(7)). An inventory has a hundred bytes.</summary>
    private const int MaxBytes = 4096;

    private readonly string _path;
    private readonly FileStream _fifo;

    internal InventoryGate(string imageDirectory)
    {
        _path = Path.Combine(imageDirectory, ImageName);
        ArrivingPath = Path.Combine(imageDirectory, "." + ImageName);
        if (!Fifo.TryMake(_path))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"freezing: {ImageName} has come before");
        }

        _fifo = Fifo.Open(_path);
    }

    /// <summary>Where the inventory belongs while the gate is closed. The wire cannot name it: names there have no dot in front.</summary>
    internal string ArrivingPath { get; }

    /// <summary>All images are here. Whoever has opened the FIFO reads the inventory from it, whoever comes later finds the file.</summary>
    internal void Open()
    {
        byte[] inventory = File.Exists(ArrivingPath) ? File.ReadAllBytes(ArrivingPath) : [];
        if (inventory.Length is 0 or > MaxBytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"images done: {ImageName} has {inventory.Length} bytes, 1 to {MaxBytes} are accepted");
        }

        // First the file: a reader that opens the FIFO once it is written and closed would wait for ever.
        File.Move(ArrivingPath, _path, overwrite: true);
        _fifo.Write(inventory);
        Dispose();
    }

    /// <summary>No images will come: whoever waits for them, or is going to, fails. It may be a dead process that closed the gate; when none is closed, nothing happens.</summary>
    internal static void LetReadersFail(string imageDirectory)
    {
        string path = Path.Combine(imageDirectory, ImageName);
        if (Fifo.Exists(path))
        {
            // A reader in its open goes on, and reads an end of file when this is closed; a later one finds no file.
            using FileStream fifo = Fifo.Open(path);
            File.Delete(path);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _fifo.Dispose();
}
