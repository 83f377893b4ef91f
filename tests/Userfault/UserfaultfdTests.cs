using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Tests.Faults;
using PostCopy.Userfault;

namespace PostCopy.Tests.Userfault;

/// <summary>Every call on the userfaultfd of another process, which waits meanwhile.</summary>
public sealed unsafe class UserfaultfdTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private static readonly long Page = PageSize.Bytes;

    [SkippableFact]
    public void Partial_is_not_failed()
    {
        using FaultingTask task = new(program, "exit", pages: 16, owedEnd: 0);
        using Userfaultfd uffd = task.Uffd;
        byte[] bytes = new byte[4 * Page];
        ulong third = task.Start + (ulong)(2 * Page);
        fixed (byte* source = bytes)
        {
            Assert.Equal(new UffdResult(Page, Errno.None), uffd.Copy(third, source, Page));
            Assert.Equal(new UffdResult(0, Errno.EEXIST), uffd.Copy(third, source, Page));
            Assert.Equal(new UffdResult(2 * Page, Errno.EAGAIN), uffd.Copy(task.Start, source, 4 * Page));
            Assert.Equal(new UffdResult(Page, Errno.None), uffd.ZeroPage(third + (ulong)Page, Page));
            Assert.Equal(new UffdResult(0, Errno.EEXIST), uffd.ZeroPage(third, 2 * Page));
        }
    }

    [SkippableFact]
    public void Outside_of_registered_memory_nothing_is_there()
    {
        using FaultingTask task = new(program, "exit", pages: 16, owedEnd: 0);
        using Userfaultfd uffd = task.Uffd;
        Assert.Equal(Errno.None, uffd.Unregister(task.Start, 8 * Page));
        Assert.Equal(new UffdResult(0, Errno.ENOENT), uffd.ZeroPage(task.Start, Page));
        Assert.Equal(new UffdResult(0, Errno.EINVAL), uffd.ZeroPage(task.Start + 1, Page));
        Assert.Equal(new UffdResult(Page, Errno.None), uffd.ZeroPage(task.Start + (ulong)(8 * Page), Page));
        Assert.Equal(Errno.None, uffd.Wake(task.Start, Page));
    }

    [SkippableFact]
    public void A_poisoned_page_is_never_a_zero_page()
    {
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 0);
        using Userfaultfd uffd = task.Uffd;
        UffdResult poisoned = uffd.Poison(task.Start, 16 * Page);
        Skip.If(poisoned.Errno == Errno.EINVAL, "UFFDIO_POISON needs Linux 6.6");
        Assert.Equal(new UffdResult(16 * Page, Errno.None), poisoned);
        task.Go();
        task.ExpectDeathBySigbus();
    }

    [SkippableFact]
    public void Events_are_read_without_waiting_and_a_dead_task_is_told()
    {
        using FaultingTask task = new(program, "exit", pages: 16, owedEnd: 0);
        using Userfaultfd uffd = task.Uffd;
        Span<UffdEvent> events = new UffdEvent[4];
        Assert.Equal(0, uffd.ReadEvents(events, out Errno errno));
        Assert.Equal(Errno.None, errno);
        task.Go();
        task.ExpectExit();
        Assert.Equal(new UffdResult(0, Errno.ESRCH), uffd.ZeroPage(task.Start, Page));
    }
}
