namespace PostCopy.CriuServe;

/// <summary>A client asks for what it cannot have now.</summary>
internal sealed class ClientRefusedException(string message) : IOException(message);
