using System.Globalization;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Tests.TestBed;
using PostCopy.Tracking;

namespace PostCopy.Tests.Tracking;

/// <summary>No write is missed while a program tears holes into a mapping and fills them, as close to each look as it can (tests/TestPrograms/holes.c).</summary>
public sealed class ChangingMappingsTests(Xunit.Abstractions.ITestOutputHelper output)
{
    private const int Rounds = 20;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [SkippableFact]
    public async Task A_page_between_a_hole_and_a_new_mapping_is_not_taken_for_unwritten()
    {
        Bed.RequirePostCopy();
        string state = Directory.CreateTempSubdirectory("postcopy-holes-").FullName;
        try
        {
            await using RunningCommand program = RunningCommand.Start(Path.Combine(await TestPrograms.DirectoryAsync(), "holes"));
            await program.WaitForOutputAsync(static command => command.Output.Contains('\n', StringComparison.Ordinal), Limit);
            string[] words = program.Output.Split();
            PageRange region = new(ulong.Parse(words[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture), ulong.Parse(words[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
            using DirtyTracker tracker = new(program.Pid, Repository.PostCopy, state);
            Copies copies = new(program.Pid, region);
            copies.Update(tracker);
            int atStart = copies.Voids;
            for (int round = 0; round < Rounds; round++)
            {
                copies.Update(tracker);
                copies.Update(tracker);
                await program.SignalAsync("STOP");
                await Condition.WaitAsync(() => IsStopped(program.Pid), Limit, "the program to stand still");
                copies.Update(tracker);
                copies.Compare();
                await program.SignalAsync("CONT");
            }

            output.WriteLine($"{copies.Compared} pages compared, {copies.Voids} pages were void because mappings had changed");
            Assert.Empty(tracker.Reasons);
            Assert.True(copies.Compared > 0 && copies.Voids > atStart + Rounds, "nothing happened that could go wrong");
            Assert.Empty(copies.Wrong);
        }
        finally
        {
            Directory.Delete(state, recursive: true);
        }
    }

    private static bool IsStopped(int pid) => File.ReadAllText($"/proc/{pid}/stat") is var stat && stat[stat.LastIndexOf(')') + 2] == 'T';

    /// <summary>What the region's pages held when they were last copied, by somebody who copies what each look reports.</summary>
    private sealed class Copies(int pid, PageRange region)
    {
        private readonly ulong?[] _copied = new ulong?[region.PageCount];
        private readonly List<int> _written = [];

        internal long Compared { get; private set; }

        internal int Voids { get; private set; }

        internal List<string> Wrong { get; } = [];

        internal void Update(DirtyTracker tracker)
        {
            _written.Clear();
            tracker.TakeWritten((_, range) => Void(range), (_, range) => _written.AddRange(PagesIn(range)));
            _written.ForEach(page => _copied[page] = Read(page));
        }

        /// <summary>While the program stands still, behind a look.</summary>
        internal void Compare()
        {
            for (int page = 0; page < _copied.Length; page++)
            {
                if (_copied[page] is { } copied && Read(page) is { } now)
                {
                    Compared++;
                    if (copied != now)
                    {
                        Wrong.Add($"page {page}: {copied} was copied, {now} is there");
                    }
                }
            }
        }

        private void Void(PageRange? range)
        {
            foreach (int page in PagesIn(range ?? region))
            {
                Voids++;
                _copied[page] = null;
            }
        }

        private IEnumerable<int> PagesIn(PageRange range)
        {
            PageRange part = range.Intersect(region);
            return part.PageCount == 0 ? [] : Enumerable.Range((int)((part.Start - region.Start) >> PageSize.Shift), (int)part.PageCount);
        }

        private ulong? Read(int page)
        {
            Span<byte> word = stackalloc byte[8];
            return RemoteMemory.Read(pid, region.Start + PageSize.ToBytes((ulong)page), word) == word.Length ? BitConverter.ToUInt64(word) : null;
        }
    }
}
