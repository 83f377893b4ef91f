using System.Buffers;
using System.Runtime.InteropServices;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Runc;

namespace PostCopy.Agent;

/// <summary>Whether this host can take a container, judged before the source freezes it.</summary>
internal static class ArrivalChecks
{
    private const int MaxIdChars = 1024;

    /// <summary>There since Linux 5.2; before, everybody might.</summary>
    private const string UserfaultfdSysctl = "/proc/sys/vm/unprivileged_userfaultfd";

    /// <summary>The characters that runc accepts in an id. One that begins with a dash it would take for an option.</summary>
    private static readonly SearchValues<char> IdChars = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.");

    internal static async Task<Prepared> RunAsync(Prepare container, AgentOptions options, ulong promisedBytes, CancellationToken cancellation)
    {
        Prepared answer = new() { Checksums = container.Checksums, EarlyRestore = true };
        void Refuse(string reason) => answer.Refusals.Add(reason);

        if (container.ProcessTree is null && !IsValidId(container.ContainerId))
        {
            Refuse("the container's id is not one that runc accepts");
            return answer;
        }

        if (container.ProcessTree is null && BundlePath.Refusal(container.Bundle, options.BundleRoot) is { } refusal)
        {
            Refuse(refusal);
        }

        string here = RuntimeInformation.ProcessArchitecture.ToString();
        if (container.Architecture != here)
        {
            Refuse($"the source's processor is {container.Architecture}, this host's {here}");
        }

        if (container.CriuConfig.Length > CriuConfig.MaxUserBytes)
        {
            Refuse($"the CRIU options have {container.CriuConfig.Length} characters, at most {CriuConfig.MaxUserBytes} are accepted");
        }

        if (answer.Refusals.Count == 0)
        {
            BundleConfig? bundle = container.ProcessTree is null ? BundleConfig.TryRead(container.Bundle) : null;
            answer.Refusals.AddRange(MemoryRoom.Refusals(container, promisedBytes, bundle));
            answer.Refusals.AddRange(bundle is null ? [] : BundleRefusals(bundle));
        }

        if (Overcommit.Refusal(container.LargestMappingBytes) is { } tooLarge)
        {
            Refuse(tooLarge);
        }

        if (container.UserNamespace && File.Exists(UserfaultfdSysctl) && File.ReadAllText(UserfaultfdSysctl).Trim() == "0")
        {
            Refuse("the container has a user namespace of its own, in which CRIU may not make a userfaultfd on this host: sysctl -w vm.unprivileged_userfaultfd=1");
        }

        await CheckProgramsAsync(container, options, answer, cancellation).ConfigureAwait(false);
        return answer;
    }

    /// <summary>What <c>runc restore</c> would say only once the container stands still.</summary>
    internal static IEnumerable<string> BundleRefusals(BundleConfig bundle)
    {
        if (bundle.HasTerminal)
        {
            yield return "the container's standard streams are a terminal (process.terminal in config.json), which does not move";
        }

        if (bundle.RootPath is { } root && !Directory.Exists(root))
        {
            yield return $"the container's root directory {root} is not here (root.path in config.json)";
        }

        foreach (string path in bundle.NamespacePaths.Where(static path => !Path.Exists(path)))
        {
            yield return $"the container joins the namespace {path}, which is not here (linux.namespaces in config.json): make it first";
        }
    }

    private static async Task CheckProgramsAsync(Prepare container, AgentOptions options, Prepared answer, CancellationToken cancellation)
    {
        try
        {
            await RestoreEngine.For(container, options).AddRefusalsAsync(answer.Refusals, cancellation).ConfigureAwait(false);
            string ours = await CriuVersion.OfAsync(CriuProgram.Path, cancellation).ConfigureAwait(false);
            if (Version.TryParse(ours, out Version? own) && Version.TryParse(container.CriuVersion, out Version? theirs)
                && (own.Major, own.Minor).CompareTo((theirs.Major, theirs.Minor)) < 0)
            {
                answer.Refusals.Add($"CRIU {own} here cannot read the images of the source's CRIU {theirs}: update it (eng/setup.sh run)");
            }
        }
        catch (IOException e)
        {
            answer.Refusals.Add(e.Message);
        }
    }

    private static bool IsValidId(string id) => id.Length is > 0 and <= MaxIdChars && id is not ("." or "..") && id[0] != '-' && !id.AsSpan().ContainsAnyExcept(IdChars);
}
