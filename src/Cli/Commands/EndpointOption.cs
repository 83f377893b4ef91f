using System.CommandLine;
using System.CommandLine.Parsing;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary>An option that takes an agent's address.</summary>
internal static class EndpointOption
{
    internal static Option<AgentEndpoint> Create(string name, string description, string helpName = "HOST:PORT") =>
        new(name) { Description = description, HelpName = helpName, CustomParser = static result => Parse(result)! };

    internal static Option<AgentEndpoint?> CreateOptional(string name, string description) =>
        new(name) { Description = description, HelpName = "HOST:PORT", CustomParser = Parse };

    private static AgentEndpoint? Parse(ArgumentResult result)
    {
        try
        {
            return AgentEndpoint.Parse(result.Tokens[0].Value);
        }
        catch (FormatException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }
}
