namespace PostCopy.Tests.TestBed;

/// <summary>All tests that move containers: one after the other, since they share the machine's clocks and CPUs.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class EndToEndCollection
{
    public const string Name = "end to end";
}

/// <summary>Those that mostly wait, for a silence to be noticed or for patience to end: beside the tests of single parts.</summary>
[CollectionDefinition(Name)]
public sealed class WaitingCollection
{
    public const string Name = "waiting";
}
