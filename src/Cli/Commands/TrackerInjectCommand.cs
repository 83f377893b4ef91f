using System.CommandLine;
using PostCopy.Tracking;

namespace PostCopy.Commands;

/// <summary><c>postcopy tracker-inject</c>: started by a migration with <c>--pre-copy</c>, not by people.</summary>
internal static class TrackerInjectCommand
{
    internal static Command Create()
    {
        Command command = new("tracker-inject", "Injects a system call into a process that is to be tracked. Started by migrate --pre-copy.") { Hidden = true };
        command.SetAction(static _ => InjectorMain.Run());
        return command;
    }
}
