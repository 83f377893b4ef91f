using System.Text.Json.Serialization;
using PostCopy.Linux;
using PostCopy.Sessions;

namespace PostCopy.CriuServe;

/// <summary>What another process needs to go on with a frozen dump whose page server has died. In the session's directory.</summary>
internal sealed record FrozenDumpRecord
{
    private const string FileName = "page-server.json";

    public string? ContainerId { get; init; }

    public string? RuncRoot { get; init; }

    /// <summary>The first of the frozen tasks.</summary>
    public ProcessIdentity Root { get; init; }

    /// <summary>The <c>criu dump</c> or <c>runc checkpoint</c> that holds them.</summary>
    public ProcessIdentity Dump { get; init; }

    public required string ImageDirectory { get; init; }

    public required string DumpLog { get; init; }

    /// <summary>The cgroup made around a tree; null for a container, which has its own.</summary>
    public string? HoldDirectory { get; init; }

    /// <summary>Where each task of a tree was before.</summary>
    public IReadOnlyList<TaskHome> Homes { get; init; } = [];

    internal void Save(string directory) => SessionFile.Write(Path.Combine(directory, FileName), this, FrozenDumpRecordJson.Default.FrozenDumpRecord);

    internal static FrozenDumpRecord? TryLoad(string directory) => SessionFile.TryRead(Path.Combine(directory, FileName), FrozenDumpRecordJson.Default.FrozenDumpRecord);
}

[JsonSerializable(typeof(FrozenDumpRecord))]
internal sealed partial class FrozenDumpRecordJson : JsonSerializerContext;
