using System.CommandLine;

namespace PostCopy.Commands;

/// <summary>Whom an agent's certificate must name, when that is not what was dialled.</summary>
internal static class TlsNameOption
{
    internal static Option<string?> Create() => new("--tls-name") { Description = "The name or address in the agent's certificate. Default: the host in --to.", HelpName = "NAME" };
}
