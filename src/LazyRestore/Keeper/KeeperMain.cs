using System.Net.Sockets;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Linux;
using PostCopy.Userfault;

namespace PostCopy.Keeper;

/// <summary>The keeper's side: <c>postcopy keeper DIR</c>, started by the agent with a socket as descriptor 3. Not for people.</summary>
public static class KeeperMain
{
    /// <summary>
    /// Holds what it is given until it is told to let go, or nobody is alive whose memory it is; gives it to the agent that follows a dead one. Returns the exit
    /// code 0.
    /// </summary>
    /// <param name="directory">The session's directory.</param>
    public static int Run(string directory)
    {
        KeeperCgroup.Enter();
        try
        {
            using Socket listener = new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
            // Of a keeper that has died, in whose place this one is.
            File.Delete(Path.Combine(directory, KeeperProtocol.SocketName));
            listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(directory, KeeperProtocol.SocketName)));
            listener.Listen(1);
            Held held = new(directory, listener);
            held.HoldOn();
            if (held.MustPutAway)
            {
                Directory.Delete(directory, recursive: true);
            }

            return 0;
        }
        finally
        {
            KeeperCgroup.Leave();
        }
    }

    private sealed class Held(string directory, Socket listener)
    {
        /// <summary>How often an orphan looks whether address spaces are gone: the kernel announces it to nobody.</summary>
        private const int LookEveryMs = 1000;

        private const int StandardError = 2;

        private readonly List<(int Id, int Descriptor)> _userfaultfds = [];
        private int _agent = KeeperProtocol.SocketDescriptor;
        private Socket? _laterAgent;
        private int _container = -1;
        private int _containerPid;
        private bool _nobodyFollows;
        private bool _watchesAddressSpaces;
        private bool _saidNoDescriptor;

        /// <summary>Whether nobody else is left to remove the directory.</summary>
        internal bool MustPutAway => _nobodyFollows && _agent < 0;

        private bool IsAnyoneAlive => _userfaultfds.Exists(static held => new Userfaultfd(held.Descriptor).IsAlive);

        /// <summary>Whether tasks were to run, although nobody has named their first: the agent has died before it came to that.</summary>
        private bool MayRun => new WriteOnceRecord(Path.Combine(directory, HandOffWords.DecisionName)).Read() == HandOffWords.MayRun;

        internal void HoldOn()
        {
            while (true)
            {
                Pollfd[] waits =
                [
                    new Pollfd { fd = _agent, events = PollEvents.POLLIN },
                    new Pollfd { fd = _container, events = PollEvents.POLLIN },
                    new Pollfd { fd = _agent < 0 ? (int)listener.SafeHandle.DangerousGetHandle() : -1, events = PollEvents.POLLIN },
                ];
                if (Syscall.poll(waits, _agent < 0 && _watchesAddressSpaces ? LookEveryMs : -1) < 0)
                {
                    continue;
                }

                // A pidfd becomes readable when its process has died (pidfd_open(2)).
                if (_container >= 0 && waits[1].revents != 0)
                {
                    // With its first process a container ends; of a bare tree the others live on.
                    (_container, _watchesAddressSpaces) = (-1, true);
                    if (!IsAnyoneAlive)
                    {
                        return;
                    }
                }

                if (_agent >= 0 && waits[0].revents != 0 && !Take())
                {
                    return;
                }

                if (_agent < 0 && _watchesAddressSpaces)
                {
                    if (!IsAnyoneAlive)
                    {
                        return;
                    }
                }
                else if (_agent < 0 && _container < 0)
                {
                    // As long as nothing was to run here, CRIU's own end takes what it built with it, and must not wait for pages.
                    _watchesAddressSpaces = MayRun;
                    if (!_watchesAddressSpaces || !IsAnyoneAlive)
                    {
                        return;
                    }
                }

                if (_agent < 0 && waits[2].revents != 0)
                {
                    HandOver();
                }
            }
        }

        /// <summary>False when told to let go.</summary>
        private bool Take()
        {
            if (!TryReceive(out byte kind, out int number, out int descriptor))
            {
                AgentDied();
                return true;
            }

            switch (kind)
            {
                case KeeperProtocol.Hold when _userfaultfds.Exists(held => held.Id == number):
                    // A keeper that takes another's place may be given one twice: as forked just now, and as one of all.
                    _ = Syscall.close(descriptor);
                    break;
                case KeeperProtocol.Hold:
                    _userfaultfds.Add((number, descriptor));
                    break;
                case KeeperProtocol.Drop when _userfaultfds.FindIndex(held => held.Id == number) is >= 0 and var place:
                    _ = Syscall.close(_userfaultfds[place].Descriptor);
                    _userfaultfds.RemoveAt(place);
                    break;
                case KeeperProtocol.Connection:
                    // Held by being open, until this process ends.
                    break;
                case KeeperProtocol.Container:
                    (_container, _containerPid) = (descriptor, number);
                    break;
                case KeeperProtocol.NobodyFollows:
                    _nobodyFollows = true;
                    break;
                case KeeperProtocol.TasksRun:
                    _watchesAddressSpaces = true;
                    break;
                default:
                    break;
            }

            return kind != KeeperProtocol.Release;
        }

        /// <summary>False when the agent is gone: also one that has not read all that it was sent (unix(7)).</summary>
        private bool TryReceive(out byte kind, out int number, out int descriptor)
        {
            try
            {
                return KeeperProtocol.TryReceive(_agent, out kind, out number, out descriptor);
            }
            catch (LinuxException e) when (e.Errno == Linux.Errno.ECONNRESET)
            {
                (kind, number, descriptor) = (0, 0, -1);
                return false;
            }
            catch (LinuxException e) when (e.Errno == Linux.Errno.EMFILE)
            {
                // The agent has it. Only should that die is it missed, and then its process must stand still (MayLackMemory).
                if (!_saidNoDescriptor)
                {
                    _saidNoDescriptor = true;
                    Complain($"{e.Message}: {_userfaultfds.Count} userfaultfds are held for {directory}, and further ones are safe only while the agent lives");
                }

                (kind, number, descriptor) = (0, 0, -1);
                return true;
            }
        }

        private void AgentDied()
        {
            if (_laterAgent is not null)
            {
                _laterAgent.Dispose();
                _laterAgent = null;
            }
            else
            {
                // Where no other descriptor is left, this one makes room for what is to be done now, and then for the next agent's.
                _ = Syscall.close(_agent);
            }

            _agent = -1;
            if (_containerPid > 0 && MayLackMemory())
            {
                FreezeContainer();
            }
        }

        /// <summary>
        /// Whether a process has pages missing whose userfaultfd is not here, which would read as zeroes: the agent may have died between the kernel's word of a fork and
        /// handing us the child's userfaultfd, or before we had all of a dead keeper's, or we had no descriptor left.
        /// </summary>
        private bool MayLackMemory()
        {
            try
            {
                using EventJournal journal = EventJournal.Open(Path.Combine(directory, KeeperProtocol.JournalName));
                HashSet<int> held = [.. _userfaultfds.Select(static held => held.Id)];
                (HashSet<int> named, HashSet<int> gone) = journal.AddressSpaces();
                if (!journal.IsFull && named.Any(id => !gone.Contains(id) && !held.Contains(id)))
                {
                    return true;
                }

                // One that the log does not name yet is the child of such a fork: its reader died a little later.
                held.UnionWith(gone);
                int unnamed = journal.IsFull ? 0 : held.Count(id => !named.Contains(id));
                return journal.PendingForks > unnamed;
            }
            catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
            {
                // Nobody can say.
                return true;
            }
        }

        /// <summary>By the cgroup it was restored into, and by its first process, which may have gone elsewhere. To go on holding matters more.</summary>
        private void FreezeContainer()
        {
            try
            {
                FreezerCgroup? ofFirst = Directory.Exists($"/proc/{_containerPid}") ? FreezerCgroup.TryOf(_containerPid) : null;
                FreezerCgroup? restoredInto = FreezerCgroup.NamedIn(Path.Combine(directory, "freezer"));
                (ofFirst ?? restoredInto ?? throw new IOException("no cgroup of it is known")).Freeze();
                restoredInto?.Freeze();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Complain($"what {directory} moved could not be frozen, and some of its missing pages are not held: {e.Message}");
            }
        }

        /// <summary>Not by way of the console, the first use of which takes descriptors: there may be none left. And nobody may be there to read it.</summary>
        private static void Complain(string what)
        {
            try
            {
                using FileStream errors = new(new SafeFileHandle(StandardError, ownsHandle: false), FileAccess.Write, bufferSize: 0);
                errors.Write(Encoding.UTF8.GetBytes($"postcopy keeper: {what}\n"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
            {
                // To go on holding matters more.
            }
        }

        private void HandOver()
        {
            try
            {
                _laterAgent = listener.Accept();
                _agent = (int)_laterAgent.SafeHandle.DangerousGetHandle();
                foreach ((int id, int descriptor) in _userfaultfds)
                {
                    KeeperProtocol.Send(_agent, KeeperProtocol.Hold, id, descriptor);
                }

                KeeperProtocol.Send(_agent, KeeperProtocol.ThatIsAll, _userfaultfds.Count, -1);
            }
            catch (Exception e) when (e is LinuxException or SocketException)
            {
                AgentDied();
            }
        }
    }
}
