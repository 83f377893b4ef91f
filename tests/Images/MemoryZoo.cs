namespace PostCopy.Tests.Images;

/// <summary>A small process tree with one specimen of each kind of memory, at addresses the tests know.</summary>
internal static class MemoryZoo
{
    public const ulong TwoVmas = 0x2000_0000_0000;
    public const ulong Large = 0x2100_0000_0000;
    public const ulong Untouched = 0x2200_0000_0000;
    public const ulong Guarded = 0x2300_0000_0000;
    public const ulong FilePrivate = 0x2400_0000_0000;
    public const ulong Locked = 0x2500_0000_0000;
    public const ulong Shared = 0x2600_0000_0000;

    /// <summary>Printed once everything is set up; followed by whether this kernel has guard regions.</summary>
    public const string Ready = "ready";

    public const string Source = """
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <pthread.h>
        #include <signal.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/prctl.h>
        #include <sys/wait.h>
        #include <unistd.h>

        static long page;
        static void *rest(void *unused) { for (;;) pause(); }

        static void silence(void)
        {
            int null = open("/dev/null", O_RDWR);
            for (int fd = 0; fd < 3; fd++)
                dup2(null, fd);
            close(null);
        }

        static char *map(unsigned long at, int pages, int flags, int fd)
        {
            return mmap((void *)at, pages * page, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);
        }

        static pid_t children[3];

        static void child(int index, int signal)
        {
            children[index] = fork();
            if (children[index] != 0)
                return;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            silence();
            if (signal == 0)
                _exit(7);
            raise(signal);
            for (;;) pause();
        }

        static void finish(int signal)
        {
            for (int i = 0; i < 3; i++)
                kill(children[i], SIGKILL);
            while (wait(NULL) > 0)
                ;
            _exit(0);
        }

        int main(int argc, char **argv)
        {
            close_range(3, ~0U, 0);
            setsid();
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            page = sysconf(_SC_PAGESIZE);

            char *two = map(0x200000000000, 64, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            memset(two, 1, 64 * page);
            mprotect(two + 32 * page, 32 * page, PROT_READ);
            memset(map(0x210000000000, 3000, MAP_PRIVATE | MAP_ANONYMOUS, -1), 2, 3000 * page);
            map(0x220000000000, 100, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            char *guarded = map(0x230000000000, 16, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            memset(guarded, 3, 16 * page);
            int guards = madvise(guarded + 4 * page, 4 * page, 102 /* MADV_GUARD_INSTALL */) == 0;
            int self = open("/proc/self/exe", O_RDONLY);
            memset(map(0x240000000000, 2, MAP_PRIVATE, self), 4, 2 * page);
            close(self);
            char *locked = map(0x250000000000, 8, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            memset(locked, 5, 8 * page);
            mlock(locked, 8 * page);
            memset(map(0x260000000000, 16, MAP_SHARED | MAP_ANONYMOUS, -1), 6, 16 * page);

            child(0, SIGCONT);
            child(1, SIGSTOP);
            child(2, 0);
            pthread_t thread;
            pthread_create(&thread, NULL, rest, NULL);
            siginfo_t info;
            waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
            waitid(P_ALL, 0, &info, WSTOPPED | WNOWAIT);

            printf("ready %d\n", guards);
            fflush(stdout);
            signal(SIGTERM, finish);
            silence();
            for (;;) pause();
        }
        """;
}
