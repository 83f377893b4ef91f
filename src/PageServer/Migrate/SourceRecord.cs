using System.Text.Json;
using System.Text.Json.Serialization;
using PostCopy.Linux;
using PostCopy.Sessions;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>What another process needs to go on with a migration whose process has died. In the session's directory, for root alone.</summary>
internal sealed record SourceRecord
{
    private const string FileName = "source.json";

    /// <summary>The session's token in hexadecimal: whoever knows it, and the agent's, may join the session.</summary>
    public required string Token { get; init; }

    public required MigrationOptions Options { get; init; }

    /// <summary>The latest epoch that was dialled.</summary>
    public uint Epoch { get; init; }

    /// <summary>Which boot of the destination took the container (see <see cref="BootId"/>); empty when its agent did not say.</summary>
    public string DestinationBootId { get; init; } = "";

    /// <summary>The container's first process.</summary>
    public ProcessIdentity Init { get; init; }

    /// <summary>The <c>runc checkpoint</c> that holds the dump.</summary>
    public ProcessIdentity Checkpoint { get; init; }

    /// <summary>The token. Throws <see cref="IOException"/> when the record has none.</summary>
    [JsonIgnore]
    internal SessionToken Session => SessionToken.TryFromHex(Token) ?? throw new IOException($"{FileName} has no session token: it is damaged");

    internal void Save(string directory) => SessionFile.Write(Path.Combine(directory, FileName), this, SourceRecordJson.Default.SourceRecord);

    internal static SourceRecord? TryLoad(string directory) => SessionFile.TryRead(Path.Combine(directory, FileName), SourceRecordJson.Default.SourceRecord);
}

[JsonSourceGenerationOptions(Converters = [typeof(AgentEndpointConverter)])]
[JsonSerializable(typeof(SourceRecord))]
internal sealed partial class SourceRecordJson : JsonSerializerContext;

/// <summary>An endpoint as its notation.</summary>
internal sealed class AgentEndpointConverter : JsonConverter<AgentEndpoint>
{
    public override AgentEndpoint Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        AgentEndpoint.Parse(reader.GetString() ?? throw new JsonException("an endpoint is missing"));

    public override void Write(Utf8JsonWriter writer, AgentEndpoint value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}
