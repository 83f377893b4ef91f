using System.Text.Json.Serialization;
using PostCopy.Linux;
using PostCopy.Sessions;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>What another agent needs to go on with a session whose agent has died. In the session's directory, for root alone.</summary>
internal sealed record DestinationRecord
{
    private const string FileName = "destination.json";

    /// <summary>The session's token in hexadecimal.</summary>
    public required string Token { get; init; }

    /// <summary>What the source announced: the protobuf message Prepare.</summary>
    public required byte[] Prepare { get; init; }

    public string Peer { get; init; } = "";

    /// <summary>The <c>runc restore</c> that builds the copy.</summary>
    public ProcessIdentity Restore { get; init; }

    /// <summary>The container's first process, once it waits at the fence.</summary>
    public ProcessIdentity Init { get; init; }

    /// <summary>The token. Throws <see cref="IOException"/> when the record has none.</summary>
    [JsonIgnore]
    internal SessionToken Session => SessionToken.TryFromHex(Token) ?? throw new IOException($"{FileName} has no session token: it is damaged");

    internal void Save(string directory) => SessionFile.Write(Path.Combine(directory, FileName), this, DestinationRecordJson.Default.DestinationRecord);

    internal static DestinationRecord? TryLoad(string directory) =>
        SessionFile.TryRead(Path.Combine(directory, FileName), DestinationRecordJson.Default.DestinationRecord);
}

[JsonSerializable(typeof(DestinationRecord))]
internal sealed partial class DestinationRecordJson : JsonSerializerContext;
