namespace PostCopy.Display;

/// <summary>What goes wrong, on standard error. Where that cannot be written, as on a file system that is full, the exit code is all that can be said.</summary>
internal static class Complaint
{
    internal static void Write(string message)
    {
        try
        {
            Console.Error.WriteLine($"postcopy: {message}");
        }
        catch (IOException)
        {
            // There is nobody left to tell.
        }
    }

    internal static void Write(IEnumerable<string> messages)
    {
        foreach (string message in messages)
        {
            Write(message);
        }
    }

    /// <summary>Does what may fail and must not decide anything; says so when it does.</summary>
    internal static void Attempt(string failure, Action attempt)
    {
        try
        {
            attempt();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Write($"{failure}: {e.Message}");
        }
    }
}
