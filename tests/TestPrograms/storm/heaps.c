// Memory as allocators, collectors and stacks use it.
#include "storm.h"
#include <pthread.h>

// -------------------------------------------------------------------------- arena
// As jemalloc and Go's runtime: runs of pages are allocated and freed, and a scavenger of its own gives freed ones back to the
// kernel, without a lock held around the call.  A run that was given back must come back as zeroes.

#define ARENA_PAGES 6144u
#define MAX_RUN 48u

enum state { CLEAN, IN_USE, DIRTY, BEING_PURGED };

static uint8_t *arena;
static uint8_t state[ARENA_PAGES];
static uint64_t content[ARENA_PAGES];
static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER;

static int range_in(unsigned first, unsigned count, int clean)
{
    for (unsigned page = first; page < first + count; page++)
        if (clean ? state[page] != CLEAN : state[page] != CLEAN && state[page] != DIRTY)
            return 0;
    return 1;
}

static void *scavenge(void *argument)
{
    struct worker own = *(struct worker *)argument, *w = &own;
    w->random ^= 0x5ca7e46e;
    while (!shared->stop) {
        unsigned first = (unsigned)below(w, ARENA_PAGES), count = 0;
        pthread_mutex_lock(&arena_lock);
        while (first + count < ARENA_PAGES && count < 512 && state[first + count] == DIRTY)
            state[first + count++] = BEING_PURGED;
        pthread_mutex_unlock(&arena_lock);
        if (count == 0)
            continue;
        if (madvise(arena + first * PAGE, count * PAGE, MADV_DONTNEED) != 0)
            fail(w, "madvise: %s", strerror(errno));
        pthread_mutex_lock(&arena_lock);
        memset(state + first, CLEAN, count);
        pthread_mutex_unlock(&arena_lock);
    }
    return NULL;
}

static void allocate(struct worker *w)
{
    unsigned count = 1 + (unsigned)below(w, MAX_RUN), first = (unsigned)below(w, ARENA_PAGES - count);
    pthread_mutex_lock(&arena_lock);
    int free_run = range_in(first, count, 0);
    if (free_run)
        for (unsigned page = first; page < first + count; page++) {
            content[page] = state[page] == CLEAN ? 0 : content[page];
            state[page] = IN_USE;
        }
    pthread_mutex_unlock(&arena_lock);
    for (unsigned page = first; free_run && page < first + count; page++) {
        page_expect(w, arena + page * PAGE, content[page], content[page] ? "a freed page that was not given back" : "a page that was given back");
        content[page] = next_random(w) | 1;
        page_write(arena + page * PAGE, content[page]);
    }
}

static void release(struct worker *w)
{
    unsigned count = 1 + (unsigned)below(w, MAX_RUN), first = (unsigned)below(w, ARENA_PAGES - count);
    for (unsigned page = first; page < first + count; page++)
        if (state[page] == IN_USE) {
            if (page % 8 == 0)
                page_expect(w, arena + page * PAGE, content[page], "an allocated page");
            pthread_mutex_lock(&arena_lock);
            state[page] = DIRTY;
            pthread_mutex_unlock(&arena_lock);
        }
}

void do_arena(struct worker *w)
{
    pthread_t scavenger;
    arena = map_checked(w, NULL, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, 0);
    for (unsigned i = 0; i < 2000; i++)
        allocate(w);
    if (pthread_create(&scavenger, NULL, scavenge, w) != 0)
        fail(w, "pthread_create");
    while (running(w))
        for (unsigned i = 0; i < 16; i++) {
            allocate(w);
            release(w);
        }
    pthread_join(scavenger, NULL);
    for (unsigned page = 0; page < ARENA_PAGES; page++)
        if (state[page] == IN_USE)
            page_expect(w, arena + page * PAGE, content[page], "an allocated page, at the end");
}

// ----------------------------------------------------------------------------- gc
// A collected heap: objects point to objects; all that can be reached is copied to the other half,
// and the half that is left goes back to the kernel, as .NET's and Java's collectors do.

#define HALF (8ul << 20)
#define ROOTS 64u
#define LINKS 3u

struct object {
    struct object *link[LINKS], *moved_to;
    uint64_t identity;
    uint32_t words;
    uint64_t word[];
};

struct heap { uint8_t *from, *to; uint64_t used; struct object *root[ROOTS]; uint64_t next_identity; };

static uint64_t size_of(const struct object *o) { return sizeof *o + o->words * 8ul; }

static void check_object(struct worker *w, const struct object *o)
{
    for (uint32_t i = 0; i < o->words; i++)
        if (o->word[i] != mix(o->identity + i))
            fail(w, "object %llu: word %u of %u is %llx", (unsigned long long)o->identity, i, o->words, (unsigned long long)o->word[i]);
}

static struct object *copy_object(struct heap *h, struct object *o)
{
    if (o == NULL || o->moved_to != NULL)
        return o == NULL ? NULL : o->moved_to;
    struct object *copy = (struct object *)(h->to + h->used);
    memcpy(copy, o, size_of(o));
    h->used += size_of(o);
    o->moved_to = copy;
    return copy;
}

static void collect(struct worker *w, struct heap *h)
{
    h->used = 0;
    for (unsigned i = 0; i < ROOTS; i++)
        h->root[i] = copy_object(h, h->root[i]);
    for (uint64_t at = 0; at < h->used;) {
        struct object *o = (struct object *)(h->to + at);
        check_object(w, o);
        for (unsigned i = 0; i < LINKS; i++)
            // Most links are cut, or nothing would ever become garbage.
            o->link[i] = below(w, 4) == 0 ? copy_object(h, o->link[i]) : NULL;
        at += size_of(o);
    }
    if (madvise(h->from, HALF, below(w, 2) ? MADV_DONTNEED : MADV_FREE) != 0)
        fail(w, "madvise of a heap: %s", strerror(errno));
    uint8_t *swap = h->from;
    h->from = h->to;
    h->to = swap;
}

static void new_object(struct worker *w, struct heap *h)
{
    uint32_t words = (uint32_t)(below(w, 16) == 0 ? below(w, 4096) : below(w, 64));
    if (h->used + sizeof(struct object) + words * 8ul > HALF) {
        collect(w, h);
    }
    if (h->used + sizeof(struct object) + words * 8ul > HALF)
        fail(w, "the heap is full");
    struct object *o = (struct object *)(h->from + h->used);
    h->used += sizeof *o + words * 8ul;
    o->identity = ++h->next_identity << 16;
    o->words = words;
    o->moved_to = NULL;
    for (uint32_t i = 0; i < words; i++)
        o->word[i] = mix(o->identity + i);
    for (unsigned i = 0; i < LINKS; i++)
        o->link[i] = h->root[below(w, ROOTS)];
    h->root[below(w, ROOTS)] = o;
}

void do_gc(struct worker *w)
{
    struct heap h = {0};
    h.from = map_checked(w, NULL, HALF, PROT_READ | PROT_WRITE, 0);
    h.to = map_checked(w, NULL, HALF, PROT_READ | PROT_WRITE, 0);
    for (unsigned i = 0; i < 4000; i++)
        new_object(w, &h);
    while (running(w))
        for (unsigned i = 0; i < 64; i++)
            new_object(w, &h);
    collect(w, &h);
}

// -------------------------------------------------------------------------- fresh

// Memory that was never owed, touched as fast as it goes: fresh mappings, and a heap that grows and shrinks.
void do_fresh(struct worker *w)
{
    while (running(w)) {
        uint64_t pages = 256 + below(w, 2048);
        uint8_t *fresh = map_checked(w, NULL, pages * PAGE, PROT_READ | PROT_WRITE, 0);
        uint64_t *heap = sbrk((intptr_t)(64 * PAGE));
        if (heap == (void *)-1)
            fail(w, "sbrk: %s", strerror(errno));
        for (uint64_t page = 0; page < pages; page++) {
            uint64_t *p = (uint64_t *)(fresh + page * PAGE);
            if (p[below(w, PAGE / 8)] != 0)
                fail(w, "fresh memory is not zero");
            p[page % (PAGE / 8)] = page + 1;
        }
        for (unsigned i = 0; i < 64 * PAGE / 8; i++) {
            if (heap[i] != 0)
                fail(w, "a grown heap is not zero");
            heap[i] = i + 1;
        }
        for (uint64_t page = 0; page < pages; page++)
            if (((uint64_t *)(fresh + page * PAGE))[page % (PAGE / 8)] != page + 1)
                fail(w, "fresh memory lost what was written");
        munmap(fresh, pages * PAGE);
        sbrk(-(intptr_t)(64 * PAGE));
    }
}

// ------------------------------------------------------------------------- stacks

static __attribute__((noinline)) uint64_t deep(struct worker *w, unsigned depth, uint64_t seed)
{
    volatile uint64_t frame[700];
    for (unsigned i = 0; i < 700; i += 50)
        frame[i] = mix(seed + i);
    uint64_t below_us = depth == 0 ? 0 : deep(w, depth - 1, seed + 1);
    for (unsigned i = 0; i < 700; i += 50)
        if (frame[i] != mix(seed + i))
            fail(w, "a stack frame at depth %u lost what was written", depth);
    return below_us + frame[350];
}

static void *deep_thread(void *argument)
{
    struct worker own = *(struct worker *)argument;
    deep(&own, 150, next_random(&own));
    return NULL;
}

static void stay_deep(struct worker *w, unsigned depth)
{
    volatile uint64_t frame[700];
    for (unsigned i = 0; i < 700; i++)
        frame[i] = mix(depth + i);
    if (depth > 0) {
        stay_deep(w, depth - 1);
    } else {
        while (running(w)) {
            pthread_t thread;
            deep(w, (unsigned)below(w, 700), next_random(w));
            if (w->rounds % 4 == 0) {
                if (pthread_create(&thread, NULL, deep_thread, w) != 0)
                    fail(w, "pthread_create");
                pthread_join(thread, NULL);
            }
        }
    }
    for (unsigned i = 0; i < 700; i++)
        if (frame[i] != mix(depth + i))
            fail(w, "a frame of the moved stack at depth %u lost what was written", depth);
}

// A deep stack moves, and grows on the other side.
void do_stacks(struct worker *w) { stay_deep(w, 300); }
