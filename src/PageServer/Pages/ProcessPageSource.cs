using System.Collections.Concurrent;
using System.Collections.Frozen;
using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>
/// Memory of frozen tasks, read by process_vm_readv(2) straight into the caller's buffer. What that call may not read (PROT_NONE mappings) comes
/// from <c>/proc/PID/mem</c>, which ignores the protection (proc(5)).
/// </summary>
internal sealed class ProcessPageSource : IPageSource, IDisposable
{
    private readonly FrozenDictionary<ImagePid, FrozenTask> _tasks;
    private readonly ConcurrentDictionary<int, SafeFileHandle> _memFiles = new();

    /// <param name="hostPids">The pid, in our own pid namespace, of every process in the images. Throws <see cref="LinuxException"/> when they need more descriptors than there may be.</param>
    internal ProcessPageSource(IReadOnlyDictionary<ImagePid, int> hostPids) =>
        _tasks = hostPids.ToFrozenDictionary(static task => task.Key, static task => new FrozenTask(task.Value, Open(task.Value)));

    /// <inheritdoc/>
    public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
    {
        if (!_tasks.TryGetValue(addressSpace, out FrozenTask task))
        {
            throw new PageSourceException($"process {addressSpace} of the images is not one of the frozen tasks: it has died, and its memory with it") { IsLost = true };
        }

        int pid = task.Pid;
        int done = 0;
        while (done < destination.Length)
        {
            int bytes = ReadOnce(pid, address + (ulong)done, destination[done..]);
            if (bytes == 0)
            {
                bytes = ReadProtected(pid, address + (ulong)done, destination.Slice(done, PageSize.Bytes));
                if (bytes < PageSize.Bytes)
                {
                    break;
                }
            }

            done += bytes;
        }

        // Signal 0 reaches whoever is not reaped yet: as long as the task is there, its pid was nobody else's.
        if (Libc.pidfd_send_signal(task.Descriptor, 0) != 0)
        {
            throw Died(pid);
        }

        return done;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafeFileHandle file in _memFiles.Values)
        {
            file.Dispose();
        }

        foreach (FrozenTask task in _tasks.Values)
        {
            _ = Libc.close(task.Descriptor);
        }
    }

    /// <summary>A pidfd; -1 when the process is gone. Throws <see cref="LinuxException"/> when there is none to be had: that is no news of the process.</summary>
    private static int Open(int pid) => Libc.pidfd_open(pid) is >= 0 and var descriptor ? descriptor
        : LinuxException.LastErrno == Errno.ESRCH ? -1
        : throw LinuxException.Last($"pidfd_open of process {pid}");

    private static PageSourceException Died(int pid) => new($"the frozen process {pid} has died, and its memory with it") { IsLost = true };

    private static int ReadOnce(int pid, ulong address, Span<byte> destination)
    {
        try
        {
            return (int)PageSize.AlignDown((ulong)RemoteMemory.Read(pid, address, destination));
        }
        catch (LinuxException e)
        {
            throw e.Errno == Errno.ESRCH ? Died(pid) : new PageSourceException($"memory of frozen pid {pid} at {address:x} cannot be read", e);
        }
    }

    private int ReadProtected(int pid, ulong address, Span<byte> page)
    {
        try
        {
            return RandomAccess.Read(_memFiles.GetOrAdd(pid, static p => File.OpenHandle($"/proc/{p}/mem")), page, (long)address);
        }
        catch (IOException)
        {
            // EIO: nothing is mapped there; ENOENT: the process is gone. The caller sees a short read, or finds it dead.
            return 0;
        }
    }

    /// <param name="Pid">In our own pid namespace.</param>
    /// <param name="Descriptor">A pidfd: the pid may become another process's once this one has died.</param>
    private readonly record struct FrozenTask(int Pid, int Descriptor);
}
