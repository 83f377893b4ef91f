namespace PostCopy.Pages;

/// <summary>Finds processes whose memory is still being filled through a userfaultfd.</summary>
internal static class ArrivingMemory
{
    /// <summary>
    /// The first process of a tree that has a mapping registered for missing pages (<c>um</c> in VmFlags, proc_pid_smaps(5)); null when none has. CRIU
    /// would take what is missing for memory that was never touched, dump without it and report success.
    /// </summary>
    internal static int? FirstIn(int rootPid)
    {
        foreach (int pid in TaskTree.Map(rootPid).Values)
        {
            try
            {
                if (File.ReadLines($"/proc/{pid}/smaps").Any(static line => line.StartsWith("VmFlags:", StringComparison.Ordinal) && line.Contains(" um", StringComparison.Ordinal)))
                {
                    return pid;
                }
            }
            catch (IOException) when (TaskTree.HasEnded(pid))
            {
                // It has ended.
            }
        }

        return null;
    }
}
