using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Tests.Serve;

/// <summary>What is read from /proc about the memory of a tree that is to move.</summary>
public sealed class MemoryOfTreesTests
{
    [Fact]
    public void Shared_pages_count_once_here_and_for_each_process_once_moved()
    {
        const string rollup = """
            55d0c0000000-7ffd50000000 ---p 00000000 00:00 0                      [rollup]
            Rss:               20000 kB
            Pss:                9000 kB
            Pss_Dirty:          5000 kB
            Pss_Anon:           4000 kB
            Pss_File:           3000 kB
            Pss_Shmem:          2000 kB
            Anonymous:         10000 kB
            AnonHugePages:      2048 kB
            Swap:               1000 kB
            SwapPss:             500 kB
            """;
        Assert.Equal(new ResidentMemory(Here: 6500 << 10, OnceMoved: 13000 << 10, Swapped: 500 << 10), ResidentMemory.OfProcess(rollup.Split('\n')));
    }

    [Fact]
    public void The_largest_mapping_is_the_largest_that_the_kernel_counts()
    {
        const string smaps = """
            7f0000000000-7f1000000000 ---p 00000000 00:00 0
            Size:           67108864 kB
            VmFlags: mr mw me nr sd
            7f2000000000-7f2100000000 rw-s 00000000 00:01 7                       /dev/zero (deleted)
            Size:            4194304 kB
            VmFlags: rd wr sh mr mw me ms sd
            7f3000000000-7f3000100000 ---p 00000000 00:00 0
            Size:               1024 kB
            VmFlags: mr mw me sd
            7f4000000000-7f4000001000 rw-p 00000000 00:00 0
            Size:                  4 kB
            VmFlags: rd wr mr mw me ac sd
            """;
        Assert.Equal(1UL << 20, LargestMapping.OfProcess(smaps.Split('\n')));
    }

    [Fact]
    public void The_tightest_limit_of_all_cgroups_above_holds()
    {
        DirectoryInfo mount = Directory.CreateTempSubdirectory("postcopy-cgroup-");
        try
        {
            Directory.CreateDirectory($"{mount.FullName}/a/b/c");
            File.WriteAllText($"{mount.FullName}/a/memory.max", "4096000\n");
            File.WriteAllText($"{mount.FullName}/a/b/memory.max", "max\n");
            File.WriteAllText($"{mount.FullName}/a/b/c/memory.max", "9223372036854771712\n");
            Assert.Equal(4096000UL, MemoryCgroup.Tightest(mount.FullName, "/a/b/c", "memory.max"));
            File.WriteAllText($"{mount.FullName}/a/b/c/memory.max", "8192\n");
            Assert.Equal(8192UL, MemoryCgroup.Tightest(mount.FullName, "/a/b/c", "memory.max"));
            Assert.Null(MemoryCgroup.Tightest(mount.FullName, "/", "memory.max"));
        }
        finally
        {
            mount.Delete(recursive: true);
        }
    }
}
