namespace PostCopy.Sessions;

/// <summary>An order that does not fit what its session is in. Nothing was changed.</summary>
public sealed class SessionOrderException : IOException
{
    internal SessionOrderException(string message, bool isHandedOff = false)
        : base(message) => IsHandedOff = isHandedOff;

    /// <summary>True when the container was handed off: it may be running here, and is owed pages.</summary>
    public bool IsHandedOff { get; }
}
