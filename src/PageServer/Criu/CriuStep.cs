namespace PostCopy.Criu;

/// <summary>The steps of CRIU that are told to us (CRIU's action scripts, criu(8)), with the time at which we heard of them.</summary>
/// <param name="Action">CRIU's name of the step, for example <c>post-dump</c>.</param>
/// <param name="InitPid">The root task's pid on this host, where CRIU knows it; else 0.</param>
/// <param name="AtUs">Microseconds since the epoch, our clock.</param>
internal readonly record struct CriuStep(string Action, int InitPid, long AtUs)
{
    internal const string PreDump = "pre-dump";
    internal const string NetworkLock = "network-lock";
    internal const string PostDump = "post-dump";
    internal const string PostRestore = "post-restore";
    internal const string PreResume = "pre-resume";
    internal const string PostResume = "post-resume";
}
