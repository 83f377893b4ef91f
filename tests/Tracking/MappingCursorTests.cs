using PostCopy.Pages;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Tracking;

/// <summary>Whichever way the kernel is asked, the mappings are those of /proc/PID/maps.</summary>
public sealed class MappingCursorTests
{
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Every_mapping_comes_once(bool query)
    {
        Bed.RequirePostCopy();
        using TracedProgram program = await TracedProgram.StartAsync("sleep");
        // Not one of the process's own, and PROCMAP_QUERY does not know it.
        ProcessMapping[] expected = [.. ProcessMap.Of(program.Pid).Where(static mapping => mapping.Name != "[vsyscall]")];
        using MappingCursor cursor = new(program.Pid, query);
        List<ProcessMapping> found = [];
        for (ulong at = 0; cursor.From(at) is { Name: not "[vsyscall]" } mapping; at = mapping.Range.EndExclusive)
        {
            found.Add(mapping);
        }

        Assert.Equal(expected, found);
        Assert.Equal(expected[1], cursor.From(expected[1].Range.Start + 1));
    }
}
