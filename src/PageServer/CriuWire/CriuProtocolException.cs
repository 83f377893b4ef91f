namespace PostCopy.CriuWire;

/// <summary>The peer broke CRIU's page-server protocol, which has no way to tell it so: the connection is reset.</summary>
internal sealed class CriuProtocolException(string message) : IOException(message);
