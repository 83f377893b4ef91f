namespace PostCopy.Tests.TestBed;

/// <summary>A <c>postcopy agent</c> on a host.</summary>
internal sealed class RunningAgent : IAsyncDisposable
{
    private const int Port = 7077;

    private RunningAgent(RunningCommand process, LabHost host, string tokenFile)
    {
        Process = process;
        Endpoint = $"{host.Address}:{Port}";
        TokenFile = tokenFile;
    }

    public RunningCommand Process { get; }

    public string Endpoint { get; }

    public string TokenFile { get; }

    public static async Task<RunningAgent> StartAsync(Lab lab, LabHost host, params string[] options)
    {
        string tokenFile = WriteToken(lab, $"token-{host.Name}");
        RunningCommand process = host.Start(
            [Repository.PostCopy, "agent", "--listen", $"{host.Address}:{Port}", "--token-file", tokenFile, .. Security(options), .. options]);
        RunningAgent agent = new(process, host, tokenFile);
        try
        {
            await Condition.WaitAsync(() => process.HasExited || host.IsListening(Port), TimeSpan.FromSeconds(20), "the agent to listen");
            if (process.HasExited)
            {
                throw new InvalidOperationException($"the agent ended: {await process.WaitAsync(TimeSpan.FromSeconds(5))}");
            }

            return agent;
        }
        catch
        {
            await agent.DisposeAsync();
            throw;
        }
    }

    /// <summary>Without certificates it must be said that there is no encryption.</summary>
    public static string[] Security(string[] options) => options.Any(static option => option.StartsWith("--tls-", StringComparison.Ordinal)) ? [] : ["--insecure"];

    public static string WriteToken(Lab lab, string name)
    {
        string path = $"{lab.Shared}/{name}";
        FileStreamOptions onlyOurs = new()
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using StreamWriter writer = new(path, onlyOurs);
        writer.Write(Guid.NewGuid().ToString("N"));
        return path;
    }

    public ValueTask DisposeAsync() => Process.DisposeAsync();
}
