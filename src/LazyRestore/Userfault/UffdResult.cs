using PostCopy.Linux;

namespace PostCopy.Userfault;

/// <summary>
/// The answer to an ioctl that fills pages. Partial is not failed: <see cref="Bytes"/> may be positive beside <see cref="Linux.Errno.EAGAIN"/>,
/// and only those bytes were done.
/// </summary>
/// <param name="Bytes">Bytes done; never negative.</param>
/// <param name="Errno">Why it stopped there; <see cref="Linux.Errno.None"/> when everything was done.</param>
internal readonly record struct UffdResult(long Bytes, Errno Errno);
