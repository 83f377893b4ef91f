using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace PostCopy.Certificates;

/// <summary>What a certificate may call a host: DNS names and addresses, in its subject alternative names (RFC 9525).</summary>
internal static class HostName
{
    /// <summary>RFC 1035, 2.3.4.</summary>
    private const int MaxNameChars = 253;

    /// <summary>A host has one name and an address or two.</summary>
    private const int MaxDescribed = 8;

    /// <summary>Throws <see cref="CertificateException"/> unless it is a DNS name of plain labels: no wildcard, no address.</summary>
    internal static string Require(string name) =>
        name.Length <= MaxNameChars && !IPAddress.TryParse(name, out _) && name.Split('.').All(IsLabel)
            ? name
            : throw new CertificateException($"'{name}' is not a host's name: labels of letters, digits and hyphens, with dots between. Addresses are given with --address");

    internal static SubjectAlternativeNameBuilder Names(string name, IEnumerable<IPAddress> addresses)
    {
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName(Require(name));
        foreach (IPAddress address in addresses)
        {
            names.AddIpAddress(address);
        }

        return names;
    }

    /// <summary>Throws <see cref="CertificateException"/> unless it is a name or an address that certificates can be compared with: no pattern.</summary>
    /// <param name="text">The name.</param>
    /// <param name="option">Where it was given.</param>
    internal static string RequireNameOrAddress(string text, string option) =>
        Uri.CheckHostName(text) is UriHostNameType.Dns or UriHostNameType.IPv4 or UriHostNameType.IPv6
            ? text
            : throw new CertificateException($"{option}: '{text}' is neither a host's name nor an address. Names count exactly as they stand in certificates: there are no patterns");

    /// <summary>The name or address as the certificate has it, and nothing that merely resembles it: no wildcards, no common names.</summary>
    internal static bool Matches(X509Certificate2 certificate, string host) => certificate.MatchesHostname(host, allowWildcards: false, allowCommonName: false);

    /// <summary>For messages: the first names that a certificate has. Whoever shows one has chosen them, and need not have proved anything.</summary>
    internal static string Describe(X509Certificate2 certificate)
    {
        try
        {
            string[] names = [.. certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
                .SelectMany(static names => names.EnumerateDnsNames().Concat(names.EnumerateIPAddresses().Select(static address => address.ToString())))
                .Take(MaxDescribed + 1)];
            return names.Length == 0
                ? $"nobody ({certificate.Subject})"
                : string.Join(", ", names.Take(MaxDescribed)) + (names.Length > MaxDescribed ? " and others" : "");
        }
        catch (CryptographicException)
        {
            return "names that cannot be read";
        }
    }

    private static bool IsLabel(string label) =>
        label.Length is > 0 and <= 63 && label[0] != '-' && label[^1] != '-' && label.All(static c => char.IsAsciiLetterOrDigit(c) || c == '-');
}
