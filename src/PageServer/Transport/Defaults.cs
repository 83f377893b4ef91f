namespace PostCopy.Transport;

/// <summary>What both sides assume when nothing else is said.</summary>
public static class Defaults
{
    /// <summary>The file with the token that a source and an agent share.</summary>
    public const string TokenFile = "/etc/postcopy/token";

    /// <summary>Where sessions keep their state: on tmpfs, gone with the host.</summary>
    public const string StateDirectory = "/run/postcopy";
}
