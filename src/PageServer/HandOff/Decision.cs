namespace PostCopy.HandOff;

/// <summary>Who may run, decided once per migration.</summary>
internal enum Decision
{
    /// <summary>The destination.</summary>
    HandedOff,

    /// <summary>The source; the destination never will.</summary>
    Cancelled,
}
