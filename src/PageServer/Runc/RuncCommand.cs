using System.Text;
using System.Text.Json;
using PostCopy.Criu;
using PostCopy.Linux;

namespace PostCopy.Runc;

/// <summary>The runc program with one state directory: looks containers up, starts its long-running commands, removes containers.</summary>
internal sealed class RuncCommand(string? root)
{
    /// <summary>Where runc keeps its containers when nothing else is said (runc(8), --root).</summary>
    internal const string DefaultRoot = "/run/runc";

    private readonly string _path = Program;

    /// <summary>Its executable. Throws <see cref="RuncException"/> when it is not there.</summary>
    internal static string Program => ChildPath.Find("runc") ?? throw new RuncException("runc is not on PATH: install it (apt-get install runc)");

    /// <summary>The container, or null when runc knows none with this id.</summary>
    internal async Task<RuncContainer?> FindAsync(string id, CancellationToken cancellation)
    {
        CapturedChild state = await RunAsync(["state", id], cancellation).ConfigureAwait(false);
        if (!state.Status.IsSuccess)
        {
            return state.Error.Contains("does not exist", StringComparison.Ordinal) ? null : throw new RuncException($"runc state {id}: {LastLine(state.Error)}");
        }

        try
        {
            using JsonDocument json = JsonDocument.Parse(state.Output);
            JsonElement container = json.RootElement;
            return new RuncContainer(
                id,
                container.GetProperty("pid").GetInt32(),
                container.GetProperty("status").GetString() ?? "",
                container.GetProperty("bundle").GetString() ?? "");
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RuncException($"runc state {id} answers what this program does not understand: {e.Message}");
        }
    }

    /// <summary>
    /// The cgroup that runc has CRIU freeze (libcontainer's <c>state.json</c>, <c>cgroup_paths</c>: by controller in v1, under the empty name in v2); null when it
    /// cannot be told.
    /// </summary>
    internal FreezerCgroup? FreezerOf(string id) => FromState(id, "cgroup_paths", static paths =>
        (paths.TryGetProperty("freezer", out JsonElement path) || paths.TryGetProperty("", out path)) && path.GetString() is { Length: > 0 } directory
            ? FreezerCgroup.At(directory)
            : null);

    /// <summary>
    /// Where the container's standard streams lead, as the JSON that <c>runc checkpoint</c> writes to <c>descriptors.json</c> (libcontainer's <c>external_descriptors</c>);
    /// null when it cannot be told.
    /// </summary>
    internal byte[]? StandardStreamsOf(string id) => FromState(id, "external_descriptors", static streams => Encoding.UTF8.GetBytes(streams.GetRawText()));

    /// <summary>Whether systemd made its cgroup (runc's <c>--systemd-cgroup</c>, libcontainer's <c>config.cgroups</c>).</summary>
    internal bool IsOfSystemd(string id) => FromState(id, "config", static config =>
        config.TryGetProperty("cgroups", out JsonElement cgroups) && cgroups.ValueKind == JsonValueKind.Object
            && cgroups.EnumerateObject().Any(static property => property.Name is "Systemd" or "systemd" && property.Value.ValueKind == JsonValueKind.True)
            ? "systemd" : null) is not null;

    private T? FromState<T>(string id, string property, Func<JsonElement, T?> read)
        where T : class
    {
        try
        {
            using JsonDocument state = JsonDocument.Parse(File.ReadAllText(Path.Combine(root ?? DefaultRoot, id, "state.json")));
            return read(state.RootElement.GetProperty(property));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException)
        {
            // Another runtime, or another release of it: it costs some time, and nothing else.
            return null;
        }
    }

    /// <summary>Starts <c>runc checkpoint --lazy-pages</c>; CRIU's hook tells how far it is.</summary>
    internal ChildProcess StartCheckpoint(string id, CriuSession criu) =>
        Start(["checkpoint", "--lazy-pages", .. Common(criu), id], criu);

    /// <summary>Starts <c>runc restore --lazy-pages</c>, which expects the lazy-pages socket in the session's work directory.</summary>
    internal ChildProcess StartRestore(string id, string bundle, bool systemdCgroup, CriuSession criu) =>
        Start([.. systemdCgroup ? (string[])["--systemd-cgroup"] : [], "restore", "--detach", "--lazy-pages", .. Common(criu), "--bundle", bundle, id], criu);

    /// <summary>Removes a container and kills what is left of it. No error when it is gone already.</summary>
    internal async Task DeleteAsync(string id, CancellationToken cancellation)
    {
        CapturedChild deleted = await RunAsync(["delete", "--force", id], cancellation).ConfigureAwait(false);
        if (!deleted.Status.IsSuccess && !deleted.Error.Contains("does not exist", StringComparison.Ordinal))
        {
            throw new RuncException($"runc delete {id}: {LastLine(deleted.Error)}");
        }
    }

    private Task<CapturedChild> RunAsync(string[] arguments, CancellationToken cancellation) =>
        CapturedChild.RunAsync(_path, WithRoot(arguments), null, null, cancellation);

    // In a session of its own: the terminal's Ctrl-C is for us, and we decide what can still be undone.
    private ChildProcess Start(string[] arguments, CriuSession criu) =>
        ChildProcess.Start(_path, WithRoot(arguments), criu.Environment, criu.RuncOutput.Descriptors, newSession: true);

    // What runc sets by itself, it sets over CRIU's configuration file: so this option has to be runc's.
    private static string[] Common(CriuSession criu) =>
        ["--image-path", criu.ImageDirectory, "--work-path", criu.WorkDirectory, .. criu.TcpEstablished ? (string[])["--tcp-established"] : []];

    private string[] WithRoot(string[] arguments) => root is null ? arguments : ["--root", root, .. arguments];

    private static string LastLine(string text) => text.TrimEnd().Split('\n')[^1];
}
