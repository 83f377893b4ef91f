using System.Globalization;

namespace PostCopy.Linux;

/// <summary>This host's memory at one moment, in bytes, by the kernel's names (proc_meminfo(5)).</summary>
internal sealed class HostMemory
{
    private readonly Dictionary<string, ulong> _amounts = File.ReadLines("/proc/meminfo")
        .Select(static line => line.Split((char[])[':', ' '], StringSplitOptions.RemoveEmptyEntries))
        .ToDictionary(static words => words[0], static words => ulong.Parse(words[1], CultureInfo.InvariantCulture) << 10);

    internal ulong this[string name] => _amounts[name];

    /// <summary>What there is, whoever has it: memory and swap.</summary>
    internal ulong Total => this["MemTotal"] + this["SwapTotal"];
}
