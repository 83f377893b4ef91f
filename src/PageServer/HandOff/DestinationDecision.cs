namespace PostCopy.HandOff;

/// <summary>What became of the copy, decided once per migration.</summary>
internal enum DestinationDecision
{
    /// <summary>The source said yes, and it was heard in time.</summary>
    MayRun,

    /// <summary>The copy is given up; it never ran an instruction and never will.</summary>
    NeverRan,
}
