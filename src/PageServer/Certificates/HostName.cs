using System.Net;
using System.Security.Cryptography.X509Certificates;

namespace PostCopy.Certificates;

/// <summary>What a certificate may call a host: DNS names and addresses, in its subject alternative names (RFC 9525).</summary>
internal static class HostName
{
    /// <summary>RFC 1035, 2.3.4.</summary>
    private const int MaxNameChars = 253;

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

    /// <summary>The name or address as the certificate has it, and nothing that merely resembles it: no wildcards, no common names.</summary>
    internal static bool Matches(X509Certificate2 certificate, string host) => certificate.MatchesHostname(host, allowWildcards: false, allowCommonName: false);

    /// <summary>For messages: all the names a certificate has.</summary>
    internal static string Describe(X509Certificate2 certificate)
    {
        string[] names = [.. certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
            .SelectMany(static names => names.EnumerateDnsNames().Concat(names.EnumerateIPAddresses().Select(static address => address.ToString())))];
        return names.Length > 0 ? string.Join(", ", names) : $"nobody ({certificate.Subject})";
    }

    private static bool IsLabel(string label) =>
        label.Length is > 0 and <= 63 && label[0] != '-' && label[^1] != '-' && label.All(static c => char.IsAsciiLetterOrDigit(c) || c == '-');
}
