namespace PostCopy.Wire;

/// <summary>What a peer says, as it may stand in a log: one line, and no longer than that.</summary>
internal static class PrintableText
{
    internal static string Of(string text, int maxChars)
    {
        string shown = string.Create(Math.Min(text.Length, maxChars), text, static (span, source) =>
        {
            for (int i = 0; i < span.Length; i++)
            {
                span[i] = char.IsControl(source[i]) ? ' ' : source[i];
            }
        });
        return text.Length > maxChars ? shown + "..." : shown;
    }
}
