// What the workers of the storm have in common.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../bed.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MAX_WORKERS 40

struct worker {
    char name[16];
    pid_t pid;
    uint64_t random;            // state of its generator: the same seed gives the same decisions
    volatile uint64_t rounds;
    char failure[240];
    struct worker *self;        // the one in the shared page; threads and children use copies with generators of their own
};

// One page that all processes share: it is in the images, whatever happens to their own memory.
struct shared {
    volatile int stop;
    volatile int moves;         // how often we found ourselves on another host
    volatile int settled;       // the last time was a while ago
    struct worker worker[MAX_WORKERS];
};
extern struct shared *shared;

// --- storm.c
uint64_t next_random(struct worker *w);
uint64_t below(struct worker *w, uint64_t limit);
// Notes why and ends the process; the root does the rest.
_Noreturn __attribute__((format(printf, 2, 3))) void fail(struct worker *w, const char *format, ...);
// Counts a round and pauses for a moment.  0 when it is time to check everything and end.
int running(struct worker *w);
// Whether to leave memory alone for once: while nothing is owed it is filled, so that there is something to destroy after the move.
int calm(struct worker *w);
void pause_us(long us);
// fork, checked.
pid_t fork_checked(struct worker *w);
// Waits for a child that must end with this code.
void reap(struct worker *w, pid_t pid, int code, const char *what);

// --- pages.c: pages that prove themselves.  A page's content follows from its label; label 0 is a page of zeroes.
struct region {
    uint8_t *start;
    uint64_t pages;
    uint64_t *label;
};
void *map_checked(struct worker *w, void *at, uint64_t bytes, int protection, int flags);
struct region region_make(struct worker *w, uint64_t pages, int flags);
void region_fill(struct worker *w, struct region *r);
void region_write(struct worker *w, struct region *r, uint64_t page);
void region_check(struct worker *w, const struct region *r, uint64_t page);
void region_check_some(struct worker *w, const struct region *r, unsigned count);
void region_check_all(struct worker *w, const struct region *r);
void region_touch_some(struct worker *w, struct region *r, unsigned count);   // checks and rewrites
void page_write(void *page, uint64_t label);
int page_is(const void *page, uint64_t label);
void page_expect(struct worker *w, const void *page, uint64_t label, const char *what);

// --- the workers
typedef void work(struct worker *w);
work do_threads, do_fork, do_cow, do_exec, do_vfork, do_shell, do_exits, do_late_exits, do_zombies;      // processes.c
work do_mremap, do_unmap, do_madvise, do_protect;                               // mappings.c
work do_arena, do_gc, do_fresh, do_stacks;                                      // heaps.c
work do_locked, do_shared, do_files, do_huge, do_nohuge, do_hugetlb, do_ksm;    // kinds.c
work do_sparse, do_zero, do_seccomp, do_border, do_wide;                        // kinds.c
int exec_check(char **argv);
