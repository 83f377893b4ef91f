using System.Globalization;

namespace PostCopy.Tracking;

/// <summary>What <c>/proc</c> says about whether a call can be injected into a process without a risk for it.</summary>
internal static class TargetChecks
{
    private const string UserfaultfdLink = "anon_inode:[userfaultfd]";

    /// <summary>UFFD_FEATURE_INITIALIZED as fdinfo shows it: UFFDIO_API has been done. Without that the descriptor does nothing at all.</summary>
    private const ulong Initialized = 1UL << 31;

    /// <exception cref="TrackingException">There is a risk.</exception>
    internal static void Require(int pid)
    {
        foreach (string line in File.ReadLines($"/proc/{pid}/status"))
        {
            // Mode 1 kills for every call but four. proc_pid_status(5).
            if (line.StartsWith("Seccomp:", StringComparison.Ordinal) && line.EndsWith("\t1", StringComparison.Ordinal))
            {
                throw new TrackingException($"process {pid} is in seccomp's strict mode");
            }

            if (line.StartsWith("x86_Thread_features:", StringComparison.Ordinal) && line.Contains("shstk", StringComparison.Ordinal))
            {
                throw new TrackingException($"process {pid} has a shadow stack");
            }

            if (line.StartsWith("TracerPid:", StringComparison.Ordinal) && !line.EndsWith("\t0", StringComparison.Ordinal))
            {
                throw new TrackingException($"process {pid} is traced already");
            }
        }
    }

    /// <summary>
    /// Filters are suspended while we trace; should we die just then, they judge the calls by which the stopped thread comes back. They may refuse the one that is
    /// injected; the others they must allow.
    /// </summary>
    internal static void RequireFiltersAllow(int tid, ulong instruction, ulong call, ulong argument, params ReadOnlySpan<ulong> wayBack)
    {
        foreach (byte[] filter in Ptrace.GetSeccompFilters(tid))
        {
            bool safe = SeccompFilter.ActionFor(filter, (int)call, instruction, argument) is SeccompFilter.Allow or SeccompFilter.Log or SeccompFilter.Errno;
            foreach (ulong number in wayBack)
            {
                safe &= SeccompFilter.ActionFor(filter, (int)number, instruction, 0) is SeccompFilter.Allow or SeccompFilter.Log;
            }

            if (!safe)
            {
                throw new TrackingException($"process {tid} has a seccomp filter that could kill it for the injected call");
            }
        }
    }

    /// <summary>The userfaultfds in a process's table, and which of them were never put to use.</summary>
    internal static List<(int Descriptor, bool IsInert)> UserfaultfdsOf(int pid)
    {
        List<(int, bool)> found = [];
        foreach (FileInfo file in new DirectoryInfo($"/proc/{pid}/fd").EnumerateFiles())
        {
            if (file.LinkTarget == UserfaultfdLink)
            {
                found.Add((int.Parse(file.Name, CultureInfo.InvariantCulture), IsInert(pid, file.Name)));
            }
        }

        return found;
    }

    /// <summary>Whether there is one that an injector may have left.</summary>
    internal static bool HasLeftover(int pid) => UserfaultfdsOf(pid).Exists(static found => found.IsInert);

    /// <summary>"API:	aa:8000004e:1ff": what was asked for, features, ioctls.</summary>
    private static bool IsInert(int pid, string descriptor)
    {
        string? api = File.ReadLines($"/proc/{pid}/fdinfo/{descriptor}").FirstOrDefault(static line => line.StartsWith("API:", StringComparison.Ordinal));
        return api?.Split(':') is [_, _, var features, _]
            && ulong.TryParse(features, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong bits)
            && (bits & Initialized) == 0;
    }
}
