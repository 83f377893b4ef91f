namespace PostCopy.Tests.TestBed;

internal sealed record CommandResult(string Command, int ExitCode, string Output, string Error)
{
    public CommandResult EnsureSuccess() =>
        ExitCode == 0 ? this : throw new InvalidOperationException($"exit code {ExitCode}: {this}");

    public override string ToString() => $"{Command}\n--- exit code {ExitCode}, stdout:\n{Output}\n--- stderr:\n{Error}";
}
