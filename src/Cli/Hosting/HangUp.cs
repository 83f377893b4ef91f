using System.Globalization;
using System.Runtime.InteropServices;

namespace PostCopy.Hosting;

/// <summary>
/// Ends a service when its terminal goes away (SIGHUP), as SIGTERM does: the .NET host knows no SIGHUP, and the kernel's own answer to it is death. Who started the program
/// with the signal ignored, as nohup(1) does, wants it to stay.
/// </summary>
internal sealed class HangUp : IDisposable
{
    private readonly PosixSignalRegistration? _registration;

    internal HangUp(Action stop)
    {
        if (!IsIgnored())
        {
            _registration = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
            {
                context.Cancel = true;
                stop();
            });
        }
    }

    public void Dispose() => _registration?.Dispose();

    /// <summary>The lowest bit is signal 1 (proc(5), /proc/pid/status).</summary>
    private static bool IsIgnored()
    {
        const string Field = "SigIgn:";
        string line = File.ReadLines("/proc/self/status").First(static line => line.StartsWith(Field, StringComparison.Ordinal));
        return (ulong.Parse(line.AsSpan(Field.Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & 1) != 0;
    }
}
