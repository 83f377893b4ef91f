using System.Text.Json;

namespace PostCopy.Tests.TestBed;

/// <summary>A runc container by its id, on whichever host it is asked about.</summary>
internal sealed record Container(string Id, string Bundle)
{
    public static async Task<Container> RunAsync(LabHost host, string id, string bundle)
    {
        // The container keeps runc's stdio: CRIU can restore /dev/null, not a file of the host.
        string log = $"{bundle}/runc-{id}.log";
        CommandResult result = await host.TryAsync(DetachedRunc(log, "run", "-d", "--bundle", bundle, id));
        if (result.ExitCode != 0)
        {
            throw new InvalidOperationException($"{result}\n{File.ReadAllText(log)}");
        }

        return new Container(id, bundle);
    }

    public static string[] DetachedRunc(string log, params string[] arguments) =>
        ["sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh", "runc", "--log", log, .. arguments];

    /// <summary>runc's status (running, paused, stopped), or null when the host does not know the container.</summary>
    public async Task<string?> StatusOnAsync(LabHost host)
    {
        CommandResult result = await host.TryAsync("runc", "state", Id);
        if (result.ExitCode != 0)
        {
            return result.Error.Contains("does not exist", StringComparison.Ordinal)
                ? null
                : throw new InvalidOperationException($"{result}");
        }

        using JsonDocument state = JsonDocument.Parse(result.Output);
        return state.RootElement.GetProperty("status").GetString();
    }

    // runc delete --force alone gives up on the cgroups, and says nothing, when a loaded machine takes its time to bury the dead.
    public async Task RemoveFromAsync(LabHost host) => await host.RunAsync(
        "sh", "-c", "runc kill \"$1\" KILL 2>/dev/null; for i in $(seq 50); do runc state \"$1\" 2>/dev/null | grep -q '\"status\": \"running\"' || break; sleep 0.05; done; runc delete --force \"$1\"", "sh", Id);
}
