namespace PostCopy.CriuServe;

/// <summary>How a client's session ended.</summary>
/// <param name="Closed">It said CLOSE. Stock <c>criu lazy-pages</c> does so even when it failed.</param>
/// <param name="SaysComplete">It is ours, and every page is installed or was dropped by the task it was owed to.</param>
/// <param name="NeverSent">Pages it did not fetch.</param>
internal readonly record struct SessionEnd(bool Closed, bool SaysComplete, ulong NeverSent);
