using System.CommandLine;
using PostCopy.Certificates;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary>The options that name a host's certificate and whom it trusts, the same for every command that connects or listens.</summary>
internal sealed class TlsOptions
{
    internal TlsOptions(Command command)
    {
        command.Add(Authority);
        command.Add(Certificate);
        command.Add(Key);
    }

    private Option<string?> Authority { get; } = new("--tls-ca") { Description = $"Authorities whose hosts are trusted. {Default}", HelpName = "FILE" };

    private Option<string?> Certificate { get; } = new("--tls-cert") { Description = $"This host's certificate. {Default}", HelpName = "FILE" };

    private Option<string?> Key { get; } = new("--tls-key") { Description = $"Its private key (0600). {Default}", HelpName = "FILE" };

    private static string Default => $"Default: in {TlsFiles.DefaultDirectory}.";

    /// <summary>
    /// The files in force. When none are named, those in the default directory are used for other machines, if they exist and nobody asked for
    /// --insecure. Full paths: whoever goes on with a session later may do that from another directory.
    /// </summary>
    internal TlsFiles? Read(ParseResult parsed, AgentEndpoint endpoint, bool insecure)
    {
        TlsFiles usual = TlsFiles.InDirectory(TlsFiles.DefaultDirectory);
        string? authority = parsed.GetValue(Authority);
        string? certificate = parsed.GetValue(Certificate);
        string? key = parsed.GetValue(Key);
        bool named = (authority ?? certificate ?? key) is not null;
        return named || (!insecure && !endpoint.IsLocal && File.Exists(usual.Certificate))
            ? new TlsFiles(Path.GetFullPath(authority ?? usual.Authority), Path.GetFullPath(certificate ?? usual.Certificate), Path.GetFullPath(key ?? usual.Key))
            : null;
    }

    /// <summary>Has the command line refused when it asks for encryption and for none.</summary>
    internal void Exclude(Command command, Option<bool> insecure) => command.Validators.Add(result =>
    {
        if (result.GetValue(insecure) && (result.GetValue(Authority) ?? result.GetValue(Certificate) ?? result.GetValue(Key)) is not null)
        {
            result.AddError("--insecure says that nothing is encrypted, --tls-... that everything is: leave one out");
        }
    });
}
