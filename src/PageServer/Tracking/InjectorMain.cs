using PostCopy.Linux;

namespace PostCopy.Tracking;

/// <summary>The injector's side: <c>postcopy tracker-inject</c>, started by the source with a socket as descriptor 3. Not for people.</summary>
public static class InjectorMain
{
    /// <summary>Answers requests until the source has closed its end. One thread does it all: ptrace(2) binds a tracee to the thread that seized it.</summary>
    public static int Run()
    {
        while (InjectorProtocol.TryReceiveRequest(InjectorProtocol.SocketDescriptor, out int pid, out bool closeLeftovers))
        {
            try
            {
                int stolen = Injection.StealUserfaultfd(pid, closeLeftovers);
                InjectorProtocol.SendStolen(InjectorProtocol.SocketDescriptor, stolen);
                _ = Libc.close(stolen);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The kernel lets a tracee go when its tracer ends.
                bool ends = e is TracerMustEndException;
                InjectorProtocol.SendRefusal(InjectorProtocol.SocketDescriptor, e.Message, ends);
                if (ends)
                {
                    return 1;
                }
            }
        }

        return 0;
    }
}
