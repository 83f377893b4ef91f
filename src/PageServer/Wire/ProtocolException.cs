namespace PostCopy.Wire;

/// <summary>The peer broke the contract of PROTOCOL.md. It is told once, with the code, and dropped.</summary>
/// <param name="code">What went wrong.</param>
/// <param name="message">In words, for whoever reads the log.</param>
/// <param name="saidByPeer">True when it is the peer that says so.</param>
internal sealed class ProtocolException(WireErrorCode code, string message, bool saidByPeer = false) : IOException(message)
{
    /// <summary>What the peer is told.</summary>
    internal WireErrorCode Code { get; } = code;

    /// <summary>True when this came in an error frame of the peer, which is never answered with another.</summary>
    internal bool SaidByPeer { get; } = saidByPeer;
}
