using System.Globalization;
using System.IO.MemoryMappedFiles;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Tests.TestBed;
using PostCopy.Tracking;

namespace PostCopy.Tests.Tracking;

/// <summary>Marks of writes belong to an address space, and looks are at processes: two may share one, and one gets another when it executes a program.</summary>
public sealed class AddressSpaceTests(Xunit.Abstractions.ITestOutputHelper output) : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly string _state = Directory.CreateTempSubdirectory("postcopy-spaces-").FullName;

    public void Dispose() => Directory.Delete(_state, recursive: true);

    /// <summary>tests/TestPrograms/spawner.c. A look at a child of vfork(2) must not take the marks of what its parent wrote since its own look.</summary>
    [SkippableFact]
    public async Task A_child_that_shares_memory_takes_no_marks()
    {
        Bed.RequirePostCopy();
        string file = Path.Combine(_state, "words");
        File.WriteAllBytes(file, new byte[PageSize.Bytes]);
        using MemoryMappedFile mapped = MemoryMappedFile.CreateFromFile(file, FileMode.Open);
        using MemoryMappedViewAccessor words = mapped.CreateViewAccessor();
        await using RunningCommand program = RunningCommand.Start(Path.Combine(await TestPrograms.DirectoryAsync(), "spawner"), file);
        await Condition.WaitAsync(() => words.ReadUInt64(0) != 0, Limit, "the region");
        PageRange region = new(words.ReadUInt64(0), words.ReadUInt64(8));
        ulong?[] copied = new ulong?[region.PageCount];
        int compared = 0;
        int sharing = 0;
        List<string> wrong = [];
        using DirtyTracker tracker = new(program.Pid, Repository.PostCopy, _state);
        for (int round = 0; round < 30; round++)
        {
            // A look, most likely with children there, then all stand still; what is copied before they do is not written any more when the last look comes.
            sharing += TaskTree.Map(program.Pid).Count > 1 ? 1 : 0;
            Update();
            words.Write(16, 1UL);
            await Condition.WaitAsync(() => words.ReadUInt64(24) == 3 && TaskTree.Map(program.Pid).Count == 1, Limit, "the threads to stand still");
            Update();
            for (int page = 0; page < copied.Length; page++)
            {
                if (copied[page] is { } was && Read(page) is var now)
                {
                    compared++;
                    if (was != now)
                    {
                        wrong.Add($"round {round}, page {page}: {was} was copied, {now} is there");
                    }
                }
            }

            words.Write(16, 0UL);
            await Condition.WaitAsync(() => words.ReadUInt64(24) == 0 && TaskTree.Map(program.Pid).Count > 1, Limit, "children");
        }

        output.WriteLine($"{compared} pages compared, {sharing} looks with children, {wrong.Count} pages wrong, reasons: {string.Join("; ", tracker.Reasons)}");
        Assert.True(compared > 0 && sharing > 0, "nothing happened that could go wrong");
        Assert.Empty(wrong);

        void Update()
        {
            List<PageRange> written = [];
            tracker.TakeWritten(
                (pid, range) => Array.ForEach(pid.Value == program.Pid ? PagesIn(range ?? region) : [], page => copied[page] = null),
                (pid, range) => written.AddRange(pid.Value == program.Pid ? [range] : []));
            written.ForEach(range => Array.ForEach(PagesIn(range), page => copied[page] = Read(page)));
        }

        int[] PagesIn(PageRange range)
        {
            PageRange part = range.Intersect(region);
            return part.PageCount == 0 ? [] : [.. Enumerable.Range((int)((part.Start - region.Start) >> PageSize.Shift), (int)part.PageCount)];
        }

        ulong? Read(int page)
        {
            Span<byte> word = stackalloc byte[8];
            return RemoteMemory.Read(program.Pid, region.Start + PageSize.ToBytes((ulong)page), word) == word.Length ? BitConverter.ToUInt64(word) : null;
        }
    }

    /// <summary>tests/TestPrograms/again.c.</summary>
    [SkippableFact]
    public async Task A_program_that_was_executed_between_two_looks_is_watched()
    {
        Bed.RequirePostCopy();
        await using RunningCommand program = RunningCommand.Start(Path.Combine(await TestPrograms.DirectoryAsync(), "again"));
        using DirtyTracker tracker = new(program.Pid, Repository.PostCopy, _state);
        for (int generation = 1; generation <= 3; generation++)
        {
            await program.WaitForOutputAsync(command => command.Output.Count(static c => c == '\n') == generation, Limit);
            string[] words = program.Output.Split('\n')[generation - 1].Split(' ');
            PageRange region = new(ulong.Parse(words[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture), ulong.Parse(words[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
            ulong found = 0;
            tracker.TakeWritten(static (_, _) => { }, (_, range) => found += range.Intersect(region).PageCount);
            Assert.Equal(region.PageCount, found);
            found = 0;
            tracker.TakeWritten(static (_, _) => { }, (_, range) => found += range.Intersect(region).PageCount);
            Assert.Equal(0UL, found);
            TrackedProcess process = Assert.Single(tracker.Processes);
            Assert.Equal(region.PageCount, process.FindClean(region).Aggregate(0UL, static (sum, range) => sum + range.PageCount));
            await program.SignalAsync("USR1");
        }

        Assert.Empty(tracker.Reasons);
    }
}
