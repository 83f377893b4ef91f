using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace PostCopy.Sessions;

/// <summary>Small JSON files in a session's directory, readable by root alone: replaced as a whole, so that a reader never sees half of one.</summary>
internal static class SessionFile
{
    /// <summary>No file of ours has more; what has was not written by us.</summary>
    private const int MaxBytes = 1 << 20;

    internal static void Write<T>(string path, T value, JsonTypeInfo<T> type)
    {
        FileStreamOptions options = new()
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using (FileStream file = new(path + ".new", options))
        {
            JsonSerializer.Serialize(file, value, type);
        }

        File.Move(path + ".new", path, overwrite: true);
    }

    /// <summary>Null when there is none. Throws <see cref="IOException"/> when it cannot be understood.</summary>
    internal static T? TryRead<T>(string path, JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return file.Length <= MaxBytes ? JsonSerializer.Deserialize(file, type) : throw new IOException($"{path} has {file.Length} bytes, at most {MaxBytes} are read");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is JsonException or FormatException or ArgumentException or InvalidOperationException or NotSupportedException)
        {
            throw new IOException($"{path} is damaged: {e.Message}", e);
        }
    }
}
