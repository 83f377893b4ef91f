// Memory of every kind there is.
#include "storm.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

static void churn(struct worker *w, struct region *r)
{
    while (running(w)) {
        region_touch_some(w, r, 4);
        region_check_some(w, r, 16);
    }
    region_check_all(w, r);
}

// As much as an unprivileged process may lock.
void do_locked(struct worker *w)
{
    struct region r = region_make(w, 12, 0);
    region_fill(w, &r);
    if (mlock(r.start, r.pages * PAGE) != 0)
        fail(w, "mlock: %s", strerror(errno));
    churn(w, &r);
}

// Two processes write in turn to shared memory without a name, to a memfd, and to System V's.
void do_shared(struct worker *w)
{
    struct region r[3];
    r[0] = region_make(w, 512, 0);
    r[1] = r[2] = r[0];
    r[0].start = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = memfd_create("storm", 0), id = shmget(IPC_PRIVATE, 512 * PAGE, IPC_CREAT | 0600);
    if (fd < 0 || ftruncate(fd, 512 * PAGE) != 0)
        fail(w, "memfd: %s", strerror(errno));
    r[1].start = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    r[2].start = shmat(id, NULL, 0);
    if (r[0].start == MAP_FAILED || r[1].start == MAP_FAILED || r[2].start == (void *)-1)
        fail(w, "shared memory: %s", strerror(errno));
    for (unsigned i = 0; i < 3; i++) {
        r[i].label = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        region_fill(w, &r[i]);
    }
    uint64_t private_before = next_random(w);
    while (running(w)) {
        pid_t pid = fork_checked(w);
        if (pid == 0) {
            struct worker own = *w;
            own.random = private_before ^ w->rounds;
            for (unsigned i = 0; i < 3; i++)
                region_touch_some(&own, &r[i], 4);
            _exit(7);
        }
        reap(w, pid, 7, "who shares memory");
        for (unsigned i = 0; i < 3; i++)
            region_check_some(w, &r[i], 16);
        // Holes in shared memory.
        uint64_t page = below(w, 512);
        if (madvise(r[0].start + page * PAGE, PAGE, MADV_REMOVE) != 0)
            fail(w, "madvise REMOVE: %s", strerror(errno));
        r[0].label[page] = 0;
        region_check(w, &r[0], page);
    }
    for (unsigned i = 0; i < 3; i++)
        region_check_all(w, &r[i]);
    shmctl(id, IPC_RMID, NULL);
}

// A file mapped shared, and the same one mapped privately and written to.
void do_files(struct worker *w)
{
    struct region shared_map = region_make(w, 256, 0), private_map = region_make(w, 256, 0);
    int fd = open("mapped-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, 512 * PAGE) != 0)
        fail(w, "a file to map: %s", strerror(errno));
    shared_map.start = mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared_map.start == MAP_FAILED)
        fail(w, "mmap of a file: %s", strerror(errno));
    region_fill(w, &shared_map);
    for (uint64_t page = 0; page < 256; page++) {
        uint8_t bytes[PAGE];
        private_map.label[page] = next_random(w) | 1;
        page_write(bytes, private_map.label[page]);
        if (pwrite(fd, bytes, PAGE, (off_t)((256 + page) * PAGE)) != (ssize_t)PAGE)
            fail(w, "write of a file: %s", strerror(errno));
    }
    private_map.start = mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 256 * PAGE);
    if (private_map.start == MAP_FAILED)
        fail(w, "private mmap of a file: %s", strerror(errno));
    close(fd);
    for (uint64_t page = 0; page < 256; page += 2)
        region_write(w, &private_map, page);
    while (running(w)) {
        region_touch_some(w, &shared_map, 4);
        region_touch_some(w, &private_map, 4);
        region_check_some(w, &shared_map, 8);
        region_check_some(w, &private_map, 8);
        uint64_t page = below(w, 128) * 2 + 1;
        // Given up, a private page is the file's again; those with odd numbers were never written before the move.
        if (w->rounds % 32 == 0) {
            madvise(private_map.start + page * PAGE, PAGE, MADV_WILLNEED);
            region_check(w, &private_map, page);
        }
    }
    region_check_all(w, &shared_map);
    region_check_all(w, &private_map);
}

// Transparent huge pages, split in part.
void do_huge(struct worker *w)
{
    struct region r = region_make(w, 6 * 512, 0);
    if (madvise(r.start, r.pages * PAGE, MADV_HUGEPAGE) != 0 && errno != EINVAL)
        fail(w, "madvise HUGEPAGE: %s", strerror(errno));
    region_fill(w, &r);
    while (running(w)) {
        uint64_t first = below(w, r.pages - 520);
        region_touch_some(w, &r, 8);
        if (calm(w))
            continue;
        madvise(r.start + first * PAGE, (w->rounds % 8 == 0 ? 512 : 2) * PAGE, MADV_DONTNEED);
        for (uint64_t page = first; page < first + (w->rounds % 8 == 0 ? 512 : 2); page++)
            r.label[page] = 0;
        region_check(w, &r, first);
        for (unsigned i = 0; i < 32; i++)
            region_write(w, &r, first + below(w, 512));
        region_check_some(w, &r, 16);
    }
    region_check_all(w, &r);
}

void do_nohuge(struct worker *w)
{
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
        fail(w, "PR_SET_THP_DISABLE: %s", strerror(errno));
    struct region r = region_make(w, 1024, 0);
    region_fill(w, &r);
    churn(w, &r);
    if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1)
        fail(w, "transparent huge pages are not disabled any more");
}

// Needs pages reserved in vm.nr_hugepages, on both hosts.
void do_hugetlb(struct worker *w)
{
    struct region r = region_make(w, 2 * 512, 0);
    r.start = mmap(NULL, r.pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (r.start == MAP_FAILED)
        fail(w, "mmap of huge pages: %s", strerror(errno));
    region_fill(w, &r);
    churn(w, &r);
}

// Pages that are all the same, offered to be merged.
void do_ksm(struct worker *w)
{
    struct region r = region_make(w, 1024, 0);
    madvise(r.start, r.pages * PAGE, MADV_MERGEABLE);
    for (uint64_t page = 0; page < r.pages; page++)
        page_write(r.start + page * PAGE, r.label[page] = 42 + page % 2);
    churn(w, &r);
}

// So many pages of each of these many places in an address space far larger than any memory.
#define WIDE_PLACES 2048u
#define WIDE_STRIDE ((64ull << 30) / WIDE_PLACES)

static void wide_write(uint8_t *place, uint64_t pages, uint64_t label)
{
    for (uint64_t page = 0; page < pages; page++)
        page_write(place + page * PAGE, label + page);
}

static void wide(struct worker *w, uint64_t pages)
{
    uint8_t *start = map_checked(w, NULL, WIDE_PLACES * WIDE_STRIDE, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    uint64_t *label = calloc(WIDE_PLACES, sizeof *label);
    for (uint64_t i = 0; i < WIDE_PLACES; i++)
        wide_write(start + i * WIDE_STRIDE, pages, label[i] = next_random(w) | 1);
    while (running(w)) {
        for (unsigned n = 0; n < 8; n++) {
            uint64_t i = below(w, WIDE_PLACES), page = below(w, pages);
            uint8_t *place = start + i * WIDE_STRIDE;
            page_expect(w, place + page * PAGE, label[i] + page, "a page in the wide");
            page_expect(w, place + (pages + below(w, WIDE_STRIDE / PAGE - pages)) * PAGE, 0, "nothing in the wide");
        }
        uint64_t i = below(w, WIDE_PLACES);
        wide_write(start + i * WIDE_STRIDE, pages, label[i] = next_random(w) | 1);
        // Pages of zeroes that were only read are given back, or the wide would fill up.
        if (w->rounds % 64 == 0)
            for (i = 0; i < WIDE_PLACES; i++)
                madvise(start + i * WIDE_STRIDE + pages * PAGE, WIDE_STRIDE - pages * PAGE, MADV_DONTNEED);
    }
    for (uint64_t i = 0; i < WIDE_PLACES; i++)
        for (uint64_t page = 0; page < pages; page++)
            page_expect(w, start + i * WIDE_STRIDE + page * PAGE, label[i] + page, "a page in the wide, at the end");
}

void do_sparse(struct worker *w) { wide(w, 1); }

// 256 MiB.
void do_wide(struct worker *w) { wide(w, 32); }

// Zeroes that were written, with something else here and there.
void do_zero(struct worker *w)
{
    struct region r = region_make(w, 16384, 0);
    for (uint64_t page = 0; page < r.pages; page++) {
        page_write(r.start + page * PAGE, 0);
        if (page % 128 == 5)
            region_write(w, &r, page);
    }
    churn(w, &r);
}

// Only what it needs may be called from here on; anything else kills it.
void do_seccomp(struct worker *w)
{
    static const int allowed[] = {SYS_clock_nanosleep, SYS_nanosleep, SYS_exit_group, SYS_madvise, SYS_mmap, SYS_munmap,
                                  SYS_brk, SYS_rt_sigreturn, SYS_restart_syscall, SYS_mremap};
    enum { COUNT = sizeof allowed / sizeof *allowed };
    struct sock_filter filter[2 * COUNT + 2] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (unsigned i = 0; i < COUNT; i++) {
        filter[1 + 2 * i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        filter[2 + 2 * i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    filter[2 * COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {2 * COUNT + 2, filter};
    struct region r = region_make(w, 1024, 0);
    region_fill(w, &r);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        fail(w, "seccomp: %s", strerror(errno));
    churn(w, &r);
}

// Sleeps with the stack pointer right there.
static void sleep_on(void *top, struct timespec pause)
{
    long result;
    __asm__ volatile("mov %%rsp, %%rbx\n\tmov %[top], %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
                     : "=a"(result)
                     : "0"((long)SYS_nanosleep), "D"(&pause), "S"(0L), [top] "r"(top)
                     : "rbx", "rcx", "r11", "memory");
}

static void *sleep_on_border(void *argument)
{
    struct worker own = *(struct worker *)argument;
    uint8_t *stack = map_checked(&own, NULL, 16 * PAGE, PROT_READ | PROT_WRITE, 0);
    while (!shared->stop)
        sleep_on(stack + 8 * PAGE, (struct timespec){0, 200000000});
    return NULL;
}

// A stack pointer at the very start of a page: CRIU takes all memory of the process for the page that it is in.
void do_border(struct worker *w)
{
    pthread_t sleeper;
    struct region r = region_make(w, 4096, 0);
    region_fill(w, &r);
    if (pthread_create(&sleeper, NULL, sleep_on_border, w) != 0)
        fail(w, "pthread_create");
    churn(w, &r);
    pthread_join(sleeper, NULL);
}
