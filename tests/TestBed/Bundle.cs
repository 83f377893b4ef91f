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

    /// <summary>Gives its container a memory limit at which tasks wait instead of being killed.</summary>
    public static Task LimitMemoryAsync(string bundle, int mebibytes) =>
        ReplaceAsync(bundle, "\"resources\": {", $"\"resources\": {{\"memory\": {{\"limit\": {(long)mebibytes << 20}, \"disableOOMKiller\": true}}, ");

    /// <summary>Gives its container a user namespace of its own.</summary>
    public static async Task AddUserNamespaceAsync(string bundle)
    {
        const string mapping = "[{\"containerID\": 0, \"hostID\": 0, \"size\": 65536}]";
        await ReplaceAsync(bundle, "\"namespaces\": [", $"\"uidMappings\": {mapping}, \"gidMappings\": {mapping}, \"namespaces\": [{{\"type\": \"user\"}}, ");
    }

    private static async Task ReplaceAsync(string bundle, string old, string replacement)
    {
        string path = $"{bundle}/config.json";
        string config = await File.ReadAllTextAsync(path);
        Assert.Contains(old, config, StringComparison.Ordinal);
        await File.WriteAllTextAsync(path, config.Replace(old, replacement, StringComparison.Ordinal));
    }
}
