using System.Net;
using System.Text;
using Mono.Unix.Native;
using PostCopy.Certificates;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;

namespace PostCopy.Tests.EndToEnd;

/// <summary>What must not be seen, looked for in everything that others could see while containers move, over TLS and with checksums.</summary>
public sealed class SecretsTests
{
    [SkippableFact]
    public async Task Secrets_stay_where_they_are_while_a_container_moves()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        using TlsHosts hosts = new();
        string[] tlsA = Options(hosts.Issue("a", null, IPAddress.Parse(lab["a"].Address)));
        string[] tlsB = Options(hosts.Issue("b", null, IPAddress.Parse(lab["b"].Address)));
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 64);
        string logs;
        string token;
        await using (RunningAgent agent = await lab["b"].StartAgentAsync([.. tlsB, "--allow", "a", "--verbose"]))
        {
            token = await File.ReadAllTextAsync(agent.TokenFile);
            Spy spy = new(lab, token, await File.ReadAllTextAsync(tlsA[^1]), await File.ReadAllTextAsync(tlsB[^1]));
            await using Migration migration = Migration.Start(lab, lab["a"], walker.Container.Id, agent.Endpoint, agent.TokenFile, [.. tlsA, "--verify", "--verbose"]);
            Task<MigrationResult> moving = migration.WaitAsync();
            while (!moving.IsCompleted)
            {
                spy.Look();
                await Task.Yield();
            }

            MigrationResult result = await moving;
            result.Expect(ExitCode.Moved, "moved");
            spy.AssertNothingFound();

            // A token that does not do, a certificate that does not do, and their explanations.
            string wrong = RunningAgent.WriteToken(lab, "wrong-token");
            MigrationResult refused = await RefusedAsync(lab, agent, walker, wrong, tlsA);
            Assert.Contains("the token is not the one this agent knows", refused.Error, StringComparison.Ordinal);
            string[] another = Options(hosts.Issue("c", null, IPAddress.Parse(lab["a"].Address)));
            MigrationResult notAllowed = await RefusedAsync(lab, agent, walker, agent.TokenFile, another);
            Assert.Contains("whom this agent does not allow (--allow)", notAllowed.Error, StringComparison.Ordinal);
            MigrationResult bare = await RefusedAsync(lab, agent, walker, agent.TokenFile);
            Assert.Contains("accepts encrypted connections only", bare.Error, StringComparison.Ordinal);
            logs = string.Concat(result.Command, refused.Command, notAllowed.Command, bare.Command, agent.Process.Output, agent.Process.Error, await File.ReadAllTextAsync(wrong));
            logs = logs.Replace(await File.ReadAllTextAsync(wrong), "", StringComparison.Ordinal) + refused.Command;
            Assert.DoesNotContain(await File.ReadAllTextAsync(wrong), refused.Command.ToString(), StringComparison.Ordinal);
            foreach (string said in (string[])["the token is not the one", "does not allow", "accepts encrypted connections only"])
            {
                Assert.Contains(said, agent.Process.Error, StringComparison.Ordinal);
            }
        }

        Assert.DoesNotContain(token, logs, StringComparison.Ordinal);
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    private static string[] Options(TlsFiles files) => ["--tls-ca", files.Authority, "--tls-cert", files.Certificate, "--tls-key", files.Key];

    private static async Task<MigrationResult> RefusedAsync(Lab lab, RunningAgent agent, Walker walker, string tokenFile, params string[] tls)
    {
        // The container is on b by now; a second one on a is not needed to be refused at the door.
        await using Migration migration = Migration.Start(lab, lab["b"], walker.Container.Id, agent.Endpoint, tokenFile, tls);
        MigrationResult result = await migration.WaitAsync();
        Assert.Equal(ExitCode.Cannot, result.ExitCode);
        return result;
    }

    /// <summary>Looks at every process and every file that sessions make, again and again.</summary>
    private sealed class Spy(Lab lab, params string[] secrets)
    {
        private readonly HashSet<string> _found = [];
        private int _sessions;

        public void Look()
        {
            foreach (string process in Directory.EnumerateDirectories("/proc").Where(static path => char.IsAsciiDigit(path[6])))
            {
                string arguments = TryRead($"{process}/cmdline");
                if (secrets.Any(secret => arguments.Contains(secret.Trim(), StringComparison.Ordinal)))
                {
                    _found.Add($"arguments: {arguments}");
                }
            }

            foreach (string host in (string[])["a", "b"])
            {
                string state = $"{lab[host].Root}/run/postcopy";
                if (Directory.Exists(state))
                {
                    LookInto(new DirectoryInfo(state), depth: 0);
                }
            }
        }

        public void AssertNothingFound()
        {
            Assert.True(_found.Count == 0, string.Join(", ", _found));
            Assert.True(_sessions > 10, "no session was seen");
        }

        private static bool IsOpenToOthers(FileSystemInfo entry)
        {
            const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute
                | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;
            // -1: gone while it was looked at.
            return entry.UnixFileMode is var mode && (int)mode != -1 && (mode & Others) != 0;
        }

        private void LookInto(DirectoryInfo directory, int depth)
        {
            try
            {
                if (depth <= 1 && IsOpenToOthers(directory))
                {
                    _found.Add($"{directory.FullName} is {directory.UnixFileMode}");
                }

                foreach (FileSystemInfo entry in directory.EnumerateFileSystemInfos())
                {
                    _sessions++;
                    bool secret = entry.FullName.Contains("/images/", StringComparison.Ordinal) || entry.Extension == ".socket";
                    if (secret && IsOpenToOthers(entry))
                    {
                        _found.Add($"{entry.FullName} is {entry.UnixFileMode}");
                    }

                    if (entry is DirectoryInfo below)
                    {
                        LookInto(below, depth + 1);
                    }
                    else if (entry is FileInfo { Length: < 1 << 20 } && entry.Extension is ".log" or ".conf" or ".sh" or "")
                    {
                        string text = TryRead(entry.FullName);
                        if (secrets.Any(s => text.Contains(s.Trim(), StringComparison.Ordinal)))
                        {
                            _found.Add($"{entry.FullName} holds a secret");
                        }
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Gone while it was looked at.
            }
        }

        private static string TryRead(string path)
        {
            try
            {
                // Regular files only: opening a FIFO waits for its other end, perhaps for ever.
                return Syscall.lstat(path, out Stat stat) == 0 && (stat.st_mode & FilePermissions.S_IFMT) == FilePermissions.S_IFREG
                    ? Encoding.UTF8.GetString(File.ReadAllBytes(path))
                    : "";
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return "";
            }
        }
    }
}
