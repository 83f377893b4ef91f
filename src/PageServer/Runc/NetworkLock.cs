using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;
using PostCopy.Linux;

namespace PostCopy.Runc;

/// <summary>
/// The rules by which CRIU cuts a dumped container off: in its network namespace the chain <c>CRIU</c> of iptables, or with <c>network-lock nftables</c> a
/// table <c>inet CRIU-...</c>. After a successful dump, and after a restore that failed, they stay: in a namespace that has a name, and so outlives the
/// container, they would keep whatever comes next off the network.
/// </summary>
internal sealed class NetworkLock : IDisposable
{
    private readonly SafeFileHandle? _namespace;

    private NetworkLock(SafeFileHandle? networkNamespace) => _namespace = networkNamespace;

    /// <summary>Takes hold of a container's network namespace while its tasks still exist; of nothing when it is our own.</summary>
    internal static NetworkLock Of(int initPid) =>
        new(ProcessNamespace.IsOurs(initPid, "net") ? null : File.OpenHandle($"/proc/{initPid}/ns/net"));

    /// <summary>The same of a namespace by its path; of nothing when it is our own, or not there.</summary>
    internal static NetworkLock At(string? path) =>
        path is not null && Syscall.stat(path, out Stat there) == 0 && Syscall.stat("/proc/self/ns/net", out Stat ours) == 0 && (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
            ? new NetworkLock(File.OpenHandle(path))
            : new NetworkLock(null);

    /// <summary>Removes the rules that are there. Throws <see cref="RuncException"/> with what is left and how to remove it.</summary>
    internal async Task RemoveAsync(CancellationToken cancellation)
    {
        if (_namespace is null)
        {
            return;
        }

        string nsenter = ChildPath.Find("nsenter") ?? throw Left("nsenter (Debian: util-linux) is not on PATH");

        await RemoveTablesAsync(nsenter, cancellation).ConfigureAwait(false);
        foreach (string iptables in (string[])["iptables", "ip6tables"])
        {
            // Without it CRIU could not have used it.
            if (ChildPath.Find(iptables) is null || !(await RunAsync(nsenter, [iptables, "-w", "-n", "-L", "CRIU"], cancellation).ConfigureAwait(false)).Status.IsSuccess)
            {
                continue;
            }

            foreach (string arguments in (string[])["-D INPUT -j CRIU", "-D OUTPUT -j CRIU", "-F CRIU", "-X CRIU"])
            {
                CapturedChild child = await RunAsync(nsenter, [iptables, "-w", .. arguments.Split(' ')], cancellation).ConfigureAwait(false);
                if (!child.Status.IsSuccess)
                {
                    throw Left($"{iptables} {arguments}: {child.Error.Trim()}");
                }
            }
        }
    }

    private async Task RemoveTablesAsync(string nsenter, CancellationToken cancellation)
    {
        if (ChildPath.Find("nft") is null)
        {
            if (ChildPath.Find("iptables") is null)
            {
                // CRIU needs only the library.
                throw Left("nft (Debian: nftables) is not on PATH");
            }

            return;
        }

        // A line each: "table inet NAME".
        string tables = (await RunAsync(nsenter, ["nft", "list", "tables", "inet"], cancellation).ConfigureAwait(false)).Output;
        foreach (string table in tables.Split('\n').Select(static line => line.Split(' ')[^1].Trim()).Where(static name => name.StartsWith("CRIU-", StringComparison.Ordinal)))
        {
            CapturedChild child = await RunAsync(nsenter, ["nft", "delete", "table", "inet", table], cancellation).ConfigureAwait(false);
            if (!child.Status.IsSuccess)
            {
                throw Left($"nft delete table inet {table}: {child.Error.Trim()}");
            }
        }
    }

    private static RuncException Left(string why) =>
        new($"CRIU's network lock could not be removed from the container's network namespace ({why}); remove its chain CRIU of iptables, or its table inet CRIU-... of nftables, by hand");

    /// <inheritdoc/>
    public void Dispose() => _namespace?.Dispose();

    private Task<CapturedChild> RunAsync(string nsenter, string[] command, CancellationToken cancellation) =>
        // The child opens the namespace through our descriptor: it has no other name any more.
        CapturedChild.RunAsync(nsenter, [$"--net=/proc/{Environment.ProcessId}/fd/{_namespace!.DangerousGetHandle()}", "--", .. command], null, null, cancellation);
}
