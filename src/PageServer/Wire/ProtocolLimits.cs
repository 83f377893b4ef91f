namespace PostCopy.Wire;

/// <summary>The bounds of everything that a peer may send. PROTOCOL.md lists them.</summary>
internal static class ProtocolLimits
{
    /// <summary>The version spoken. A peer that does not offer it is refused.</summary>
    internal const ushort Version = 1;

    /// <summary>
    /// Pages in one frame: 1 MiB of 4 KiB pages. Larger frames gain nothing (process_vm_readv is at its best from 256 KiB on), and a demanded page
    /// that meets a push frame in the source's reader waits for this much.
    /// </summary>
    internal const int MaxPagesPerFrame = 256;

    /// <summary>Bytes of a frame on the control lane: an image chunk and its name fit, with room for lists of errors.</summary>
    internal const int MaxControlPayloadBytes = 1 << 20;

    /// <summary>Bytes of image data in one chunk.</summary>
    internal const int ImageChunkBytes = 256 << 10;

    /// <summary>Bytes of a frame while a lane opens, before the peer has proved that it knows the token.</summary>
    internal const int MaxOpeningPayloadBytes = 512;

    /// <summary>Bytes of an error's text: an error may come while a lane opens, so its frame keeps to that limit.</summary>
    internal const int MaxErrorTextBytes = MaxOpeningPayloadBytes - 2;

    /// <summary>Ranges in one message about what is still owed: some 15 bytes each.</summary>
    internal const int MaxOwedRanges = 32 << 10;

    /// <summary>Ranges in one frame about what is valid of the pages that were copied before the freeze: 64 KiB.</summary>
    internal const int MaxValidRanges = 4096;

    /// <summary>Bytes of a heartbeat: one time. Its acknowledgement has two.</summary>
    internal const int HeartbeatBytes = 8;

    /// <summary>Page requests that may be unanswered at once. Their frames (32 bytes each) fit into a socket's send buffer, so asking never blocks.</summary>
    internal const int MaxRequestsInFlight = 1024;
}
