using System.Globalization;

namespace PostCopy.Check;

/// <summary>The effective capabilities of a process, from <c>CapEff</c> in /proc/PID/status; bit numbers as in linux/capability.h.</summary>
internal readonly record struct Capabilities(ulong Effective)
{
    internal static readonly Capability DacOverride = new(1, "CAP_DAC_OVERRIDE");
    internal static readonly Capability Kill = new(5, "CAP_KILL");
    internal static readonly Capability SetGid = new(6, "CAP_SETGID");
    internal static readonly Capability SetUid = new(7, "CAP_SETUID");
    internal static readonly Capability NetAdmin = new(12, "CAP_NET_ADMIN");
    internal static readonly Capability SysChroot = new(18, "CAP_SYS_CHROOT");
    internal static readonly Capability SysPtrace = new(19, "CAP_SYS_PTRACE");
    internal static readonly Capability SysAdmin = new(21, "CAP_SYS_ADMIN");
    internal static readonly Capability SysResource = new(24, "CAP_SYS_RESOURCE");

    internal static Capabilities OfThisProcess()
    {
        const string Field = "CapEff:";
        string line = File.ReadLines("/proc/self/status").First(text => text.StartsWith(Field, StringComparison.Ordinal));
        return new Capabilities(ulong.Parse(line.AsSpan(Field.Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture));
    }

    internal bool Has(Capability capability) => (Effective >> capability.Bit & 1) != 0;
}

/// <summary>One capability: its bit and its name.</summary>
internal readonly record struct Capability(int Bit, string Name);
