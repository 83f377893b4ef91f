using System.CommandLine;
using PostCopy.Keeper;

namespace PostCopy.Commands;

/// <summary><c>postcopy keeper</c>: started by the agent, for nobody else.</summary>
internal static class KeeperCommand
{
    internal static Command Create()
    {
        Argument<string> directory = new("DIR") { Description = "The session's directory." };
        Command command = new("keeper", "Hold userfaultfds for an agent.") { directory };
        command.Hidden = true;
        command.SetAction(parsed => KeeperMain.Run(parsed.GetRequiredValue(directory)));
        return command;
    }
}
