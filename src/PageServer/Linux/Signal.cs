namespace PostCopy.Linux;

/// <summary>The signals this program sends, or names when a child died of one (signal(7), x86-64 and arm64 agree on these).</summary>
internal enum Signal
{
    SIGHUP = 1,
    SIGINT = 2,
    SIGABRT = 6,
    SIGBUS = 7,
    SIGKILL = 9,
    SIGSEGV = 11,
    SIGPIPE = 13,
    SIGTERM = 15,
    SIGCONT = 18,
    SIGSTOP = 19,
    SIGSYS = 31,
}
