using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Tests.Faults;

/// <summary>A few bytes of an image can claim any amount of memory.</summary>
public sealed class OwedLimitTests
{
    [Fact]
    public void More_than_the_host_has_is_refused_before_anything_is_made_for_it()
    {
        PageRange claimed = new(0x1000_0000, (new HostMemory().Total >> PageSize.Shift) + 1);
        IOException refusal = Assert.ThrowsAny<IOException>(() => new LazyMemory([new(new ImagePid(1), [claimed])], null!, null!, NullLogger.Instance));
        Assert.Contains("the images owe", refusal.Message, StringComparison.Ordinal);
    }
}
