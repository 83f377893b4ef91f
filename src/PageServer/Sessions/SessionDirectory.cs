namespace PostCopy.Sessions;

/// <summary>The name of a session's directory: the session's own, and which side of it this host is.</summary>
internal static class SessionDirectory
{
    internal const string SourceSuffix = "-source";
    internal const string DestinationSuffix = "-destination";
}
