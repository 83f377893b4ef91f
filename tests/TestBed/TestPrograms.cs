namespace PostCopy.Tests.TestBed;

/// <summary>The programs that are moved (tests/TestPrograms), compiled by eng/lab/programs.sh once a run.</summary>
internal static class TestPrograms
{
    private static readonly Lazy<Task<string>> Directory = new(static async () =>
        (await RunningCommand.RunAsync(TimeSpan.FromSeconds(180), Repository.LabScript("programs.sh"))).EnsureSuccess().Output.Trim());

    /// <summary>Where they are.</summary>
    public static Task<string> DirectoryAsync() => Directory.Value;
}
