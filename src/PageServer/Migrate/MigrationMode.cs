namespace PostCopy.Migrate;

/// <summary>When the memory travels.</summary>
public enum MigrationMode
{
    /// <summary>After the hand-off: the container runs on the destination at once, and its memory follows. The shortest downtime.</summary>
    PostCopy,

    /// <summary>Before the hand-off: suspend, copy, resume. The container stands still until everything has arrived, and a failure at any point rolls back.</summary>
    StopCopy,
}
