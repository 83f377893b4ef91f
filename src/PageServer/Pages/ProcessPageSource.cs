using System.Collections.Frozen;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>
/// Memory of frozen tasks: a few pages from <c>/proc/PID/mem</c>, many by process_vm_readv(2) straight into the caller's buffer. What that call may not read
/// (PROT_NONE mappings) comes from <c>/proc/PID/mem</c> as well, which ignores the protection (proc(5)).
/// </summary>
/// <remarks>
/// The file belongs to one address space for good: it reads nothing once that is gone. process_vm_readv(2) takes a pid, which may be another process's by then, so
/// it costs a look at the pidfd behind it.
/// </remarks>
internal sealed class ProcessPageSource : IPageSource, IDisposable
{
    /// <summary>Up to here the file is the faster of the two (it copies each page twice), for a single page by half.</summary>
    private static readonly int MaxBytesFromFile = Math.Max(32 << 10, PageSize.Bytes);

    private readonly FrozenDictionary<ImagePid, FrozenTask> _tasks;

    /// <param name="hostPids">The pid, in our own pid namespace, of every process in the images. Throws <see cref="LinuxException"/> when they need more descriptors than there may be.</param>
    internal ProcessPageSource(IReadOnlyDictionary<ImagePid, int> hostPids) =>
        _tasks = hostPids.ToFrozenDictionary(static task => task.Key, static task => new FrozenTask(task.Value));

    /// <inheritdoc/>
    public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
    {
        if (!_tasks.TryGetValue(addressSpace, out FrozenTask? task))
        {
            throw new PageSourceException($"process {addressSpace} of the images is not one of the frozen tasks: it has died, and its memory with it") { IsLost = true };
        }

        int done = 0;
        bool byPid = false;
        while (done < destination.Length)
        {
            ulong next = address + (ulong)done;
            Span<byte> rest = destination[done..];
            int bytes = rest.Length <= MaxBytesFromFile ? task.ReadFile(next, rest) : 0;
            if (bytes == 0)
            {
                byPid = true;
                bytes = ReadOnce(task.Pid, next, rest);
            }

            if (bytes == 0)
            {
                bytes = task.ReadFile(next, rest[..PageSize.Bytes]);
            }

            if (bytes == 0)
            {
                break;
            }

            done += bytes;
        }

        return byPid && !task.IsThere ? throw task.Died() : done;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FrozenTask task in _tasks.Values)
        {
            task.Dispose();
        }
    }

    private static int ReadOnce(int pid, ulong address, Span<byte> destination)
    {
        try
        {
            return (int)PageSize.AlignDown((ulong)RemoteMemory.Read(pid, address, destination));
        }
        catch (LinuxException e)
        {
            throw e.Errno == Errno.ESRCH ? FrozenTask.Died(pid) : new PageSourceException($"memory of frozen pid {pid} at {address:x} cannot be read", e);
        }
    }
}
