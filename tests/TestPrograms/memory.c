// A region of memory that does what its standard input says: the source of pages, or the program
// that misses them, in benchmarks.
//
//   memory MIB
//
// Prints "memory PID ADDRESS" and then one line for each command:
//
//   fill       the region gets its content, which does not compress    "filled"
//   fill N     the same, but all pages are zero except every Nth         "filled"
//   arm        every page is missing again, served by a new userfaultfd "armed DESCRIPTOR"
//   sweep ORDER  see sweep.h                                          "swept ..."
//   sweeps N ORDER  the same by N threads, each in its share            N times "swept ..."
//   verify     compares every byte with what fill writes                "OK", or "BAD PAGE"
//
// The region has the same address in every process, as a restored program has the addresses it
// was dumped with.  Ends at the end of its input.
#include "bed.h"
#include "sweep.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ADDRESS ((void *)0x100000000000)
#define WORDS (PAGE / 8)

// What CRIU asks for: events of fork, mremap, madvise and munmap.
#define FEATURES                                                                                                       \
    (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP)

#define MAX_THREADS 16

static uint64_t *memory, pages, data_every = 1;
static int uffd = -1;

static uint64_t word(uint64_t page, unsigned i) { return page % data_every == 0 ? mix(page) + i * 0xd1342543de82ef95u : 0; }

static void fill(void)
{
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t *p = memory + page * WORDS;
        for (unsigned i = 0; i < WORDS; i++)
            p[i] = word(page, i);
    }
}

static long first_bad(void)
{
    for (uint64_t page = 0; page < pages; page++) {
        const uint64_t *p = memory + page * WORDS;
        for (unsigned i = 0; i < WORDS; i++)
            if (p[i] != word(page, i))
                return (long)page;
    }
    return -1;
}

static void arm(void)
{
    // Whoever served it last must have closed its duplicate, or madvise waits for an event to be read.
    if (uffd >= 0)
        close(uffd);
    if (madvise(memory, pages * PAGE, MADV_DONTNEED) != 0)
        die("madvise");
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
    struct uffdio_register region = {
        .range = {.start = (uintptr_t)memory, .len = pages * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &region) != 0)
        die("userfaultfd");
}

struct share {
    pthread_t thread;
    uint64_t first, count;
    const char *order;
    char text[400];
};

static void *sweep_share(void *argument)
{
    struct share *share = argument;
    sweep(memory + share->first * WORDS, share->count, share->order, share->text, sizeof share->text);
    return NULL;
}

static void sweep_by(unsigned threads, const char *order)
{
    static struct share shares[MAX_THREADS];
    for (unsigned t = 0; t < threads; t++) {
        shares[t].first = pages / threads * t;
        shares[t].count = pages / threads;
        shares[t].order = order;
        if (pthread_create(&shares[t].thread, NULL, sweep_share, &shares[t]) != 0)
            die("pthread_create");
    }
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(shares[t].thread, NULL);
        printf("%s\n", shares[t].text);
    }
}

int main(int argc, char **argv)
{
    char line[64], text[400];
    if (argc != 2 || (pages = strtoull(argv[1], NULL, 10) * 256) == 0) {
        fprintf(stderr, "usage: memory MIB\n");
        return 2;
    }
    memory = mmap(ADDRESS, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    // Like a restored program's memory: page by page, whatever the machine does with huge pages.
    if (madvise(memory, pages * PAGE, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
        die("madvise");
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("memory %d %lx\n", getpid(), (unsigned long)memory);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "fill", 4) == 0) {
            data_every = line[4] == ' ' ? strtoull(line + 5, NULL, 10) : 1;
            fill();
            printf("filled\n");
        } else if (strcmp(line, "arm") == 0) {
            arm();
            printf("armed %d\n", uffd);
        } else if (strncmp(line, "sweep ", 6) == 0) {
            sweep(memory, pages, line + 6, text, sizeof text);
            printf("%s\n", text);
        } else if (strncmp(line, "sweeps ", 7) == 0) {
            char *order;
            unsigned threads = (unsigned)strtoul(line + 7, &order, 10);
            sweep_by(threads < 1 || threads > MAX_THREADS ? 1 : threads, order + 1);
        } else if (strcmp(line, "verify") == 0) {
            long bad = first_bad();
            if (bad < 0)
                printf("OK\n");
            else
                printf("BAD %ld\n", bad);
        } else {
            printf("unknown command\n");
        }
    }
    return 0;
}
