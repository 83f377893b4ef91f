namespace PostCopy.Keeper;

/// <summary>
/// Service managers kill a service's whole cgroup. A keeper moves to a cgroup of its own at the root of the hierarchy where it is permitted; where
/// not, the service must not kill more than its main process (KillMode=process, systemd.kill(5)).
/// </summary>
internal static class KeeperCgroup
{
    private static readonly string[] Cgroups = ["/sys/fs/cgroup/postcopy-keeper", "/sys/fs/cgroup/unified/postcopy-keeper", "/sys/fs/cgroup/systemd/postcopy-keeper"];

    internal static void Enter()
    {
        foreach (string cgroup in Cgroups)
        {
            try
            {
                if (File.Exists(Path.Combine(Path.GetDirectoryName(cgroup)!, "cgroup.procs")))
                {
                    Directory.CreateDirectory(cgroup);
                    File.WriteAllText(Path.Combine(cgroup, "cgroup.procs"), "0");
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Not permitted here: it stays in its service's cgroup, see above.
            }
        }
    }

    /// <summary>Goes back to the root, and removes the cgroups unless another keeper is in them.</summary>
    internal static void Leave()
    {
        foreach (string cgroup in Cgroups.Where(Directory.Exists))
        {
            try
            {
                File.WriteAllText(Path.Combine(Path.GetDirectoryName(cgroup)!, "cgroup.procs"), "0");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Then it cannot be removed either, see below.
            }
        }

        RemoveIfEmpty();
    }

    /// <summary>For an agent whose keeper did not come to it.</summary>
    internal static void RemoveIfEmpty()
    {
        foreach (string cgroup in Cgroups.Where(Directory.Exists))
        {
            try
            {
                Directory.Delete(cgroup);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // EBUSY: another keeper's.
            }
        }
    }
}
