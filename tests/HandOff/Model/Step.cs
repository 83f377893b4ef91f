namespace PostCopy.Tests.HandOff.Model;

/// <summary>Why a step happens; decides in which analysis it counts.</summary>
internal enum Cause
{
    /// <summary>Work going on.</summary>
    Progress,

    /// <summary>A deadline or the user. Happens by itself, so it may be counted on to end a wait.</summary>
    GiveUp,

    /// <summary>A lane was connected anew: a side says again what its state says. Happens by itself, too.</summary>
    Repeat,

    /// <summary>A process died, a message was lost or came twice, a hook acted late. Never to be counted on.</summary>
    Fault,
}

/// <summary>One step of the world, told so that a human can follow.</summary>
internal readonly record struct Step(Cause Cause, string Who, string Does, Enum? What = null)
{
    public override string ToString() => $"{Who}: {Does}{(What is null ? "" : $" {What}")}{(Cause == Cause.Fault ? "   (fault)" : "")}";
}
