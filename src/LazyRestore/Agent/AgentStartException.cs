namespace PostCopy.Agent;

/// <summary>The agent cannot start here; the message says why and what to do.</summary>
public sealed class AgentStartException : IOException
{
    internal AgentStartException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
