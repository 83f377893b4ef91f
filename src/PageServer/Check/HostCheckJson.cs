using System.Text.Json;
using System.Text.Json.Serialization;

namespace PostCopy.Check;

/// <summary>Serialisation without reflection, so that it survives trimming.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = false)]
[JsonSerializable(typeof(HostCheckReport))]
internal sealed partial class HostCheckJson : JsonSerializerContext
{
    internal static HostCheckJson Indented => field ??= new(new JsonSerializerOptions(Default.Options) { WriteIndented = true });
}
