namespace PostCopy.Pages;

/// <summary>The memory behind an address space cannot be had any more. The destination must stall: the page is owed and was not delivered.</summary>
internal sealed class PageSourceException : IOException
{
    /// <summary>Names what was read and why it failed.</summary>
    internal PageSourceException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>Whether the memory is gone for good: no later attempt will get it.</summary>
    internal bool IsLost { get; init; }
}
