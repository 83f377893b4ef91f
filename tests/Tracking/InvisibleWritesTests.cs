using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Tests.TestBed;
using PostCopy.Tracking;

namespace PostCopy.Tests.Tracking;

/// <summary>Memory that a device may write to past the page tables never counts as unwritten.</summary>
public sealed class InvisibleWritesTests
{
    [SkippableFact]
    public async Task A_process_with_a_file_open_for_direct_input_is_left_out()
    {
        Bed.RequirePostCopy();
        string file = Path.GetTempFileName();
        string state = Directory.CreateTempSubdirectory("postcopy-tracking-").FullName;
        int direct = Mono.Unix.Native.Syscall.open(file, Mono.Unix.Native.OpenFlags.O_RDONLY | Mono.Unix.Native.OpenFlags.O_DIRECT | Mono.Unix.Native.OpenFlags.O_CLOEXEC);
        Skip.If(direct < 0, "needs a file system with O_DIRECT");
        using SafeFileHandle handle = new(direct, ownsHandle: true);
        using TracedProgram watched = await TracedProgram.StartAsync("sleep");
        using TracedProgram leftOut = await TracedProgram.StartAsync("sleep", new ChildDescriptor(direct, 5));
        Assert.True(WrittenPagesOf(watched.Pid, state, out _) > 0);
        Assert.Equal(0, WrittenPagesOf(leftOut.Pid, state, out string reasons));
        Assert.Contains("O_DIRECT", reasons, StringComparison.Ordinal);
        using (DirtyTracker tracker = new(leftOut.Pid, Repository.PostCopy, state))
        {
            tracker.TakeWritten(static (_, _) => { }, static (_, _) => { });
            Assert.Empty(tracker.Processes);
        }

        Assert.Empty(Directory.GetFiles(state, "*", SearchOption.AllDirectories));
        Directory.Delete(state, recursive: true);
        File.Delete(file);
    }

    [SkippableFact]
    public void A_ring_and_pinned_memory_are_seen()
    {
        const nint SYS_io_uring_setup = 425;
        nint parameters = System.Runtime.InteropServices.Marshal.AllocHGlobal(256);
        for (int i = 0; i < 256; i++)
        {
            System.Runtime.InteropServices.Marshal.WriteByte(parameters, i, 0);
        }

        int ring = (int)Libc.syscall(SYS_io_uring_setup, 4, parameters, 0, 0);
        Skip.If(ring < 0, "needs io_uring");
        List<ProcessMapping> mappings = ProcessMap.Of(Environment.ProcessId);
        Assert.Contains("io_uring", InvisibleWrites.ReasonIn(Environment.ProcessId, mappings), StringComparison.Ordinal);
        _ = Libc.close(ring);
        System.Runtime.InteropServices.Marshal.FreeHGlobal(parameters);
    }

    /// <summary>An injector that died left a userfaultfd, and a session of its own had no time to have it closed: the next one does, whether it watches or not.</summary>
    [SkippableFact]
    public async Task What_a_watch_that_died_left_is_put_away_by_who_watches_nothing()
    {
        const nint SYS_userfaultfd = 323;
        Bed.RequirePostCopy();
        string state = Directory.CreateTempSubdirectory("postcopy-tracking-").FullName;
        int left = (int)Libc.syscall(SYS_userfaultfd, 0x80000 | 0x800 | 1, 0, 0, 0);
        Skip.If(left < 0, "needs userfaultfd");
        using SafeFileHandle handle = new(left, ownsHandle: true);
        using TracedProgram program = await TracedProgram.StartAsync("sleep", new ChildDescriptor(left, 5));
        Assert.Empty(DirtyTracker.PutAwayWhatAnEarlierOneLeft(program.Pid, Repository.PostCopy, state));
        Assert.Equal(1, program.Userfaultfds());
        ProcessIdentity identity = ProcessIdentity.Of(program.Pid);
        Directory.CreateDirectory($"{state}/tracking");
        string record = $"{state}/tracking/{identity.Pid}-{identity.StartTicks}";
        File.WriteAllBytes(record, []);
        Assert.Empty(DirtyTracker.PutAwayWhatAnEarlierOneLeft(program.Pid, Repository.PostCopy, state));
        Assert.Equal(0, program.Userfaultfds());
        Assert.False(File.Exists(record));
        await program.WaitUntilItGoesOnAsync();
        Directory.Delete(state, recursive: true);
    }

    private static long WrittenPagesOf(int pid, string state, out string reasons)
    {
        using DirtyTracker tracker = new(pid, Repository.PostCopy, state);
        long pages = 0;
        tracker.TakeWritten(static (_, _) => { }, (_, range) => pages += (long)range.PageCount);
        reasons = string.Join("; ", tracker.Reasons);
        return pages;
    }
}
