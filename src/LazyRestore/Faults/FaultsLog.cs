using Microsoft.Extensions.Logging;
using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>Log messages of the destination's memory, ids 2100 to 2199.</summary>
internal static partial class FaultsLog
{
    [LoggerMessage(2100, LogLevel.Error, "page {DumpAddress:x} of process {Pid} is owed, but cannot be installed at {Address:x}; it stays owed and the session cannot drain")]
    public static partial void CannotInstall(ILogger logger, Exception exception, ImagePid pid, ulong dumpAddress, ulong address);

    [LoggerMessage(2101, LogLevel.Warning, "no memory for pages of process {Pid} (its memory cgroup may be full); waiting for some")]
    public static partial void NoMemory(ILogger logger, ImagePid pid);

    [LoggerMessage(2102, LogLevel.Information, "an address space of process {Pid} is gone; {Pages} pages were still owed to it")]
    public static partial void Gone(ILogger logger, ImagePid pid, long pages);

    [LoggerMessage(2103, LogLevel.Critical, "the fault thread ended; tasks that touch missing pages wait from now on")]
    public static partial void FaultThreadDied(ILogger logger, Exception exception);

    [LoggerMessage(2104, LogLevel.Error, "the keeper did not take the userfaultfd of a child of process {Pid}; the child's missing pages are safe only while this process lives")]
    public static partial void NotKept(ILogger logger, Exception exception, ImagePid pid);

    [LoggerMessage(2105, LogLevel.Error, "events of process {Pid} cannot be read; trying again")]
    public static partial void CannotReadEvents(ILogger logger, Exception exception, ImagePid pid);

    [LoggerMessage(2106, LogLevel.Debug, "process {Pid} forked; the child is owed {Pages} pages")]
    public static partial void Forked(ILogger logger, ImagePid pid, long pages);

    [LoggerMessage(2107, LogLevel.Debug, "not permitted to raise the fault thread's priority")]
    public static partial void NoPriority(ILogger logger);
}
