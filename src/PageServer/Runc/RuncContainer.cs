namespace PostCopy.Runc;

/// <summary>What <c>runc state</c> says of a container.</summary>
/// <param name="Id">Its id.</param>
/// <param name="InitPid">Its first process, as a pid of this host; 0 when it is stopped.</param>
/// <param name="Status"><c>created</c>, <c>running</c>, <c>paused</c> or <c>stopped</c>.</param>
/// <param name="Bundle">Its bundle directory.</param>
internal sealed record RuncContainer(string Id, int InitPid, string Status, string Bundle);

/// <summary>runc cannot be used, or failed; the message is for the user.</summary>
internal sealed class RuncException(string message) : IOException(message);
