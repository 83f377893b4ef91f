using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>Waits for the end of a process that is not our child.</summary>
internal static class ProcessEnd
{
    /// <summary>Completes when the process has died, at once when it is dead already. Costs a thread while it waits.</summary>
    internal static Task WaitAsync(int pid) => Task.Factory.StartNew(() => Wait(pid), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static void Wait(int pid)
    {
        int pidfd = Libc.pidfd_open(pid);
        if (pidfd < 0)
        {
            // ESRCH: no such process any more.
            return;
        }

        // A pidfd becomes readable when its process has died (pidfd_open(2)).
        Pollfd[] wait = [new Pollfd { fd = pidfd, events = PollEvents.POLLIN }];
        while (Syscall.poll(wait, -1) < 0)
        {
            // EINTR.
        }

        _ = Syscall.close(pidfd);
    }
}
