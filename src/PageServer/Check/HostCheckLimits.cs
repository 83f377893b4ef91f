using System.Diagnostics.CodeAnalysis;

namespace PostCopy.Check;

/// <summary>Bounds on a report that a peer sent. A report of this version has about 20 items in 10 KiB.</summary>
internal static class HostCheckLimits
{
    internal const int MaxReportBytes = 64 * 1024;
    internal const int MaxItems = 100;
    internal const int MaxIdLength = 64;
    internal const int MaxTextLength = 1024;

    /// <summary>Checks what the types do not say. The texts end up on a terminal, so no control character passes.</summary>
    internal static void Validate([NotNull] HostCheckReport? report)
    {
        if (report?.Items is null)
        {
            throw new InvalidDataException("Host report: it has no items.");
        }

        if (report.Items.Count is 0 or > MaxItems)
        {
            throw new InvalidDataException($"Host report: {report.Items.Count} items, 1 to {MaxItems} are accepted.");
        }

        HashSet<string> ids = new(StringComparer.Ordinal);
        foreach (HostCheckItem? item in report.Items)
        {
            if (item is null)
            {
                throw new InvalidDataException("Host report: an item is null.");
            }

            if (!IsId(item.Id))
            {
                throw new InvalidDataException($"Host report: id of item {ids.Count} must be kebab-case, of at most {MaxIdLength} characters.");
            }

            if (!ids.Add(item.Id))
            {
                throw new InvalidDataException($"Host report: id {item.Id} occurs twice.");
            }

            if (!Enum.IsDefined(item.Result) || (item.NeededBy & ~MigrationSides.Both) != 0)
            {
                throw new InvalidDataException($"Host report: item {item.Id}: unknown result or side.");
            }

            ValidateText(item.Id, "tried", item.Tried);
            ValidateText(item.Id, "found", item.Found);
            if (item.Result == HostCheckResult.Ok)
            {
                continue;
            }

            ValidateText(item.Id, "consequence", item.Consequence);
            ValidateText(item.Id, "cure", item.Cure);
        }
    }

    private static bool IsId(string? id) =>
        id is { Length: > 0 and <= MaxIdLength } && id.All(character => character is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-');

    private static void ValidateText(string id, string field, string? text)
    {
        if (text is not { Length: > 0 and <= MaxTextLength })
        {
            throw new InvalidDataException($"Host report: item {id}: {field} must have 1 to {MaxTextLength} characters.");
        }

        if (text.Any(char.IsControl))
        {
            throw new InvalidDataException($"Host report: item {id}: {field} has control characters.");
        }
    }
}
