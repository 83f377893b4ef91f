using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace PostCopy.Perf.Comparison;

/// <summary>The result, for people and for programs.</summary>
internal static class Results
{
    private static readonly JsonSerializerOptions Indented = new(JsonSerializerDefaults.Web) { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Markdown(Machine machine, string options, IReadOnlyDictionary<string, IReadOnlyList<Row>> parts)
    {
        StringBuilder table = new();
        table.AppendLine("| measure | ours | reference | ratio | goal |");
        table.AppendLine("|---|---:|---:|---:|---|");
        foreach (Row row in parts.SelectMany(static part => part.Value))
        {
            string reference = row.Reference is { } value ? $"{Number(value)} {row.Unit} ({row.ReferenceName})" : "";
            string ratio = row.Ratio is { } r ? $"{r:0.00}" : "";
            string goal = row.Goal is { } g ? $"{g} {(row.IsMet switch { true => "met", false => "**missed**", null => "" })}" : "";
            table.AppendLine($"| {row.Measure} | {Number(row.Ours)} {row.Unit} | {reference} | {ratio} | {goal} |");
        }

        table.AppendLine();
        table.AppendLine($"`eng/bench.sh{options}` on {machine}. Medians of interleaved runs, of one each in part large; a run counts when every byte was right.");
        return table.ToString();
    }

    public static string Json(Machine machine, bool quick, IReadOnlyDictionary<string, IReadOnlyList<Row>> parts) => JsonSerializer.Serialize(
        new
        {
            machine,
            quick,
            rows = parts.SelectMany(static part => part.Value, static (part, row) => new { Part = part.Key, row.Measure, row.Unit, row.Ours, row.Reference, row.ReferenceName, row.Ratio, Goal = row.Goal?.ToString(), row.IsMet }),
        },
        Indented);

    private static string Number(double value) => Math.Abs(value) switch
    {
        0 => "0",
        < 10 => $"{value:0.00}",
        < 100 => $"{value:0.0}",
        _ => $"{value:0}",
    };
}
