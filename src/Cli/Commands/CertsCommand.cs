using System.CommandLine;
using System.Net;
using PostCopy.Certificates;

namespace PostCopy.Commands;

/// <summary><c>postcopy certs</c>: a small authority, so that two hosts know each other after two commands.</summary>
internal static class CertsCommand
{
    internal static Command Create() => new("certs", "Make the certificates by which hosts know each other.") { CreateInit(), CreateIssue() };

    private static Command CreateInit()
    {
        Option<string> directory = Directory("Where the authority and this host's files go.");
        Option<string> name = new("--name") { Description = "This host's name. Default: what the host calls itself.", HelpName = "NAME", DefaultValueFactory = static _ => Environment.MachineName };
        Option<IPAddress[]> addresses = Addresses();
        Command command = new("init", "Make an authority, and this host's certificate with it.") { directory, name, addresses };
        command.SetAction(parsed => Run(() =>
        {
            string where = parsed.GetRequiredValue(directory);
            TlsFiles files = CertificateAuthority.Create(where).Issue(parsed.GetRequiredValue(name), parsed.GetRequiredValue(addresses), where);
            parsed.InvocationConfiguration.Output.WriteLine($"""
                made an authority and this host's certificate in {Path.GetDirectoryName(files.Certificate)}
                its key (ca-key.pem) lets whoever has it start processes as root on every host that trusts it: keep it here
                next, for every other host: postcopy certs issue NAME --address ADDR
                """);
        }));
        return command;
    }

    private static Command CreateIssue()
    {
        Argument<string> name = new("NAME") { Description = "The host's name." };
        Option<string> directory = Directory("Where the authority is.");
        Option<string?> output = new("--out") { Description = "Where the host's files go. Default: ./NAME", HelpName = "DIR" };
        Option<IPAddress[]> addresses = Addresses();
        Command command = new("issue", "Make another host's certificate: a directory to copy there.") { name, addresses, directory, output };
        command.SetAction(parsed => Run(() =>
        {
            string host = parsed.GetRequiredValue(name);
            TlsFiles files = CertificateAuthority.Open(parsed.GetRequiredValue(directory)).Issue(host, parsed.GetRequiredValue(addresses), parsed.GetValue(output) ?? host);
            parsed.InvocationConfiguration.Output.WriteLine($"copy the directory {Path.GetDirectoryName(files.Certificate)} to {host}, as {TlsFiles.DefaultDirectory}");
        }));
        return command;
    }

    private static Option<string> Directory(string description) =>
        new("--dir") { Description = description, HelpName = "DIR", DefaultValueFactory = static _ => TlsFiles.DefaultDirectory };

    private static Option<IPAddress[]> Addresses() => new("--address")
    {
        Description = "An address by which others call the host instead of its name; may be given more than once.",
        HelpName = "ADDR",
        DefaultValueFactory = static _ => [],
        CustomParser = static result =>
        {
            List<IPAddress> addresses = [];
            foreach (string text in result.Tokens.Select(static token => token.Value))
            {
                if (IPAddress.TryParse(text, out IPAddress? address))
                {
                    addresses.Add(address);
                }
                else
                {
                    result.AddError($"'{text}' is not an IP address");
                }
            }

            return [.. addresses];
        },
    };

    private static int Run(Action make)
    {
        try
        {
            make();
            return 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"postcopy certs: {e.Message}");
            return ExitCodes.CannotHere;
        }
    }
}
