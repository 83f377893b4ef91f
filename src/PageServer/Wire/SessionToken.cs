using System.Security.Cryptography;

namespace PostCopy.Wire;

/// <summary>
/// What binds the lanes of one migration together: 128 random bits, made by the source. Whoever knows it, and the host's token, may join the
/// session. It is never logged; <see cref="Name"/> is.
/// </summary>
internal readonly record struct SessionToken(UInt128 Value)
{
    internal const int Bytes = 16;

    internal static SessionToken Create()
    {
        Span<byte> random = stackalloc byte[Bytes];
        RandomNumberGenerator.Fill(random);
        return Parse(random);
    }

    /// <summary>The session's name in logs, reports and directory names: derived from the token, which cannot be had back from it.</summary>
    internal string Name
    {
        get
        {
            Span<byte> token = stackalloc byte[Bytes];
            Write(token);
            return Convert.ToHexStringLower(SHA256.HashData(token).AsSpan(0, 4));
        }
    }

    /// <summary>The token itself, for the session's own record (0600) and nothing else.</summary>
    internal string ToHex()
    {
        Span<byte> token = stackalloc byte[Bytes];
        Write(token);
        return Convert.ToHexStringLower(token);
    }

    /// <summary>Null for anything that <see cref="ToHex"/> does not return.</summary>
    internal static SessionToken? TryFromHex(string? text) =>
        text?.Length == 2 * Bytes && text.All(char.IsAsciiHexDigitLower) ? Parse(Convert.FromHexString(text)) : null;

    internal void Write(Span<byte> destination) => System.Buffers.Binary.BinaryPrimitives.WriteUInt128BigEndian(destination, Value);

    internal static SessionToken Parse(ReadOnlySpan<byte> source) => new(System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(source));

    /// <summary>Never the value.</summary>
    public override string ToString() => Name;
}
