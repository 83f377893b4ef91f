using System.CommandLine;
using PostCopy.Keeper;

namespace PostCopy.Commands;

/// <summary><c>postcopy keeper</c>: started by the agent, for nobody else.</summary>
internal static class KeeperCommand
{
    internal static Command Create()
    {
        Command command = new("keeper", "Hold userfaultfds for an agent.") { Hidden = true };
        command.SetAction(static _ => KeeperMain.Run());
        return command;
    }
}
