using Mono.Unix.Native;
using PostCopy.Linux;

namespace PostCopy.Keeper;

/// <summary>The keeper's side: <c>postcopy keeper</c>, started by the agent with a socket as descriptor 3. Not for people.</summary>
public static class KeeperMain
{
    /// <summary>
    /// Holds what it is given until it is told to let go, or the container is dead. Returns the exit code 0.
    /// </summary>
    public static int Run()
    {
        KeeperCgroup.Enter();
        try
        {
            Hold();
            return 0;
        }
        finally
        {
            KeeperCgroup.Leave();
        }
    }

    private static void Hold()
    {
        int container = -1;
        bool agentLives = true;
        HeldMemory memory = new();
        while (true)
        {
            Pollfd[] waits =
            [
                new Pollfd { fd = agentLives ? KeeperProtocol.SocketDescriptor : -1, events = PollEvents.POLLIN },
                new Pollfd { fd = container, events = PollEvents.POLLIN },
            ];
            if (Syscall.poll(waits, !agentLives && memory.IsWatched ? HeldMemory.LookEveryMs : -1) < 0)
            {
                continue;
            }

            // A pidfd becomes readable when its process has died (pidfd_open(2)).
            if (container >= 0 && waits[1].revents != 0)
            {
                return;
            }

            if (agentLives && waits[0].revents != 0 && !Take(ref container, ref agentLives, memory))
            {
                return;
            }

            if (!agentLives && container < 0 && !(memory.IsWatched && memory.IsAnyAlive()))
            {
                // Nothing has run here yet, and CRIU's own end takes what it built with it; or all that ran is gone.
                return;
            }
        }
    }

    private static bool Take(ref int container, ref bool agentLives, HeldMemory memory)
    {
        Span<byte> what = stackalloc byte[1];
        int received = DescriptorSocket.Receive(KeeperProtocol.SocketDescriptor, what, out int descriptor);
        if (received == 0)
        {
            agentLives = false;
            return true;
        }

        if (what[0] == KeeperProtocol.Container)
        {
            container = descriptor;
        }

        // A held userfaultfd needs nothing but to stay open.
        memory.IsWatched |= what[0] == KeeperProtocol.AddressSpaces;
        if (what[0] == KeeperProtocol.Hold)
        {
            memory.Add(descriptor);
        }

        return what[0] != KeeperProtocol.Release;
    }
}
