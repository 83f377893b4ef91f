namespace PostCopy.PreCopy;

/// <summary>Why copying before the freeze ended.</summary>
public enum StopReason
{
    /// <summary>It never began: the host, the program or the destination does not allow it.</summary>
    NotPossible,

    /// <summary>The rest travels in no time.</summary>
    LittleLeft,

    /// <summary>What is left is written all the time: to copy it again would be in vain.</summary>
    OnlyHotLeft,

    /// <summary>Two rounds in a row had no less to copy than one before them: the program writes faster than the network carries.</summary>
    NoProgress,

    /// <summary>As many rounds as are allowed.</summary>
    MaxRounds,

    /// <summary>As long as it may take.</summary>
    MaxTime,

    /// <summary>The destination has no more room to keep pages until the freeze.</summary>
    StagingFull,

    /// <summary>It was cancelled, or something failed.</summary>
    BrokenOff,
}
