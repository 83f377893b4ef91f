using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>Programs without a container, as CRIU can dump them and restore them on another host.</summary>
internal static class BareTree
{
    /// <summary>Tries to move one to a host that has another root file system, where the programs' files are not: it is rolled back.</summary>
    public static async Task<MigrationResult> MoveInVainAsync(Lab lab, LabHost from, int pid, RunningAgent to)
    {
        await lab["b"].RunAsync("mount", "-t", "tmpfs", "tmpfs", lab.Programs);
        await using Migration migration = Migration.StartProcess(lab, from, pid, to);
        MigrationResult result = await migration.WaitAsync();
        result.Expect(ExitCode.RolledBack, "rolled-back");
        await lab["b"].RunAsync("umount", lab.Programs);
        return result;
    }

    /// <summary>Starts one in a session of its own and without a terminal, below a pid that no other host of the lab has; returns its pid.</summary>
    public static async Task<int> StartAsync(LabHost host, params string[] command)
    {
        // What the bed's own shells left open is of another mount namespace, which CRIU cannot dump.
        const string script = """
            echo $1 >/proc/sys/kernel/ns_last_pid; shift
            for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-"; done
            cd /run
            setsid "$@" </dev/null >/dev/null 2>&1 & echo $!
            """;
        string pid = await host.RunAsync(["bash", "-c", script, "bash", $"{20000 + Random.Shared.Next(10000)}", .. command]);
        return int.Parse(pid, CultureInfo.InvariantCulture);
    }
}
