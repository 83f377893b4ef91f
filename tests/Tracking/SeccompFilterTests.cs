using PostCopy.Tracking;

namespace PostCopy.Tests.Tracking;

public sealed class SeccompFilterTests
{
    private const uint Kill = 0x80000000;

    [Theory]
    [InlineData(323, SeccompFilter.Errno)]
    [InlineData(15, SeccompFilter.Allow)]
    [InlineData(59, Kill)]
    public void The_action_is_that_of_the_program(int number, uint action)
    {
        // ld arch; jeq x86-64, else kill; ld nr; jeq userfaultfd: errno; jge 56: kill; ret allow
        byte[] program =
        [
            .. Instruction(0x20, 0, 0, 4), .. Instruction(0x15, 1, 0, 0xc000003e), .. Instruction(0x06, 0, 0, Kill), .. Instruction(0x20, 0, 0, 0),
            .. Instruction(0x15, 0, 1, 323), .. Instruction(0x06, 0, 0, SeccompFilter.Errno | 1), .. Instruction(0x35, 0, 1, 56), .. Instruction(0x06, 0, 0, Kill),
            .. Instruction(0x06, 0, 0, SeccompFilter.Allow),
        ];
        Assert.Equal(action, SeccompFilter.ActionFor(program, number, 0x1000, 0));
    }

    [Fact]
    public void Words_of_arguments_calculations_and_scratch_memory_count()
    {
        // ld low word of the first argument; and #6; st M[3]; ldx M[3]; txa; jeq 6: allow
        byte[] program =
        [
            .. Instruction(0x20, 0, 0, 16), .. Instruction(0x54, 0, 0, 6), .. Instruction(0x02, 0, 0, 3), .. Instruction(0x61, 0, 0, 3), .. Instruction(0x87, 0, 0, 0),
            .. Instruction(0x15, 0, 1, 6), .. Instruction(0x06, 0, 0, SeccompFilter.Allow), .. Instruction(0x06, 0, 0, Kill),
        ];
        Assert.Equal(SeccompFilter.Allow, SeccompFilter.ActionFor(program, 3, 0, 15));
        Assert.Equal(Kill, SeccompFilter.ActionFor(program, 3, 0, 8));
    }

    [Theory]
    [InlineData(0x20, 61u)]
    [InlineData(0x60, 16u)]
    [InlineData(0xff, 0u)]
    public void What_no_filter_has_means_no_answer(ushort code, uint k) => Assert.Null(SeccompFilter.ActionFor(Instruction(code, 0, 0, k), 3, 0, 0));

    private static byte[] Instruction(ushort code, byte whenTrue, byte whenFalse, uint k) => [.. BitConverter.GetBytes(code), whenTrue, whenFalse, .. BitConverter.GetBytes(k)];
}
