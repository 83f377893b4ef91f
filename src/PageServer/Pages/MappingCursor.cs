using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>
/// Walks over the mappings of a process that runs, each as it is in the moment it is asked for: PROCMAP_QUERY (Linux 6.11, linux/fs.h). Older kernels have the whole
/// list read for each answer, which takes longer than a mapping may last.
/// </summary>
internal sealed unsafe class MappingCursor : IDisposable
{
    private const nuint PROCMAP_QUERY = 0xc0686611;
    private const ulong PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10;

    /// <summary>PATH_MAX: the kernel writes no more.</summary>
    private const int MaxNameBytes = 4096;

    private readonly int _pid;
    private readonly SafeFileHandle? _maps;
    private readonly byte[] _name = GC.AllocateUninitializedArray<byte>(MaxNameBytes, pinned: true);

    /// <param name="pid">The process; of the address space that it has now.</param>
    /// <param name="query">False: as on a kernel without PROCMAP_QUERY.</param>
    internal MappingCursor(int pid, bool query = true)
    {
        _pid = pid;
        _maps = query ? File.OpenHandle($"/proc/{pid}/maps") : null;
    }

    /// <summary>The mapping that an address lies in, or else the first one behind it; null behind the last.</summary>
    internal ProcessMapping? From(ulong address)
    {
        if (_maps is null)
        {
            return FromList(address);
        }

        fixed (byte* name = _name)
        {
            procmap_query query = new()
            {
                size = (ulong)sizeof(procmap_query),
                query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
                query_addr = address,
                vma_name_size = MaxNameBytes,
                vma_name_addr = (ulong)name,
            };
            if (Libc.ioctl((int)_maps.DangerousGetHandle(), PROCMAP_QUERY, &query) == 0)
            {
                // The size counts the zero at the end.
                string path = query.vma_name_size == 0 ? "" : System.Text.Encoding.UTF8.GetString(name, (int)query.vma_name_size - 1);
                return new ProcessMapping(
                    PageRange.FromBounds(query.vma_start, query.vma_end), (query.vma_flags & 1) != 0, (query.vma_flags & 2) != 0, (query.vma_flags & 4) != 0, (query.vma_flags & 8) == 0, query.inode, path);
            }
        }

        return LinuxException.LastErrno switch
        {
            Errno.ENOENT => null,
            // A kernel that does not know it; the path of a file that no buffer of the kernel's holds.
            Errno.ENOTTY or Errno.ENAMETOOLONG => FromList(address),
            var errno => throw new LinuxException($"PROCMAP_QUERY at {address:x} of process {_pid}", errno),
        };
    }

    /// <inheritdoc/>
    public void Dispose() => _maps?.Dispose();

    private ProcessMapping? FromList(ulong address)
    {
        foreach (ProcessMapping mapping in ProcessMap.Of(_pid))
        {
            if (mapping.Range.EndExclusive > address)
            {
                return mapping;
            }
        }

        return null;
    }

    private struct procmap_query
    {
        internal ulong size, query_flags, query_addr;
        internal ulong vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
        internal uint dev_major, dev_minor, vma_name_size, build_id_size;
        internal ulong vma_name_addr, build_id_addr;
    }
}
