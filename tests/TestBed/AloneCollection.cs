using PostCopy.Tests.TestBed;

// One more than CPUs: who moves containers mostly waits.
[assembly: CollectionBehavior(MaxParallelThreads = 3)]
[assembly: TestCollectionOrderer(LongestFirst.TypeName, LongestFirst.Assembly)]

namespace PostCopy.Tests.TestBed;

/// <summary>Tests that measure, or whose time limits are the product's: when all others have ended, one after the other.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AloneCollection
{
    public const string Name = "alone";
}
