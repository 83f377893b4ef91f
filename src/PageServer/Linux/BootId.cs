namespace PostCopy.Linux;

/// <summary>What the kernel calls this run of it (random(4)): nothing that ran under one is there under another.</summary>
internal static class BootId
{
    internal static string OfThisHost => File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();
}
