using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Cli;

/// <summary>What is refused before anything happens, and how it is said.</summary>
public sealed class CommandLineTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-cli-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [SkippableTheory]
    [InlineData("a report in no directory", "there is no such directory", "migrate runc web --to 127.0.0.1:1 --report {}/missing/report.json")]
    [InlineData("the same before the form's name", "there is no such directory", "migrate --report {}/missing/report.json runc web --to 127.0.0.1:1")]
    [InlineData("--resume and a form", "--resume SESSION stands alone", "migrate --resume s runc web --to 127.0.0.1:1")]
    [InlineData("no word", "forget", "abort s --source-is-dead forget")]
    [InlineData("a number", "7", "abort s --source-is-dead 7")]
    [InlineData("a number", "7", "agent --on-loss 7")]
    [InlineData("no time", "--lost-after must be more than 0 seconds", "agent --lost-after -1")]
    [InlineData("nobody", "--max-sessions must be 1 or more", "agent --max-sessions 0")]
    [InlineData("the other side's word", "--source-is-dead is for that one", "abort s --source-is-dead kill --state-dir {}")]
    public async Task What_makes_no_sense_is_refused(string what, string words, string command)
    {
        CommandResult result = await RunAsync(command);
        Assert.True(result.ExitCode == ExitCode.Usage && result.Error.Contains(words, StringComparison.Ordinal), $"{what}: {result}");
    }

    [SkippableFact]
    public async Task Words_behind_a_double_dash_are_for_a_dump()
    {
        CommandResult result = await RunAsync("page-server --port 0 -D {} -- --tcp-established");
        Assert.True(result.ExitCode == 1 && result.Error.Contains("it needs --runc or --tree", StringComparison.Ordinal), $"{result}");
    }

    /// <summary>One that nobody can read is told of, and the others are shown.</summary>
    [SkippableFact]
    public async Task A_damaged_session_hides_no_other_one()
    {
        string whole = Directory.CreateDirectory(Path.Combine(_directory, "one-source")).FullName;
        await File.WriteAllTextAsync(Path.Combine(whole, "status.json"), """{"session":"one","role":"source","container":"web","state":"handed-off","peer":"10.0.0.2:7077"}""");
        string damaged = Directory.CreateDirectory(Path.Combine(_directory, "two-source")).FullName;
        await File.WriteAllTextAsync(Path.Combine(damaged, "status.json"), "{");
        CommandResult result = await RunAsync("status --json --state-dir {}");
        Dictionary<string, string> states = JsonDocument.Parse(result.EnsureSuccess().Output).RootElement.EnumerateArray()
            .ToDictionary(static one => one.GetProperty("session").GetString()!, static one => one.GetProperty("state").GetString()!);
        Assert.Equal(new Dictionary<string, string> { ["one"] = "handed-off", ["two-source"] = "damaged" }, states);
    }

    [SkippableFact]
    public async Task Without_its_agent_a_pair_is_still_one_object()
    {
        CommandResult result = await RunAsync("check --json --to 127.0.0.1:1");
        Assert.Equal(ExitCode.Cannot, result.ExitCode);
        JsonElement report = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal((JsonValueKind.Object, JsonValueKind.Null), (report.GetProperty("source").ValueKind, report.GetProperty("destination").ValueKind));
    }

    private Task<CommandResult> RunAsync(string command)
    {
        Bed.RequirePostCopy();
        return RunningCommand.RunAsync(Limit, Repository.PostCopy, command.Replace("{}", _directory, StringComparison.Ordinal).Split(' '));
    }
}
