namespace PostCopy.Tests.TestBed;

/// <summary>Whether containers can be moved on this machine, and if not, why.</summary>
internal static class Bed
{
    /// <summary>For tests that use runc and CRIU alone.</summary>
    public static void Require()
    {
        Skip.If(!Environment.IsPrivilegedProcess, "needs root: containers are checkpointed and restored");
        foreach (string tool in (string[])["runc", "unshare", "nsenter", "ip", "iptables-save", "nft", "busybox", "gcc"])
        {
            Skip.IfNot(IsOnPath(tool), $"needs {tool}: eng/setup.sh test installs it");
        }

        Skip.IfNot(File.Exists("/opt/postcopy/bin/criu") || IsOnPath("criu"), "needs CRIU: eng/setup.sh test installs it");
        Skip.IfNot(File.Exists("/proc/self/ns/time"), "needs time namespaces: Linux 5.6");
    }

    /// <summary>For tests of postcopy itself.</summary>
    public static void RequirePostCopy()
    {
        Require();
        Skip.IfNot(File.Exists(Repository.PostCopy), $"needs {Repository.PostCopy}: eng/build.sh makes it");
    }

    private static bool IsOnPath(string tool) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':').Any(directory => File.Exists(Path.Combine(directory, tool)));
}
