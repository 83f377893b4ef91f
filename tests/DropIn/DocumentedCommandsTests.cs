using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>Runs every block of docs/for-criu-users.md and docs/for-runc-users.md as it is printed.</summary>
public sealed partial class DocumentedCommandsTests
{
    private const int DocumentedPort = 27;

    /// <summary>A way to move: each block for a destination with the source's block in front of it.</summary>
    public static TheoryData<string, Kind, int> Ways { get; } = FindWays();

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task A_printed_command_does_what_it_says(string page, Kind kind, int way)
    {
        Block[] blocks = WaysOf(page)[way];
        await using Scene scene = await Scene.SetAsync(kind);
        await using RunningCommand source = Start(scene, "a", blocks.First(static block => block.Role == "source").Commands);
        bool isPlainDump = blocks.Any(static block => block.Role is "images" or "server");
        if (isPlainDump)
        {
            (await source.WaitAsync(Scene.Limit)).EnsureSuccess();
        }

        await using RunningCommand? server = blocks.FirstOrDefault(static block => block.Role == "server") is { } serving ? Start(scene, "a", serving.Commands) : null;
        Block last = blocks[^1];
        if (last.Role == "destination")
        {
            await Condition.WaitAsync(() => scene.Lab["a"].IsListening(DocumentedPort) || source.HasExited && !isPlainDump, Scene.Limit, "the source's page server");
        }

        await using RunningCommand destination = Start(scene, "b", last.Commands);
        (await destination.WaitAsync(Scene.Limit)).EnsureSuccess();
        await scene.Program.VerifyAsync();
        if (!isPlainDump)
        {
            (await source.WaitAsync(Scene.Limit)).EnsureSuccess();
        }

        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
    }

    [Fact]
    public void The_pages_have_ways_to_move()
    {
        Assert.Equal(6, WaysOf("for-criu-users.md").Count);
        Assert.Equal(6, WaysOf("for-runc-users.md").Count);
    }

    private static RunningCommand Start(Scene scene, string host, string commands) => scene.Lab[host].Start(
        "env",
        $"PATH={Path.GetDirectoryName(Repository.PostCopy)}:/opt/postcopy/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        $"PID={scene.Program.Pid}",
        $"ID={scene.Program.ContainerId}",
        $"BUNDLE={scene.Program.Bundle}",
        $"SOURCE={scene.PageServer}",
        $"IMAGES={scene.Images}",
        $"WORK={(host == "a" ? scene.DumpWork : scene.RestoreWork)}",
        // What is left in the background must not keep the streams that are waited for.
        "bash", "-e", "-c", "log=$1/$RANDOM.log; (eval \"$0\") </dev/null >$log 2>&1 || { code=$?; cat $log >&2; exit $code; }", commands, scene.Lab.Shared);

    private sealed record Block(string Role, string Commands);

    private static List<Block[]> WaysOf(string page)
    {
        List<Block[]> ways = [];
        List<Block> before = [];
        foreach (Match match in CodeBlock().Matches(File.ReadAllText(Path.Combine(Repository.Root, "docs", page))))
        {
            Block block = new(match.Groups["role"].Value, match.Groups["commands"].Value);
            switch (block.Role)
            {
                case "source":
                    before = [block];
                    break;
                case "server":
                    before = [.. before.Where(static other => other.Role == "source"), block];
                    break;
                default:
                    ways.Add([.. before, block]);
                    break;
            }
        }

        return ways;
    }

    private static TheoryData<string, Kind, int> FindWays()
    {
        TheoryData<string, Kind, int> data = [];
        foreach ((string page, Kind kind) in ((string, Kind)[])[("for-criu-users.md", Kind.Tree), ("for-runc-users.md", Kind.Runc)])
        {
            for (int way = 0; way < WaysOf(page).Count; way++)
            {
                data.Add(page, kind, way);
            }
        }

        return data;
    }

    [GeneratedRegex(@"^```sh (?<role>\w+)\n(?<commands>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();
}
