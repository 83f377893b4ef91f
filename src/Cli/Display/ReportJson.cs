using System.Text.Json;
using System.Text.Json.Serialization;
using PostCopy.Migrate;
using PostCopy.PreCopy;

namespace PostCopy.Display;

/// <summary>The report as JSON: names in camelCase, enums as the command line spells them (post-copy, rolled-back).</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    Converters = [typeof(KebabEnum<MigrationOutcome>), typeof(KebabEnum<MigrationMode>), typeof(KebabEnum<PrefetchPolicy>), typeof(KebabEnum<StopReason>)])]
[JsonSerializable(typeof(MigrationReport))]
internal sealed partial class ReportJson : JsonSerializerContext;

/// <summary>An enum by its name in kebab-case.</summary>
internal sealed class KebabEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.KebabCaseLower)
    where T : struct, Enum;

/// <summary>The same word, where text is printed.</summary>
internal static class KebabWord
{
    internal static string Of<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.KebabCaseLower.ConvertName(value.ToString());
}
