using PostCopy.Transport;

namespace PostCopy.Sessions;

/// <summary>Commands that messages name, which are to work as they are printed.</summary>
internal static class SuggestedCommand
{
    /// <summary>What a command needs to find a session here, with a blank before it; empty where sessions are kept in the usual place.</summary>
    internal static string In(string stateDirectory) => stateDirectory == Defaults.StateDirectory ? "" : $" --state-dir {stateDirectory}";
}
