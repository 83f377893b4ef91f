namespace PostCopy.Tests.TestBed;

/// <summary>OCI bundles made by eng/lab/bundle.sh, in the directory that all hosts see.</summary>
internal static class Bundle
{
    public static async Task<string> MakeAsync(Lab lab, string name, string network, string[] binds, params string[] command)
    {
        string directory = $"{lab.Shared}/{name}";
        string[] bindOptions = [.. binds.SelectMany(bind => new[] { "--bind", bind })];
        (await RunningCommand.RunAsync(TimeSpan.FromSeconds(30), Repository.LabScript("bundle.sh"),
            [directory, "--net", network, .. bindOptions, "--", .. command])).EnsureSuccess();
        return directory;
    }

    /// <summary>The same bundle at another path, as another host has it.</summary>
    public static async Task<string> CopyAsync(Lab lab, string bundle, string name)
    {
        string directory = $"{lab.Shared}/{name}";
        (await RunningCommand.RunAsync(TimeSpan.FromSeconds(30), "cp", "-a", bundle, directory)).EnsureSuccess();
        return directory;
    }
}
