using System.CommandLine.Parsing;
using PostCopy.Migrate;

namespace PostCopy.Commands;

/// <summary>The names of the modes as the command line spells them.</summary>
internal static class ModeNames
{
    internal static MigrationMode Parse(ArgumentResult result)
    {
        switch (result.Tokens[0].Value)
        {
            case "post-copy":
                return MigrationMode.PostCopy;
            case "stop-copy":
                return MigrationMode.StopCopy;
            case var other:
                result.AddError($"--mode is post-copy or stop-copy, not '{other}'");
                return default;
        }
    }
}
