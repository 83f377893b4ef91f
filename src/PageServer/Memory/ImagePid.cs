using System.Globalization;

namespace PostCopy.Memory;

/// <summary>
/// A process as CRIU's images name it: its pid inside its own (innermost) pid namespace. It is the id of an address space on the wire and in
/// the ledgers, and never a pid that the host would understand.
/// </summary>
/// <param name="Value">The number; positive.</param>
internal readonly record struct ImagePid(int Value) : IComparable<ImagePid>
{
    /// <inheritdoc/>
    public int CompareTo(ImagePid other) => Value.CompareTo(other.Value);

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);

    /// <summary>Orders by number.</summary>
    public static bool operator <(ImagePid left, ImagePid right) => left.Value < right.Value;

    /// <summary>Orders by number.</summary>
    public static bool operator >(ImagePid left, ImagePid right) => left.Value > right.Value;

    /// <summary>Orders by number.</summary>
    public static bool operator <=(ImagePid left, ImagePid right) => left.Value <= right.Value;

    /// <summary>Orders by number.</summary>
    public static bool operator >=(ImagePid left, ImagePid right) => left.Value >= right.Value;
}
