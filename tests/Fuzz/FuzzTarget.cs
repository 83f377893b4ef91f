namespace PostCopy.Tests.Fuzz;

/// <summary>A reader of what others wrote.</summary>
/// <param name="Name">What is read.</param>
/// <param name="Corpus">Valid input, to start from.</param>
/// <param name="Read">Reads. May refuse with one of the exceptions that its callers expect, and must do nothing else.</param>
/// <param name="Refusals">These exceptions.</param>
internal sealed record FuzzTarget(string Name, IReadOnlyList<byte[]> Corpus, Action<byte[]> Read, params Type[] Refusals)
{
    /// <summary>False when the input was refused. Anything unexpected is thrown on.</summary>
    public bool Accepts(byte[] input)
    {
        try
        {
            Read(input);
            return true;
        }
        catch (Exception e) when (Refusals.Any(refusal => refusal.IsInstanceOfType(e)))
        {
            Assert.NotEmpty(e.Message);
            return false;
        }
    }
}
