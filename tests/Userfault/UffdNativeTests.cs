using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PostCopy.Linux;
using PostCopy.Userfault;

namespace PostCopy.Tests.Userfault;

/// <summary>Layouts of linux/userfaultfd.h, which the ioctl numbers repeat: bits 16 to 29 are the argument's size.</summary>
public sealed class UffdNativeTests
{
    [Theory]
    [InlineData(typeof(UffdNative.uffdio_range), 16, UffdNative.UFFDIO_WAKE)]
    [InlineData(typeof(UffdNative.uffdio_range), 16, UffdNative.UFFDIO_UNREGISTER)]
    [InlineData(typeof(UffdCalls.uffdio_copy), 40, UffdCalls.UFFDIO_COPY)]
    [InlineData(typeof(UffdNative.uffdio_zeropage), 32, UffdNative.UFFDIO_ZEROPAGE)]
    [InlineData(typeof(UffdNative.uffdio_poison), 32, UffdNative.UFFDIO_POISON)]
    public void Arguments_have_the_size_their_ioctl_names(Type argument, int bytes, uint ioctl)
    {
        Assert.Equal(bytes, Marshal.SizeOf(argument));
        Assert.Equal((uint)bytes, (ioctl >> 16) & 0x3fff);
    }

    [Fact]
    public void Answers_are_the_last_field()
    {
        Assert.Equal(32, Marshal.OffsetOf<UffdCalls.uffdio_copy>(nameof(UffdCalls.uffdio_copy.copy)));
        Assert.Equal(24, Marshal.OffsetOf<UffdNative.uffdio_zeropage>(nameof(UffdNative.uffdio_zeropage.zeropage)));
        Assert.Equal(24, Marshal.OffsetOf<UffdNative.uffdio_poison>(nameof(UffdNative.uffdio_poison.updated)));
    }

    [Fact]
    public void Messages_lie_as_the_kernel_writes_them()
    {
        Assert.Equal(32, Unsafe.SizeOf<UffdEvent>());
        Span<ulong> words = [0x14, 1, 2, 3];
        UffdEvent message = MemoryMarshal.Cast<ulong, UffdEvent>(words)[0];
        Assert.Equal(UffdEventKind.Remap, message.Kind);
        Assert.Equal((1UL, 2UL, 3UL), (message.RemapFrom, message.RemapTo, message.RemapBytes));
        Assert.Equal((1UL, 2UL), (message.Start, message.EndExclusive));
        Assert.Equal((1, 2UL), (message.ForkedDescriptor, message.FaultAddress));
    }
}
