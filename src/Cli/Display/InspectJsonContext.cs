using System.Text.Json.Serialization;
using PostCopy.Images;

namespace PostCopy.Display;

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    Converters = [typeof(KebabEnum<EagerReason>), typeof(KebabEnum<ImageNetworkLock>), typeof(KebabEnum<ImageTaskState>)])]
[JsonSerializable(typeof(ImageSummary))]
internal sealed partial class InspectJsonContext : JsonSerializerContext;
