using System.Text.Json.Serialization;
using PostCopy.Images;

namespace PostCopy.Commands;

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true)]
[JsonSerializable(typeof(ImageSummary))]
internal sealed partial class InspectJsonContext : JsonSerializerContext;
