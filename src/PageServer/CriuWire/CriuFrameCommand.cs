namespace PostCopy.CriuWire;

/// <summary>CRIU's page-server commands that a lazy restore needs: the low half of a frame's first word (<c>criu/page-xfer.c</c>).</summary>
internal static class CriuFrameCommand
{
    internal const uint AddWithFlags = 6;
    internal const uint Get = 7;
    internal const uint Close = 0x1023;
    internal const uint ForceClose = 0x1024;

    /// <summary>How a server answers GET: ADD_F with PE_PRESENT in the high half.</summary>
    internal const uint PagesFollow = (PresentFlag << 16) | AddWithFlags;

    private const uint PresentFlag = 4;
}
