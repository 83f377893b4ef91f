using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>A frozen process whose memory is read: by a pidfd it is known for good, its pid may become another process's once it has died.</summary>
internal sealed class FrozenTask : IDisposable
{
    /// <summary>-1 when the process was gone already.</summary>
    private readonly int _descriptor;
    private readonly Lock _opening = new();
    private SafeFileHandle? _memory;

    /// <summary>Throws <see cref="LinuxException"/> when there is no descriptor to be had: that is no news of the process.</summary>
    internal FrozenTask(int pid)
    {
        Pid = pid;
        _descriptor = Libc.pidfd_open(pid);
        if (_descriptor < 0 && LinuxException.LastErrno != Errno.ESRCH)
        {
            throw LinuxException.Last($"pidfd_open of process {pid}");
        }
    }

    /// <summary>In our own pid namespace.</summary>
    internal int Pid { get; }

    /// <summary>Signal 0 reaches whoever is not reaped yet: as long as the task is there, its pid was nobody else's.</summary>
    internal bool IsThere => Libc.pidfd_send_signal(_descriptor, 0) == 0;

    internal static PageSourceException Died(int pid) => new($"the frozen process {pid} has died, and its memory with it") { IsLost = true };

    internal PageSourceException Died() => Died(Pid);

    /// <summary>From <c>/proc/PID/mem</c>, whole pages; 0 when nothing is mapped there (EIO) or the process is gone.</summary>
    internal int ReadFile(ulong address, Span<byte> pages)
    {
        try
        {
            return (int)PageSize.AlignDown((ulong)RandomAccess.Read(_memory ?? Open(), pages, (long)address));
        }
        catch (Exception e) when (e is (IOException or UnauthorizedAccessException) and not PageSourceException)
        {
            // Or it cannot be opened, for want of descriptors for example: there is another way.
            return 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory?.Dispose();
        if (_descriptor >= 0)
        {
            _ = Libc.close(_descriptor);
        }
    }

    private SafeFileHandle Open()
    {
        lock (_opening)
        {
            if (_memory is null)
            {
                SafeFileHandle memory = File.OpenHandle($"/proc/{Pid}/mem");
                if (!IsThere)
                {
                    memory.Dispose();
                    throw Died();
                }

                _memory = memory;
            }

            return _memory;
        }
    }
}
