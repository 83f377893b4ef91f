using System.Runtime.InteropServices;
using Mono.Unix.Native;

namespace PostCopy.Hosting;

/// <summary>How somebody who knows where a frozen copy's tasks run says so: SIGUSR1 for elsewhere, SIGUSR2 for here.</summary>
internal sealed class VerdictSignals : IDisposable
{
    private readonly PosixSignalRegistration _discard;
    private readonly PosixSignalRegistration _runOn;

    /// <param name="decide">Told whether they run elsewhere.</param>
    internal VerdictSignals(Action<bool> decide)
    {
        _discard = On(Signum.SIGUSR1, () => decide(true));
        _runOn = On(Signum.SIGUSR2, () => decide(false));
    }

    public void Dispose()
    {
        _discard.Dispose();
        _runOn.Dispose();
    }

    private static PosixSignalRegistration On(Signum signal, Action decide) => PosixSignalRegistration.Create((PosixSignal)(int)signal, context =>
    {
        context.Cancel = true;
        decide();
    });
}
