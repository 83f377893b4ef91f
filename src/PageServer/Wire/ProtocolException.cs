namespace PostCopy.Wire;

/// <summary>The peer broke the contract of PROTOCOL.md. It is told once, with the code, and dropped.</summary>
internal sealed class ProtocolException(WireErrorCode code, string message) : IOException(message)
{
    /// <summary>What the peer is told.</summary>
    internal WireErrorCode Code { get; } = code;
}
