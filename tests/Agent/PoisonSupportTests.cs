using PostCopy.Agent;

namespace PostCopy.Tests.Agent;

public sealed class PoisonSupportTests
{
    [SkippableFact]
    public void Poison_is_there_where_the_kernel_has_it()
    {
        Skip.If(!Environment.IsPrivilegedProcess, "needs root for a userfaultfd");
        Assert.Equal(Environment.OSVersion.Version >= new Version(6, 6), PoisonSupport.IsHere);
    }
}
