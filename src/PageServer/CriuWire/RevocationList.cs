using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace PostCopy.CriuWire;

/// <summary>
/// An authority's list of certificates it takes back (X.509 CRL, RFC 5280 section 5), from a file of this host. .NET fetches such lists over the
/// network and cannot be given one. A list counts for the certificates of its issuer, and one that is out of date refuses all of them. Its signature
/// is not checked: like the authority's certificate beside it, the file is the administrator's word.
/// </summary>
internal sealed class RevocationList
{
    private const string PemLabel = "X509 CRL";

    private readonly byte[] _issuer;
    private readonly DateTimeOffset? _nextUpdate;
    private readonly HashSet<string> _serials = [];

    private RevocationList(byte[] encoded)
    {
        // CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signature }
        AsnReader list = new AsnReader(encoded, AsnEncodingRules.DER).ReadSequence().ReadSequence();
        if (list.PeekTag().HasSameClassAndValue(Asn1Tag.Integer))
        {
            _ = list.ReadInteger();
        }

        _ = list.ReadEncodedValue();
        _issuer = list.ReadEncodedValue().ToArray();
        _ = ReadTime(list);
        if (list.HasData && IsTime(list.PeekTag()))
        {
            _nextUpdate = ReadTime(list);
        }

        if (list.HasData && list.PeekTag().HasSameClassAndValue(Asn1Tag.Sequence))
        {
            AsnReader entries = list.ReadSequence();
            while (entries.HasData)
            {
                _serials.Add(Convert.ToHexString(entries.ReadSequence().ReadIntegerBytes().Span));
            }
        }
    }

    /// <summary>Reads all lists in a PEM file. Throws <see cref="IOException"/> when there is none, or one that is damaged.</summary>
    internal static IReadOnlyList<RevocationList> ReadFile(string path)
    {
        string text = File.ReadAllText(path);
        List<RevocationList> lists = [];
        try
        {
            for (int from = 0; PemEncoding.TryFind(text.AsSpan(from), out PemFields fields); from += fields.Location.End.Value)
            {
                ReadOnlySpan<char> rest = text.AsSpan(from);
                if (rest[fields.Label].SequenceEqual(PemLabel))
                {
                    lists.Add(new RevocationList(Convert.FromBase64String(rest[fields.Base64Data].ToString())));
                }
            }
        }
        catch (Exception e) when (e is AsnContentException or CryptographicException or FormatException)
        {
            throw new IOException($"TLS: {path} cannot be used: {e.Message}", e);
        }

        return lists.Count > 0 ? lists : throw new IOException($"TLS: {path} cannot be used: there is no '{PemLabel}' in it");
    }

    /// <summary>Whether the issuer of this certificate has taken it back, or this list is too old to know.</summary>
    internal bool Refuses(X509Certificate2 certificate, DateTimeOffset now) =>
        certificate.IssuerName.RawData.AsSpan().SequenceEqual(_issuer)
        && (now > _nextUpdate || _serials.Contains(Convert.ToHexString(certificate.SerialNumberBytes.Span)));

    private static bool IsTime(Asn1Tag tag) => tag.HasSameClassAndValue(Asn1Tag.UtcTime) || tag.HasSameClassAndValue(Asn1Tag.GeneralizedTime);

    private static DateTimeOffset ReadTime(AsnReader reader) =>
        reader.PeekTag().HasSameClassAndValue(Asn1Tag.UtcTime) ? reader.ReadUtcTime() : reader.ReadGeneralizedTime();
}
