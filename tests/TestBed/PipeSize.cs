using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>
/// CRIU's page server asks for pipes of 4 MiB, which root without CAP_SYS_RESOURCE gets only when fs.pipe-max-size allows. Raised at the first need and not lowered
/// again: another test, or another run, may rely on it.
/// </summary>
internal static class PipeSize
{
    private const string Sysctl = "/proc/sys/fs/pipe-max-size";
    private const int NeededBytes = 4 << 20;

    public static void Allow()
    {
        if (int.Parse(File.ReadAllText(Sysctl), CultureInfo.InvariantCulture) < NeededBytes)
        {
            File.WriteAllText(Sysctl, NeededBytes.ToString(CultureInfo.InvariantCulture));
        }
    }
}
