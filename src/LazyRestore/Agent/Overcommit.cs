using PostCopy.Linux;

namespace PostCopy.Agent;

/// <summary>What the kernel of this host lets a process map (proc_sys_vm(5), vm.overcommit_memory).</summary>
internal static class Overcommit
{
    private const string Always = "1";

    /// <summary>Why a mapping is too large here; null when it is not.</summary>
    internal static string? Refusal(ulong largestMappingBytes)
    {
        string mode = File.ReadAllText("/proc/sys/vm/overcommit_memory").Trim();
        // Left to its judgement, the kernel refuses a mapping that is larger than all of its memory; told never to overcommit, one beyond the limit.
        HostMemory memory = new();
        ulong limit = mode == "0" ? memory.Total : memory["CommitLimit"] - Math.Min(memory["CommitLimit"], memory["Committed_AS"]);
        return mode == Always || largestMappingBytes <= limit
            ? null
            : $"a process has {largestMappingBytes >> 30} GiB of address space in one piece, which CRIU cannot map here while vm.overcommit_memory is {mode}: " +
                "sysctl -w vm.overcommit_memory=1, or have the program reserve less (.NET: DOTNET_GCHeapHardLimit)";
    }
}
