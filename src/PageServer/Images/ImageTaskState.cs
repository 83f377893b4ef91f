namespace PostCopy.Images;

/// <summary>What a process was doing when it was dumped.</summary>
public enum ImageTaskState
{
    /// <summary>Running or sleeping.</summary>
    Alive,

    /// <summary>Stopped by a signal.</summary>
    Stopped,

    /// <summary>Dead and not yet waited for: no memory, no threads.</summary>
    Zombie,
}
