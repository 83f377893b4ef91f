namespace PostCopy.Linux;

/// <summary>One posix_spawn(3): puts descriptors in their places, closes the rest, resets signals.</summary>
internal static unsafe class SpawnRequest
{
    private const int StandardError = 2;

    /// <summary>Returns the pid of the child.</summary>
    internal static int Run(
        string path, IReadOnlyList<string> argv, IReadOnlyList<string> envp, IReadOnlyList<ChildDescriptor> descriptors, string? workingDirectory, bool newSession)
    {
        int highest = descriptors.Select(descriptor => descriptor.ChildFd).Append(StandardError).Max();
        List<int> moved = [];
        byte* actions = stackalloc byte[Libc.SpawnFileActionsBytes];
        byte* attributes = stackalloc byte[Libc.SpawnAttributesBytes];
        Check(Libc.posix_spawn_file_actions_init(actions), path);
        Check(Libc.posix_spawnattr_init(attributes), path);
        try
        {
            PlaceDescriptors(actions, path, descriptors, highest, moved);
            if (workingDirectory is not null)
            {
                Check(Libc.posix_spawn_file_actions_addchdir_np(actions, workingDirectory), path);
            }

            SetAttributes(attributes, path, newSession);
            using NativeStrings arguments = new(argv);
            using NativeStrings environment = new(envp);
            Check(Libc.posix_spawn(out int pid, path, actions, attributes, arguments.Pointer, environment.Pointer), path);
            return pid;
        }
        finally
        {
            _ = Libc.posix_spawn_file_actions_destroy(actions);
            _ = Libc.posix_spawnattr_destroy(attributes);
            foreach (int fd in moved)
            {
                _ = Libc.close(fd);
            }
        }
    }

    /// <summary>
    /// The actions run in order in the child, so a source that lies where another one is to go would be overwritten before its turn:
    /// such a source is first duplicated to above all targets.
    /// </summary>
    private static void PlaceDescriptors(byte* actions, string path, IReadOnlyList<ChildDescriptor> descriptors, int highest, List<int> moved)
    {
        HashSet<int> taken = [];
        foreach (ChildDescriptor descriptor in descriptors)
        {
            if (!taken.Add(descriptor.ChildFd))
            {
                throw new ArgumentException($"Descriptor {descriptor.ChildFd} of the child was named twice.", nameof(descriptors));
            }

            int source = descriptor.OurFd;
            if (source <= highest)
            {
                source = Libc.fcntl(descriptor.OurFd, Libc.F_DUPFD_CLOEXEC, highest + 1);
                if (source < 0)
                {
                    throw LinuxException.Last($"fcntl F_DUPFD_CLOEXEC of descriptor {descriptor.OurFd} for {path}");
                }

                moved.Add(source);
            }
            Check(Libc.posix_spawn_file_actions_adddup2(actions, source, descriptor.ChildFd), path);
        }

        for (int fd = 0; fd <= highest; fd++)
        {
            if (taken.Contains(fd))
            {
                continue;
            }

            Check(fd <= StandardError
                ? Libc.posix_spawn_file_actions_addopen(actions, fd, "/dev/null", Libc.O_RDWR, 0)
                : Libc.posix_spawn_file_actions_addclose(actions, fd), path);
        }
        Check(Libc.posix_spawn_file_actions_addclosefrom_np(actions, highest + 1), path);
    }

    // The runtime ignores SIGPIPE and blocks signals in some of its threads; a child would inherit both.
    private static void SetAttributes(byte* attributes, string path, bool newSession)
    {
        byte* signals = stackalloc byte[Libc.SignalSetBytes];
        _ = Libc.sigemptyset(signals);
        Check(Libc.posix_spawnattr_setsigmask(attributes, signals), path);
        _ = Libc.sigfillset(signals);
        Check(Libc.posix_spawnattr_setsigdefault(attributes, signals), path);
        short flags = Libc.POSIX_SPAWN_SETSIGDEF | Libc.POSIX_SPAWN_SETSIGMASK;
        Check(Libc.posix_spawnattr_setflags(attributes, (short)(newSession ? flags | Libc.POSIX_SPAWN_SETSID : flags)), path);
    }

    private static void Check(Errno errno, string path)
    {
        if (errno != Errno.None)
        {
            throw new LinuxException($"posix_spawn of {path}", errno);
        }
    }
}
