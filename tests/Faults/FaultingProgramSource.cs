namespace PostCopy.Tests.Faults;

/// <summary>The program in C. Page <c>i</c> of its memory is owed when <c>owed(i)</c> says so; <see cref="Pattern"/> knows the same rules.</summary>
internal static class FaultingProgramSource
{
    public const string Text = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <linux/userfaultfd.h>
        #include <pthread.h>
        #include <stdarg.h>
        #include <stdint.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <sys/wait.h>
        #include <unistd.h>

        #define ZERO (-1)
        #define UNMAPPED (-2)
        #define MAX_THREADS 16

        static long page;            /* bytes */
        static long pages, owed_end; /* pages of the region; pages from owed_end on are never owed */
        static char *base;           /* also the dump-time address */
        static int uffd;
        static int *expected;        /* for each page: the dump page it holds, ZERO or UNMAPPED */
        static int threads;

        static void die(const char *format, ...)
        {
            va_list args;
            va_start(args, format);
            vfprintf(stderr, format, args);
            fprintf(stderr, "\n");
            _exit(1);
        }

        static uint64_t rnd(uint64_t *state)
        {
            uint64_t z = (*state += 0x9e3779b97f4a7c15);
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
            return z ^ (z >> 31);
        }

        static int owed(long i) { return i < owed_end && (i / 16) % 4 != 3; }

        static uint64_t pattern(uint64_t address, long dump_page)
        {
            uint64_t x = address * 0x9e3779b97f4a7c15;
            return dump_page % 7 == 3 ? 0 : x ^ (x >> 29);
        }

        static void verify(long i, const char *when)
        {
            volatile uint64_t *word = (uint64_t *)(base + i * page);
            int dump_page = expected[i];
            uint64_t dump = (uint64_t)base + (uint64_t)dump_page * page;
            for (int w = 0; w < page / 8; w++) {
                uint64_t want = dump_page == ZERO ? 0 : pattern(dump + w * 8, dump_page);
                uint64_t have = word[w];
                if (have != want)
                    die("%s: page %ld (dump page %d) word %d: %lx instead of %lx", when, i, dump_page, w, have, want);
            }
        }

        static void verify_all(uint64_t seed, const char *when)
        {
            static __thread int order[1 << 20];
            for (long i = 0; i < pages; i++)
                order[i] = i;
            for (long i = pages - 1; i > 0; i--) {
                long j = rnd(&seed) % (i + 1);
                int t = order[i]; order[i] = order[j]; order[j] = t;
            }
            for (long i = 0; i < pages; i++)
                if (expected[order[i]] != UNMAPPED)
                    verify(order[i], when);
        }

        static void say(const char *line) { printf("%s\n", line); fflush(stdout); }

        static void wait_for_go(void)
        {
            char line[16];
            if (!fgets(line, sizeof line, stdin))
                _exit(2);
        }

        static pthread_barrier_t barrier;

        static void *random_reader(void *arg) { verify_all((uint64_t)arg * 977 + 1, "random"); return 0; }

        static void *same_page_reader(void *arg)
        {
            for (long i = 0; i < pages; i++) {
                pthread_barrier_wait(&barrier);
                verify(i, "same page");
            }
            return 0;
        }

        /* Gives its share of the pages up, a few at a time, and looks at once. */
        static void *releaser(void *arg)
        {
            uint64_t seed = (uint64_t)arg;
            long first = pages / threads * (long)arg, end = first + pages / threads;
            for (long i = first; i < end;) {
                long n = 1 + rnd(&seed) % 4;
                if (n > end - i)
                    n = end - i;
                if (rnd(&seed) % 4) {
                    if (madvise(base + i * page, n * page, MADV_DONTNEED))
                        die("madvise: %d", errno);
                    for (long k = i; k < i + n; k++) {
                        expected[k] = ZERO;
                        verify(k, "just released");
                    }
                }
                i += n;
            }
            return 0;
        }

        static void *writer(void *arg)
        {
            for (long i = 0; i < pages; i++) {
                if (base[i * page])
                    die("fresh page %ld is not zero", i);
                base[i * page] = 1;
                base[i * page] = 0;
            }
            return 0;
        }

        static void run_threads(void *(*body)(void *))
        {
            pthread_t thread[MAX_THREADS];
            pthread_barrier_init(&barrier, 0, threads);
            for (long t = 0; t < threads; t++)
                pthread_create(&thread[t], 0, body, (void *)t);
            for (int t = 0; t < threads; t++)
                pthread_join(thread[t], 0);
        }

        static int children, leash = -1; /* children on it end with it */

        static void reap(int options)
        {
            int status;
            pid_t pid;
            while (children > 0 && (pid = waitpid(-1, &status, options)) > 0) {
                children--;
                if (!WIFEXITED(status) || WEXITSTATUS(status))
                    die("a child ended with status %x", status);
            }
        }

        static void fork_verifier(uint64_t seed)
        {
            pid_t pid = fork();
            if (pid < 0)
                die("fork: %d", errno);
            if (pid == 0) {
                verify_all(seed, "in a child");
                _exit(0);
            }
            children++;
        }

        /* A child that lacks half of the memory, and lives on. */
        static void dontfork(void)
        {
            int ends[2];
            if (pipe(ends) || madvise(base, pages / 2 * page, MADV_DONTFORK))
                die("dontfork: %d", errno);
            pid_t pid = fork();
            if (pid < 0)
                die("fork: %d", errno);
            if (pid == 0) {
                char c;
                close(ends[1]);
                for (long i = pages / 2; i < pages; i++)
                    verify(i, "in a child without half of it");
                _exit(read(ends[0], &c, 1) != 0);
            }
            close(ends[0]);
            leash = ends[1];
            children++;
        }

        static void forks(uint64_t seed, int count)
        {
            for (int k = 0; k < count; k++) {
                fork_verifier(seed + k);
                for (int t = 0; t < pages / 40; t++)
                    verify(rnd(&seed) % pages, "between forks");
                reap(WNOHANG);
            }
        }

        /* One mapping only: mremap refuses ranges over several. A number per mapping; moved and new pieces get new ones. */
        static int *mapping, last_mapping;

        static int one_mapping(long i, long n)
        {
            for (long k = i; k < i + n; k++)
                if (expected[k] == UNMAPPED || mapping[k] != mapping[i])
                    return 0;
            return 1;
        }

        static void become(long i, long n, int what)
        {
            for (long k = i; k < i + n; k++)
                expected[k] = what;
        }

        static void move(long from, long n, long to, long m, int flags)
        {
            int *contents = malloc(n * sizeof(int));
            memcpy(contents, expected + from, n * sizeof(int));
            if (mremap(base + from * page, n * page, m * page, MREMAP_MAYMOVE | MREMAP_FIXED | flags, base + to * page) == MAP_FAILED)
                die("mremap %ld+%ld to %ld+%ld flags %x: %d", from, n, to, m, flags, errno);
            become(from, n, flags ? ZERO : UNMAPPED);
            become(to, m, ZERO);
            memcpy(expected + to, contents, (n < m ? n : m) * sizeof(int));
            last_mapping++;
            for (long k = to; k < to + m; k++)
                mapping[k] = last_mapping;
            free(contents);
        }

        static void chaos(uint64_t seed, int deeds)
        {
            for (int d = 0; d < deeds; d++) {
                long n = rnd(&seed) % 8 ? 1 + rnd(&seed) % 12 : 1 + rnd(&seed) % (pages / 6);
                long m = rnd(&seed) % 3 ? n : 1 + rnd(&seed) % (2 * n);
                long longest = n > m ? n : m;
                long i = rnd(&seed) % (pages - longest), to = rnd(&seed) % (pages - longest);
                int apart = i + longest <= to || to + longest <= i;
                switch (rnd(&seed) % 9) {
                case 0: case 1:
                    for (long k = i; k < i + n && k < i + 12; k++)
                        if (expected[k] != UNMAPPED)
                            verify(k, "on the way");
                    break;
                case 2: case 3:
                    for (long k = i; k < i + n;) {
                        long e = k;
                        while (e < i + n && expected[e] != UNMAPPED)
                            e++;
                        if (e > k && madvise(base + k * page, (e - k) * page, MADV_DONTNEED))
                            die("madvise: %d", errno);
                        become(k, e - k, ZERO);
                        if (e > k)
                            verify(k + rnd(&seed) % (e - k), "just released");
                        k = e + 1;
                    }
                    break;
                case 4:
                    if (n < 12 && munmap(base + i * page, n * page))
                        die("munmap: %d", errno);
                    if (n < 12)
                        become(i, n, UNMAPPED);
                    break;
                case 5:
                    if (one_mapping(i, n) && apart)
                        move(i, n, to, m, 0);
                    break;
                case 6:
                    if (one_mapping(i, n) && apart)
                        move(i, n, to, n, 4 /* MREMAP_DONTUNMAP */);
                    break;
                case 7:
                    if (one_mapping(i, n) && n > 1) { /* shrink in place */
                        long keep = 1 + rnd(&seed) % (n - 1);
                        if (mremap(base + i * page, n * page, keep * page, 0) == MAP_FAILED)
                            die("mremap to shrink: %d", errno);
                        become(i + keep, n - keep, UNMAPPED);
                    } else {
                        /* memory mapped after the restore: nobody serves it */
                        if (mmap(base + i * page, n * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
                            die("mmap: %d", errno);
                        become(i, n, ZERO);
                        last_mapping++;
                        for (long k = i; k < i + n; k++)
                            mapping[k] = last_mapping;
                    }
                    break;
                case 8:
                    reap(children < 3 ? WNOHANG : 0);
                    fork_verifier(rnd(&seed));
                    break;
                }
            }
        }

        int main(int argc, char **argv)
        {
            const char *scenario = argv[1];
            page = sysconf(_SC_PAGESIZE);
            pages = atol(argv[2]);
            owed_end = atol(argv[3]);
            threads = atoi(argv[4]);
            uint64_t seed = strtoull(argv[5], 0, 10);

            expected = malloc(pages * sizeof(int));
            mapping = calloc(pages, sizeof(int));
            for (long i = 0; i < pages; i++)
                expected[i] = owed(i) ? i : ZERO;
            base = mmap(0, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            struct uffdio_api api = { .api = UFFD_API, .features = 0x4e };
            struct uffdio_register reg = { .range = { (uint64_t)base, pages * page }, .mode = UFFDIO_REGISTER_MODE_MISSING };
            uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
            if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg)) {
                printf("unsupported %d %s\n", errno, strerror(errno));
                return 3;
            }
            printf("uffd %d %lx\n", uffd, (unsigned long)base);
            fflush(stdout);
            wait_for_go();

            if (!strcmp(scenario, "unregister")) {
                struct uffdio_range hole = { (uint64_t)base, 8 * page };
                if (ioctl(uffd, UFFDIO_UNREGISTER, &hole))
                    die("unregister: %d", errno);
                become(0, 8, ZERO);
            }
            close(uffd);

            if (!strcmp(scenario, "random"))
                run_threads(random_reader);
            else if (!strcmp(scenario, "samepage"))
                run_threads(same_page_reader);
            else if (!strcmp(scenario, "release"))
                run_threads(releaser);
            else if (!strcmp(scenario, "fresh"))
                run_threads(writer);
            else if (!strcmp(scenario, "forks"))
                forks(seed, 12);
            else if (!strcmp(scenario, "dontfork"))
                dontfork();
            else if (!strcmp(scenario, "chaos"))
                chaos(seed, 400);
            else if (!strcmp(scenario, "protect"))
                for (long i = 0; i + 3 <= pages; i += 6)
                    mprotect(base + i * page, 3 * page, PROT_READ);
            else if (!strcmp(scenario, "forkexit")) {
                if (fork() == 0)
                    _exit(0);
                wait(0);
            } else if (!strcmp(scenario, "exit"))
                return 0;
            say("done");
            wait_for_go();
            verify_all(seed, "at the end");
            close(leash);
            reap(0);
            say("ok");
            return 0;
        }
        """;
}
