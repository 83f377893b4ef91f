using System.CommandLine;
using System.Text.Json;
using PostCopy.Display;
using PostCopy.Images;

namespace PostCopy.Commands;

/// <summary><c>postcopy inspect IMAGE_DIR [--json]</c>: what a CRIU image directory holds and what of it would cost downtime.</summary>
internal static class InspectCommand
{
    internal static Command Create()
    {
        var directory = new Argument<string>("IMAGE_DIR") { Description = "A directory of CRIU images." };
        var json = new Option<bool>("--json") { Description = "Print one JSON object." };
        var command = new Command("inspect", "Show what CRIU images hold: the processes, and which memory travels lazily or during the freeze.")
        {
            directory,
            json,
        };
        command.SetAction(result => Run(
            result.GetRequiredValue(directory),
            result.GetValue(json),
            result.InvocationConfiguration.Output,
            result.InvocationConfiguration.Error));
        return command;
    }

    private static int Run(string directory, bool json, TextWriter output, TextWriter error)
    {
        ImageSummary summary;
        try
        {
            summary = ImageInspector.Inspect(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            error.WriteLine($"postcopy inspect: {e.Message}");
            return ExitCodes.CannotHere;
        }

        if (json)
        {
            output.WriteLine(JsonSerializer.Serialize(summary, InspectJsonContext.Default.ImageSummary));
        }
        else
        {
            new InspectReport(output).Write(summary);
        }

        return 0;
    }
}
