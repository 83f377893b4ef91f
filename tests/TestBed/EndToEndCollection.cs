// One more than CPUs: some of those that are not in the collection below mostly wait.
[assembly: CollectionBehavior(MaxParallelThreads = 3)]

namespace PostCopy.Tests.TestBed;

/// <summary>All tests that move containers: one after the other, since they share the machine's clocks and CPUs.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class EndToEndCollection
{
    public const string Name = "end to end";
}
