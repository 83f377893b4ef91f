using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>
/// Where page bytes come from: frozen tasks, an image directory, another page server. The server does not know which.
/// </summary>
/// <remarks>Implementations are thread-safe: the demand lane and the push lane read at the same time.</remarks>
internal interface IPageSource
{
    /// <summary>
    /// Reads memory of one address space, starting at a dump-time address. The destination's length is a whole number of pages.
    /// </summary>
    /// <returns>Bytes read, always whole pages. Less than asked means that the page behind the last one cannot be read.</returns>
    /// <exception cref="PageSourceException">The address space is unknown or gone.</exception>
    int Read(ImagePid addressSpace, ulong address, Span<byte> destination);
}
