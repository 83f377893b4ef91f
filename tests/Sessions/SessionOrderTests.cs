using System.Text.Json;
using PostCopy.HandOff;
using PostCopy.Sessions;

namespace PostCopy.Tests.Sessions;

/// <summary>What an operator may order, by what the session's agent says of itself.</summary>
public sealed class SessionOrderTests : IDisposable
{
    private const string Name = "5e55";
    private const string ForTheSource = "its source to connect anew: the tasks wait for pages that are there";
    private readonly string _state = Directory.CreateTempSubdirectory("postcopy-orders-").FullName;
    private FileStream? _agent;

    private string Session => Path.Combine(_state, Name + SessionDirectory.DestinationSuffix);

    public void Dispose()
    {
        _agent?.Dispose();
        Directory.Delete(_state, recursive: true);
    }

    [Theory]
    [InlineData("")]
    [InlineData(SessionStatus.Memory)]
    public void Nothing_is_given_up_while_the_source_is_connected(string waitsFor)
    {
        Say(SessionState.Running, waitsFor);
        foreach (SessionOrder order in (SessionOrder[])[SessionOrder.Poison, SessionOrder.Kill])
        {
            SessionOrderException refusal = Refused(order);
            Assert.True(refusal.IsHandedOff && refusal.Message.Contains("it is connected", StringComparison.Ordinal), refusal.Message);
        }

        Assert.Null(SessionOrders.FindLoss(Session));
    }

    [Fact]
    public void Of_two_orders_the_first_holds_until_it_is_dropped()
    {
        Say(SessionState.Running, ForTheSource);
        Assert.Equal(SessionOrder.Kill, SessionOrders.Give(_state, Name, SessionOrder.Kill));
        Assert.Equal(SessionOrder.Kill, SessionOrders.Give(_state, Name, SessionOrder.Poison));
        Assert.Equal(SessionOrder.Kill, SessionOrders.FindLoss(Session));
        SessionOrders.DropLoss(Session);
        Assert.Equal(SessionOrder.Poison, SessionOrders.Give(_state, Name, SessionOrder.Poison));
    }

    [Fact]
    public void Without_an_agent_nobody_knows_whether_the_source_is_there()
    {
        Say(SessionState.Running, ForTheSource);
        _agent!.Dispose();
        Assert.Contains("no agent works on the session", Refused(SessionOrder.Kill).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(nameof(SessionState.Receiving))]
    [InlineData(nameof(SessionState.Building))]
    [InlineData(nameof(SessionState.Asking))]
    public void Before_the_hand_off_it_is_the_sources_to_decide(string state)
    {
        Say(Enum.Parse<SessionState>(state), "");
        foreach (SessionOrder order in Enum.GetValues<SessionOrder>())
        {
            SessionOrderException refusal = Refused(order);
            Assert.True(!refusal.IsHandedOff && refusal.Message.Contains("has not been handed off", StringComparison.Ordinal), refusal.Message);
        }
    }

    [Fact]
    public void What_is_owed_pages_is_not_forgotten_and_what_is_owed_none_loses_none()
    {
        Say(SessionState.MayRun, ForTheSource);
        Assert.True(Refused(SessionOrder.Forget).IsHandedOff);
        Say(SessionState.Complete, "its source to hear that nothing is owed any more");
        Assert.Contains("nothing is owed", Refused(SessionOrder.Poison).Message, StringComparison.Ordinal);
        Assert.False(SessionOrders.IsForgotten(Session));
        SessionOrders.Give(_state, Name, SessionOrder.Forget);
        Assert.True(SessionOrders.IsForgotten(Session));
    }

    [Fact]
    public void There_must_be_such_a_session()
    {
        Say(SessionState.Running, ForTheSource);
        Assert.Throws<SessionOrderException>(() => SessionOrders.Give(_state, "other", SessionOrder.Kill));
        Assert.Throws<ArgumentOutOfRangeException>(() => SessionOrders.Give(_state, Name, (SessionOrder)7));
    }

    /// <summary>Scripts read these words.</summary>
    [Fact]
    public void Every_state_of_either_side_has_its_word()
    {
        Assert.All(Enum.GetValues<SourceState>(), static state => AssertWord(SessionStatus.StateOf(state), state.ToString()));
        Assert.All(Enum.GetValues<DestinationState>(), static state => AssertWord(SessionStatus.StateOf(state), state.ToString()));
        Assert.All(Enum.GetValues<SessionRole>(), static role => AssertWord(role, role.ToString()));
        Assert.All(Enum.GetValues<SessionState>(), static state => AssertWord(state, state.ToString()));
    }

    private static void AssertWord<T>(T value, string name) =>
        Assert.Equal($"\"{JsonNamingPolicy.KebabCaseLower.ConvertName(name)}\"", JsonSerializer.Serialize(value));

    private SessionOrderException Refused(SessionOrder order) => Assert.Throws<SessionOrderException>(() => SessionOrders.Give(_state, Name, order));

    /// <summary>As its agent would, which holds the session's lock.</summary>
    private void Say(SessionState state, string waitsFor)
    {
        Directory.CreateDirectory(Session);
        _agent ??= SessionLock.Take(Session);
        new StatusWriter(static reason => Assert.Fail(reason)).Tell(Session, new SessionStatus
        {
            Session = Name,
            Role = SessionRole.Destination,
            Container = "web",
            State = state,
            WaitsFor = waitsFor,
            PagesOwed = 7,
        });
    }
}
