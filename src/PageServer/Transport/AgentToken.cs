using System.Security.Cryptography;
using System.Text;

namespace PostCopy.Transport;

/// <summary>
/// The secret that a source and an agent share. Whoever knows it can have the agent start processes as root, so it lives in a file that only root
/// can read, and never travels: each side proves that it knows it.
/// </summary>
internal sealed class AgentToken
{
    private const int MinBytes = 16;
    private const int MaxBytes = 4096;
    private readonly byte[] _key;

    private AgentToken(byte[] key) => _key = key;

    /// <summary>For unix sockets: the permissions of the socket's file stand in for a secret.</summary>
    internal static AgentToken None { get; } = new([]);

    /// <summary>Reads the token. Throws <see cref="AgentTokenException"/> with a message for the user.</summary>
    internal static AgentToken Load(string path)
    {
        FileInfo file = new(path);
        if (!file.Exists)
        {
            throw new AgentTokenException($"there is no token in {path}: copy the file of the agent's host there (mode 0600), or name it with --token-file");
        }

        if ((file.UnixFileMode & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite)) != 0)
        {
            throw new AgentTokenException($"{path} can be read or changed by others than its owner: chmod 0600 {path}");
        }

        byte[] text = file.Length <= MaxBytes ? File.ReadAllBytes(path) : throw new AgentTokenException($"{path} has {file.Length} bytes, a token has at most {MaxBytes}");
        byte[] key = Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(text).Trim());
        return key.Length >= MinBytes ? new AgentToken(key) : throw new AgentTokenException($"the token in {path} is shorter than {MinBytes} characters");
    }

    /// <summary>Makes a random token (mode 0600) when there is none; false when there is.</summary>
    internal static bool CreateUnlessThere(string path)
    {
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
            using FileStream file = new(path, options);
            file.Write(Encoding.ASCII.GetBytes(RandomNumberGenerator.GetHexString(64, lowercase: true) + "\n"));
            return true;
        }

        return false;
    }

    /// <summary>HMAC-SHA-256 over the parts, each of a fixed length.</summary>
    internal byte[] Sign(params ReadOnlySpan<byte[]> parts)
    {
        using IncrementalHash hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _key);
        foreach (byte[] part in parts)
        {
            hash.AppendData(part);
        }

        return hash.GetHashAndReset();
    }
}

/// <summary>The token cannot be used; the message says why and what to do.</summary>
internal sealed class AgentTokenException(string message) : IOException(message);
