using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Runc;
using PostCopy.Trees;

namespace PostCopy.Agent;

/// <summary>Who restores what a source announced.</summary>
internal static class RestoreEngine
{
    internal static IRestoreEngine For(Prepare announced, AgentOptions options) => announced.ProcessTree is { } tree
        ? new ProcessRestore(tree.Pids)
        : new RuncRestore(announced.ContainerId, announced.Bundle, announced.SystemdCgroup, options.RuncRoot);
}
