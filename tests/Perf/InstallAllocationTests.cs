using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Tests.Faults;
using PostCopy.Userfault;

namespace PostCopy.Tests.Perf;

/// <summary>Putting a page in place allocates nothing, whatever the kernel is asked to do.</summary>
public sealed unsafe class InstallAllocationTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private const ulong Pages = 2048;
    private static readonly ImagePid Pid = new(7);

    [SkippableFact]
    public void Install()
    {
        byte* page = (byte*)NativeMemory.AllocZeroed((nuint)PageSize.Bytes);
        try
        {
            ulong next = 0;
            Assert.Equal(0, PerInstall((memory, start) =>
                memory.Install(Pid, new PageRange(start + PageSize.ToBytes(next++), 1), new ReadOnlySpan<byte>(page, PageSize.Bytes))));
            Assert.InRange(next, 1UL, Pages);
        }
        finally
        {
            NativeMemory.Free(page);
        }
    }

    [SkippableFact]
    public void Install_of_zero_pages()
    {
        ulong next = 0;
        Assert.Equal(0, PerInstall((memory, start) => memory.InstallZero(Pid, new PageRange(start + PageSize.ToBytes(next++), 1))));
        Assert.InRange(next, 1UL, Pages);
    }

    private double PerInstall(Action<LazyMemory, ulong> install)
    {
        using FaultingTask task = new(program, "exit", Pages, owedEnd: 0);
        using LazyMemory memory = new([new(Pid, [new PageRange(task.Start, Pages)])], new NobodyAsks(), new Nowhere(), NullLogger.Instance);
        memory.Add(Pid, task.Uffd);
        memory.RestoreFinished();
        ulong start = task.Start;
        double bytes = Allocations.PerRound(() => install(memory, start));
        Assert.True(memory.Counters.InstalledByPush > 0);
        return bytes;
    }

    private sealed class NobodyAsks : IPageRequester
    {
        public void Request(ImagePid pid, PageRange range) => throw new InvalidOperationException("the task has not been let go");
    }

    private sealed class Nowhere : IUserfaultfdKeeper
    {
        public void Keep(int id, Userfaultfd uffd)
        {
        }

        public void Drop(int id)
        {
        }
    }
}
