namespace PostCopy.Tests.TestBed;

/// <summary>What postcopy's exit codes promise about where the container is.</summary>
internal static class ExitCode
{
    public const int Moved = 0;
    public const int Usage = 2;
    public const int Cannot = 3;
    public const int RolledBack = 10;
    public const int HandedOff = 20;
    public const int Lost = 30;
}
