using System.Globalization;
using System.Runtime.InteropServices;

namespace PostCopy.Perf.Support;

/// <summary>
/// A virtual machine may give its free memory back to its host (free page reporting). Each page is then got anew at its first touch, which takes several times as long as
/// what is measured here and comes and goes with the host. While this is held the machine keeps what it has, all of it touched before.
/// </summary>
internal sealed class FreeMemory : IDisposable
{
    private const string Settings = "/sys/module/page_reporting/parameters";
    private const int PageBytes = 4096;

    /// <summary>In this order: blocks of the largest size alone, and where the kernel can wait with those, it waits.</summary>
    private static readonly (string Name, string Value)[] Wanted = [("page_reporting_order", "10"), ("max_waiting_mib", "65536"), ("min_free_ms", "300000")];

    private static readonly PosixSignal[] Ending = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP];

    private readonly List<(string Path, string Value)> _before = [];
    private readonly List<PosixSignalRegistration> _signals = [];

    private FreeMemory()
    {
        foreach ((string name, string value) in Wanted)
        {
            string path = Path.Combine(Settings, name);
            if (File.Exists(path))
            {
                _before.Add((path, File.ReadAllText(path)));
                File.WriteAllText(path, value);
            }
        }

        _signals.AddRange(Ending.Select(signal => PosixSignalRegistration.Create(signal, _ => PutBack())));
    }

    /// <summary>Has the machine keep its memory, and touches two thirds of what is free.</summary>
    internal static FreeMemory Keep()
    {
        FreeMemory kept = new();
        if (kept._before.Count > 0)
        {
            Touch();
        }

        return kept;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _signals.ForEach(static signal => signal.Dispose());
        PutBack();
    }

    private void PutBack() => _before.ForEach(static setting => File.WriteAllText(setting.Path, setting.Value));

    private static unsafe void Touch()
    {
        string[] available = File.ReadLines("/proc/meminfo").First(static line => line.StartsWith("MemAvailable", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        nuint bytes = (nuint)(ulong.Parse(available[1], CultureInfo.InvariantCulture) << 10) / 3 * 2;
        byte* memory = (byte*)NativeMemory.Alloc(bytes);
        for (nuint at = 0; at < bytes; at += PageBytes)
        {
            memory[at] = 1;
        }

        NativeMemory.Free(memory);
    }
}
