// Writes into a region and, in the same breath, tears a hole below that page and replaces another one above: what malloc(3) and free(3) of
// large blocks do to a heap.  A page in between is then part of a mapping that was only half looked at, should somebody look right then.
//
//   holes
//
// Prints where the region is and how many pages it has, both in hexadecimal.  Every page begins with the number of its last write.
// Ends with its standard input.
#include "bed.h"
#include <poll.h>
#include <sys/mman.h>

#define QUARTER 4096u
#define PAGES (4 * QUARTER)

static uint8_t *region;

static void map(uint64_t page)
{
    if (mmap(region + page * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        die("mmap");
}

static void write_page(uint64_t page, uint64_t number) { *(volatile uint64_t *)(region + page * PAGE) = number; }

int main(void)
{
    region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED || madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE) != 0)
        die("mmap");
    uint64_t number = 1, random = 1, next = 0;
    for (uint64_t page = 0; page < PAGES; page++)
        write_page(page, number);
    printf("%llx %x\n", (unsigned long long)(uintptr_t)region, PAGES);
    fflush(stdout);
    for (;;) {
        number++;
        random = mix(random + 1);
        uint64_t low = 1 + random % (QUARTER - 1), scattered = QUARTER + (random >> 16) % QUARTER, between = 2 * QUARTER + (random >> 32) % (QUARTER - 32),
                 high = 3 * QUARTER + (random >> 48) % (QUARTER - 1);
        // Pages that lie alone make the kernel look in many steps, and between two steps the program's changes have their turn.
        for (uint64_t page = scattered & ~1u; page < scattered + 64; page += 2)
            write_page(page, number);
        // Not all the time: a mapping that is in pieces before somebody looks at it is looked at in pieces.
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (now < next)
            continue;
        next = now + random % 8000000;
        // Not PR_SET_PDEATHSIG: that is the end of the thread that started us, and threads of a pool end.
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
        if (poll(&input, 1, 0) != 0)
            return 0;
        for (uint64_t page = between; page < between + 32; page++)
            write_page(page, number);
        if (munmap(region + low * PAGE, PAGE) != 0 || munmap(region + high * PAGE, PAGE) != 0)
            die("munmap");
        map(high);
        write_page(high, number);
        map(low);
        write_page(low, number);
    }
}
