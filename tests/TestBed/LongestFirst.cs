using System.Reflection;
using Xunit.Abstractions;

namespace PostCopy.Tests.TestBed;

/// <summary>Classes that move containers begin first, those with most cases before the others: a long one at the end would run alone.</summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    public const string TypeName = "PostCopy.Tests.TestBed.LongestFirst";
    public const string Assembly = "PostCopy.Tests";

    private static readonly string[] Rooms = ["PostCopy.Tests.EndToEnd.", "PostCopy.Tests.Recovery.", "PostCopy.Tests.DropIn."];

    public IEnumerable<ITestCollection> OrderTestCollections(IEnumerable<ITestCollection> testCollections) => testCollections.OrderByDescending(Weight);

    private static int Weight(ITestCollection collection) =>
        // A class without a collection is one of its own, which bears its name.
        typeof(LongestFirst).Assembly.GetType(collection.DisplayName.Split(' ')[^1]) is { } type && Rooms.Any(type.FullName!.StartsWith)
            ? type.GetMethods().Where(static method => method.IsDefined(typeof(FactAttribute))).Sum(static method => Math.Max(1, method.GetCustomAttributes<InlineDataAttribute>().Count()))
            : 0;
}
