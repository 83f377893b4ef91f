using PostCopy.Transport;

namespace PostCopy.Tests.Testing;

internal static class Tokens
{
    public static AgentToken One { get; } = Make("one token of this test");

    public static AgentToken Another { get; } = Make("another token of this test");

    public static AgentToken Make(string text)
    {
        string file = Path.GetTempFileName();
        File.WriteAllText(file, text);
        AgentToken token = AgentToken.Load(file);
        File.Delete(file);
        return token;
    }
}
