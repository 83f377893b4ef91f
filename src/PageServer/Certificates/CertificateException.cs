namespace PostCopy.Certificates;

/// <summary>A certificate or key cannot be made or used; the message says why and what to do.</summary>
public sealed class CertificateException : IOException
{
    internal CertificateException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
