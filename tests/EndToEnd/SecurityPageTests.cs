using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>docs/security.md, followed to the letter on two hosts that have nothing but the program.</summary>
public sealed partial class SecurityPageTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    [SkippableFact]
    public async Task The_commands_on_the_page_set_two_hosts_up_and_move_a_container()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16);
        foreach (string name in (string[])["a", "b"])
        {
            // The hosts of the bed share /etc: each gets one of its own, for what is written there.
            await lab[name].RunAsync("sh", "-c", "mkdir -p /run/etc/up /run/etc/work && mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work /etc");
        }

        (string Host, string Command)[] commands = [.. Commands().Matches(await File.ReadAllTextAsync(Path.Combine(Repository.Root, "docs", "security.md")))
            .Select(static match => (match.Groups["host"].Value, match.Groups["command"].Value))];
        Assert.Equal(8, commands.Length);
        RunningCommand? agent = null;
        try
        {
            foreach ((string host, string command) in commands)
            {
                string line = command
                    .Replace("10.0.0.1", lab["a"].Address, StringComparison.Ordinal)
                    .Replace("10.0.0.2", lab["b"].Address, StringComparison.Ordinal)
                    .Replace("CONTAINER", walker.Container.Id, StringComparison.Ordinal)
                    .Replace("postcopy ", Repository.PostCopy + " ", StringComparison.Ordinal);
                string[] shell = ["sh", "-c", $"cd /run && {line}"];
                if (command.Contains(" agent ", StringComparison.Ordinal))
                {
                    agent = lab[host].Start("sh", "-c", $"cd /run && exec {line}");
                    await agent.WaitForOutputAsync(static started => started.Error.Contains("listening on", StringComparison.Ordinal), Limit);
                }
                // The copy between hosts goes through what both see; everything else is run as it stands there.
                else if (command.StartsWith("scp", StringComparison.Ordinal))
                {
                    foreach ((string side, string half) in CopyHalves(lab, host, command))
                    {
                        await lab[side].RunAsync("sh", "-c", half);
                    }
                }
                else
                {
                    CommandResult result = await RunningCommand.RunAsync(Limit, Repository.LabScript("host.sh"), ["run", lab.Name, host, "--", .. shell]);
                    Assert.True(result.ExitCode == 0, $"{command}: {result}");
                }
            }

            Assert.Contains("connections are encrypted", agent!.Error, StringComparison.Ordinal);
        }
        finally
        {
            if (agent is not null)
            {
                await agent.DisposeAsync();
            }
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        foreach (string name in (string[])["a", "b"])
        {
            await lab[name].RunAsync("umount", "/etc");
        }

        await lab.AssertNothingLeftAsync();
    }

    /// <summary>An scp command as two: from the one host into the shared directory, and from there into the other.</summary>
    private static (string Host, string Command)[] CopyHalves(Lab lab, string at, string command)
    {
        Match match = Copy().Match(command);
        string other = at == "a" ? "b" : "a";
        string between = $"{lab.Shared}/scp-{Guid.NewGuid():N}";
        bool away = match.Groups["to"].Value.StartsWith("root@", StringComparison.Ordinal);
        string from = match.Groups["from"].Value.Split(':')[^1];
        string to = match.Groups["to"].Value.Split(':')[^1];
        return
        [
            (away ? at : other, $"cd /run && cp -pr {from} {between}"),
            (away ? other : at, $"cd /run && cp -pr {between} {to} && rm -r {between}"),
        ];
    }

    [GeneratedRegex(@"^(?<host>[ab])# (?<command>.+)$", RegexOptions.Multiline)]
    private static partial Regex Commands();

    [GeneratedRegex(@"^scp -\w+ (?<from>\S+) (?<to>\S+)$")]
    private static partial Regex Copy();
}
