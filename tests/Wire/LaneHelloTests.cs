using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

public sealed class LaneHelloTests
{
    private static readonly byte[] Nonce = [.. Enumerable.Range(0, 16).Select(static i => (byte)i)];

    private static LaneHello Hello(LaneRole role = LaneRole.Push) =>
        new(ProtocolLimits.Version, role, 4096, 7, new SessionToken(UInt128.MaxValue / 3), Nonce, new byte[LaneHello.MacBytes]);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_hello_comes_back_as_it_was(byte role)
    {
        byte[] payload = Hello((LaneRole)role).ToPayload();
        LaneHello parsed = LaneHello.Parse(payload);
        Assert.Equal(((LaneRole)role, 4096U, 7U, new SessionToken(UInt128.MaxValue / 3)), (parsed.Role, parsed.PageSizeBytes, parsed.Epoch, parsed.Session));
        Assert.Equal(payload, parsed.ToPayload());
    }

    [Fact]
    public void A_welcome_comes_back_as_it_was()
    {
        Welcome parsed = Welcome.Parse(new Welcome(2, 5, Nonce).ToPayload());
        Assert.Equal((2, 5), (parsed.OldestVersion, parsed.NewestVersion));
        Assert.Equal(Nonce, parsed.Nonce.ToArray());
    }

    [Fact]
    public void The_version_is_judged_before_anything_else()
    {
        // Another version's hello may have another length.
        Assert.Equal(WireErrorCode.Version, Assert.Throws<ProtocolException>(() => LaneHello.Parse([2, 0, 9])).Code);
        Assert.Equal(WireErrorCode.Version, Assert.Throws<ProtocolException>(() => LaneHello.Parse([])).Code);
    }

    [Fact]
    public void A_hello_of_another_shape_is_refused()
    {
        byte[] payload = Hello().ToPayload();
        Assert.Contains("length 75 is not 76", Refused([.. payload[..^1]]).Message);
        Assert.Contains("length 77 is not 76", Refused([.. payload, 0]).Message);
        foreach (byte role in (byte[])[0, 4, 255])
        {
            byte[] other = [.. payload];
            other[2] = role;
            Assert.Equal(WireErrorCode.ProtocolViolation, Refused(other).Code);
        }

        payload[3] = 1;
        Assert.Equal(WireErrorCode.ProtocolViolation, Refused(payload).Code);

        static ProtocolException Refused(byte[] bytes) => Assert.Throws<ProtocolException>(() => LaneHello.Parse(bytes));
    }

    [Fact]
    public void Whoever_does_not_begin_with_the_magic_is_no_agent()
    {
        byte[] payload = new Welcome(1, 1, Nonce).ToPayload();
        Assert.Throws<ProtocolException>(() => Welcome.Parse(payload.AsSpan(1)));
        payload[0] ^= 1;
        Assert.Throws<ProtocolException>(() => Welcome.Parse(payload));
    }

    [Fact]
    public void A_sessions_name_does_not_give_the_token_away()
    {
        SessionToken token = SessionToken.Create();
        byte[] bytes = new byte[SessionToken.Bytes];
        token.Write(bytes);
        Assert.Equal(token, SessionToken.Parse(bytes));
        Assert.Matches("^[0-9a-f]{8}$", token.Name);
        Assert.Equal(token.Name, token.ToString());
        Assert.DoesNotContain(token.Name, Convert.ToHexStringLower(bytes));
    }
}
