using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>The program whose memory proves itself (tests/TestPrograms/walker.c), in a container or as a plain process.</summary>
internal sealed class SceneProgram
{
    private const string Id = "dropin";
    private readonly string _directory;
    private int _commands;

    private SceneProgram(Kind kind, string directory)
    {
        Kind = kind;
        _directory = directory;
    }

    internal Kind Kind { get; }

    internal string ContainerId => Id;

    internal string Bundle { get; private set; } = "";

    /// <summary>The plain process's pid on its host.</summary>
    internal int Pid { get; private set; }

    internal static async Task<SceneProgram> StartAsync(Lab lab, LabHost host, Kind kind, int mebibytes)
    {
        SceneProgram program = new(kind, $"{lab.Shared}/walker");
        Directory.CreateDirectory(program._directory);
        if (kind == Kind.Runc)
        {
            program.Bundle = await TestBed.Bundle.MakeAsync(lab, "dropin-bundle", "host", [$"{program._directory}:/walker"], $"{lab.Programs}/walker", "/walker", $"{mebibytes}", "2");
            await Container.RunAsync(host, Id, program.Bundle);
        }
        else
        {
            // CRIU cannot dump what comes from outside the host's mount namespace: the shell's spare descriptors and its directory. The pid
            // must be free on the other host.
            string pid = await host.RunAsync("bash", "-c",
                "for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval \"exec $fd>&-\"; done; cd /run; echo 5000 >/proc/sys/kernel/ns_last_pid; "
                + "setsid \"$@\" </dev/null >/dev/null 2>&1 & echo $!",
                "bash", $"{lab.Programs}/walker", program._directory, $"{mebibytes}", "2");
            program.Pid = int.Parse(pid.Trim(), CultureInfo.InvariantCulture);
        }

        Assert.StartsWith("stats ", await program.CommandAsync("stats"), StringComparison.Ordinal);
        return program;
    }

    internal async Task VerifyAsync() => Assert.StartsWith("OK ", await CommandAsync("verify"), StringComparison.Ordinal);

    /// <summary>No number twice, none missing: it never ran in two places, and never went back.</summary>
    internal void AssertRanOn()
    {
        string[] lines = File.ReadAllLines($"{_directory}/log");
        for (int i = 0; i < lines.Length; i++)
        {
            Assert.Equal($"{i}", lines[i].Split(' ')[1]);
        }
    }

    internal int LogLines => File.ReadAllLines($"{_directory}/log").Length;

    internal async Task WaitUntilItLivesAsync()
    {
        int lines = LogLines;
        await Condition.WaitAsync(() => LogLines > lines, Scene.Limit, "another line in the program's log");
    }

    internal async Task<string> CommandAsync(string command)
    {
        string id = Send(command);
        string answer = "";
        await Condition.WaitAsync(() => IsAnswered(id, out answer), Scene.Limit, $"the program's answer to '{command}'");
        return answer;
    }

    /// <summary>Gives a command without waiting for the answer.</summary>
    internal string Send(string command)
    {
        string id = $"c{Interlocked.Increment(ref _commands)}";
        File.WriteAllText($"{_directory}/command.new", $"{id} {command}\n");
        File.Move($"{_directory}/command.new", $"{_directory}/command", overwrite: true);
        return id;
    }

    internal bool IsAnswered(string id, out string answer)
    {
        string path = $"{_directory}/answer";
        string text = File.Exists(path) ? File.ReadAllText(path) : "";
        answer = text.StartsWith($"{id} ", StringComparison.Ordinal) ? text[(id.Length + 1)..].Trim() : "";
        return answer.Length > 0;
    }
}
