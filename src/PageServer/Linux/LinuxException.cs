using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>A system call failed in a way the caller could not handle. The message names the call, what it was about, and the errno.</summary>
internal sealed class LinuxException : IOException
{
    /// <summary>A failed call: <paramref name="operation"/> names it and its object (address, pid, path).</summary>
    internal LinuxException(string operation, Errno errno)
        : base($"{operation}: {Describe(errno)}")
    {
        Operation = operation;
        Errno = errno;
    }

    /// <summary>The call and its object, for example <c>process_vm_readv of pid 12 at 7f0000000000</c>.</summary>
    public string Operation { get; }

    /// <summary>The errno the kernel gave.</summary>
    public Errno Errno { get; }

    /// <summary>The failure of the P/Invoke that this thread made last (declared with <c>SetLastError</c>).</summary>
    internal static LinuxException Last(string operation) => new(operation, LastErrno);

    /// <summary>The errno of the P/Invoke that this thread made last. Read it once, straight after the call.</summary>
    internal static Errno LastErrno => (Errno)Marshal.GetLastPInvokeError();

    private static string Describe(Errno errno) =>
        Enum.IsDefined(errno) ? $"{Marshal.GetPInvokeErrorMessage((int)errno)} ({errno})" : $"{Marshal.GetPInvokeErrorMessage((int)errno)} (errno {(int)errno})";
}
