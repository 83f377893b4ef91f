using Google.Protobuf;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>Sends an image directory over the control lane, file by file.</summary>
internal static class ImageSender
{
    internal static (uint Files, ulong Bytes) Send(string imageDirectory, ControlChannel control, CancellationToken cancellation)
    {
        byte[] buffer = new byte[ProtocolLimits.ImageChunkBytes];
        uint files = 0;
        ulong bytes = 0;
        foreach (string path in Directory.EnumerateFiles(imageDirectory).Order(StringComparer.Ordinal))
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            int read;
            do
            {
                cancellation.ThrowIfCancellationRequested();
                read = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
                control.Send(FrameKind.ImageChunk, new ImageChunk { Name = Path.GetFileName(path), Data = ByteString.CopyFrom(buffer.AsSpan(0, read)) });
                bytes += (ulong)read;
            }
            while (read == buffer.Length);
            files++;
        }

        control.Send(FrameKind.ImagesDone, new ImagesDone { Files = files, Bytes = bytes });
        return (files, bytes);
    }
}
