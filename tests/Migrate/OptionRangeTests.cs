using PostCopy.Agent;
using PostCopy.Migrate;
using PostCopy.Transport;

namespace PostCopy.Tests.Migrate;

/// <summary>What a program gets that sets options to what makes no sense: the property and its range, before anything begins.</summary>
public sealed class OptionRangeTests
{
    private static readonly MigrationOptions Good = new() { ContainerId = "web", Destination = AgentEndpoint.Parse("127.0.0.1:1") };

    public static TheoryData<string, object> OfMigrations => new()
    {
        { nameof(MigrationOptions.MaxRounds), Good with { MaxRounds = 0 } },
        { nameof(MigrationOptions.MaxPreCopy), Good with { MaxPreCopy = TimeSpan.FromTicks(-1) } },
        { nameof(MigrationOptions.MaxPreCopyRate), Good with { MaxPreCopyRate = -1 } },
        { nameof(MigrationOptions.MaxPreCopyRate), Good with { MaxPreCopyRate = double.NaN } },
        { nameof(MigrationOptions.StepDeadline), Good with { StepDeadline = TimeSpan.Zero } },
        { nameof(MigrationOptions.StepDeadline), Good with { StepDeadline = TimeSpan.MaxValue } },
        { nameof(MigrationOptions.Mode), Good with { Mode = (MigrationMode)7 } },
        { nameof(MigrationOptions.Policy), Good with { Policy = (PrefetchPolicy)7 } },
    };

    public static TheoryData<string, object> OfAgents => new()
    {
        { nameof(AgentOptions.MaxSessions), new AgentOptions { MaxSessions = 0 } },
        { nameof(AgentOptions.StagingLimit), new AgentOptions { StagingLimit = -1 } },
        { nameof(AgentOptions.OnLoss), new AgentOptions { OnLoss = (LossPolicy)7 } },
        { nameof(AgentOptions.LostAfter), new AgentOptions { LostAfter = TimeSpan.Zero } },
        { nameof(AgentOptions.StepDeadline), new AgentOptions { StepDeadline = TimeSpan.FromDays(2) } },
    };

    [Theory]
    [MemberData(nameof(OfMigrations))]
    public void A_migration_is_not_made(string property, object options) => AssertNames(property, () => _ = new ContainerMigration((MigrationOptions)options));

    [Theory]
    [MemberData(nameof(OfAgents))]
    public void An_agent_does_not_start(string property, object options) => AssertNames(property, ((AgentOptions)options).RequireSense);

    [Fact]
    public void Either_a_container_or_a_process_is_moved()
    {
        Assert.Throws<ArgumentException>(() => new ContainerMigration(Good with { ContainerId = null }));
        Assert.Throws<ArgumentException>(() => new ContainerMigration(Good with { ProcessId = 2 }));
        _ = new ContainerMigration(Good);
        _ = new ContainerMigration(Good with { ContainerId = null, ProcessId = 2 });
    }

    private static void AssertNames(string property, Action make)
    {
        ArgumentOutOfRangeException refusal = Assert.Throws<ArgumentOutOfRangeException>(make);
        Assert.Equal(property, refusal.ParamName);
        Assert.StartsWith($"{property} must be ", refusal.Message, StringComparison.Ordinal);
    }
}
