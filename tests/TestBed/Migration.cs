using System.Text.Json;
using System.Text.Json.Serialization;

namespace PostCopy.Tests.TestBed;

/// <summary>One run of <c>postcopy migrate</c>.</summary>
internal sealed class Migration : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);
    private readonly string _reportFile;

    private Migration(RunningCommand process, string reportFile)
    {
        Process = process;
        _reportFile = reportFile;
    }

    public RunningCommand Process { get; }

    public static Migration Start(Lab lab, LabHost from, string containerId, string endpoint, string tokenFile, params string[] options) =>
        StartAny(lab, from, ["runc", containerId], endpoint, tokenFile, options);

    /// <summary>Of a bare process tree.</summary>
    public static Migration StartProcess(Lab lab, LabHost from, int pid, RunningAgent to, params string[] options) =>
        StartAny(lab, from, ["process", $"{pid}"], to.Endpoint, to.TokenFile, options);

    private static Migration StartAny(Lab lab, LabHost from, string[] what, string endpoint, string tokenFile, string[] options)
    {
        string reportFile = $"{lab.Shared}/report-{Guid.NewGuid():N}.json";
        RunningCommand process = from.Start(
            [Repository.PostCopy, "migrate", .. what, "--to", endpoint, "--token-file", tokenFile, .. RunningAgent.Security(options), "--report", reportFile, .. options]);
        return new Migration(process, reportFile);
    }

    /// <summary>Goes on with a session whose process is dead, in another directory: files that were named must be found from there, too.</summary>
    public static Migration Resume(Lab lab, LabHost from, string session)
    {
        string reportFile = $"{lab.Shared}/report-{Guid.NewGuid():N}.json";
        return new Migration(from.Start(["env", "--chdir=/", Repository.PostCopy, "migrate", "--resume", session, "--report", reportFile]), reportFile);
    }

    public static async Task<MigrationResult> RunAsync(Lab lab, LabHost from, Container container, RunningAgent to, params string[] options)
    {
        await using Migration migration = Start(lab, from, container.Id, to.Endpoint, to.TokenFile, options);
        return await migration.WaitAsync();
    }

    /// <summary>Waits until the container runs on the destination and pages are owed.</summary>
    public Task WaitUntilItDrainsAsync() =>
        Process.WaitForOutputAsync(static command => command.Error.Contains("memory follows", StringComparison.Ordinal), TimeSpan.FromSeconds(60));

    public async Task<MigrationResult> WaitAsync()
    {
        CommandResult result = await Process.WaitAsync(Limit);
        MigrationReport? report = File.Exists(_reportFile)
            ? JsonSerializer.Deserialize<MigrationReport>(await File.ReadAllTextAsync(_reportFile), ReportFormat)
            : null;
        return new MigrationResult(result, report);
    }

    public ValueTask DisposeAsync() => Process.DisposeAsync();

    // A name that is missing or not expected is a broken promise to those who read reports by machine.
    private static readonly JsonSerializerOptions ReportFormat = new(JsonSerializerDefaults.Web)
    {
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectRequiredConstructorParameters = true,
    };
}

internal sealed record MigrationResult(CommandResult Command, MigrationReport? Report)
{
    public int ExitCode => Command.ExitCode;

    public string Error => Command.Error;

    /// <summary>The report of a migration that must have come to this end.</summary>
    public MigrationReport Expect(int exitCode, string outcome)
    {
        Assert.True(ExitCode == exitCode, $"{exitCode} was expected: {Command}");
        Assert.True(Report is not null, $"no report: {Command}");
        Assert.Equal(outcome, Report.Outcome);
        return Report;
    }
}
