namespace PostCopy.Images;

/// <summary>A directory or file does not hold a CRIU image that can be used. The message names the file, the field, and the limit that was crossed.</summary>
public sealed class ImageFormatException : IOException
{
    internal ImageFormatException(string path, string problem, Exception? innerException = null)
        : base($"{path}: {problem}", innerException)
    {
        Path = path;
    }

    /// <summary>The image file, or the directory when no single file is to blame.</summary>
    public string Path { get; }
}
