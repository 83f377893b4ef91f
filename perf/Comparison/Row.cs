namespace PostCopy.Perf.Comparison;

/// <summary>One line of the result: medians of all pairs, ours and the reference's, in the same unit.</summary>
/// <param name="Measure">What was measured.</param>
/// <param name="Unit">Of both numbers.</param>
/// <param name="Ours">Median.</param>
/// <param name="Reference">Median; null where there is nothing to compare with.</param>
/// <param name="ReferenceName">What the reference is.</param>
/// <param name="Goal">What ours / reference is to be; null where the number is only shown.</param>
internal sealed record Row(string Measure, string Unit, double Ours, double? Reference, string ReferenceName, Goal? Goal)
{
    public double? Ratio => Reference is > 0 ? Ours / Reference : null;

    public bool? IsMet => Goal is { } goal && Ratio is { } ratio ? goal.IsMetBy(ratio) : null;
}

/// <summary>A bound for ours / reference.</summary>
internal readonly record struct Goal(double Bound, bool IsUpperBound)
{
    public static Goal AtMost(double ratio) => new(ratio, IsUpperBound: true);

    public static Goal AtLeast(double ratio) => new(ratio, IsUpperBound: false);

    public bool IsMetBy(double ratio) => IsUpperBound ? ratio <= Bound : ratio >= Bound;

    public override string ToString() => $"{(IsUpperBound ? "≤" : "≥")} {Bound:0.##}";
}
