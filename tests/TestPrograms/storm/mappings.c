// mremap, munmap, mprotect, madvise.
#include "storm.h"
#include <linux/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

// ------------------------------------------------------------------------- mremap

#define SLOTS 24u
#define SLOT_PAGES 256u

// A mapping in a window of slots, or wherever the kernel put it.
struct mapping {
    uint8_t *start;
    unsigned pages, slot;       // slot SLOTS: outside the window
    uint64_t label[SLOT_PAGES];
};

static uint8_t *window;
static int slot_used[SLOTS];

static uint8_t *slot_start(unsigned slot) { return window + (uint64_t)slot * SLOT_PAGES * 2 * PAGE; }

static unsigned free_slot(struct worker *w)
{
    unsigned slot;
    do
        slot = (unsigned)below(w, SLOTS);
    while (slot_used[slot]);
    slot_used[slot] = 1;
    return slot;
}

// What a mapping leaves behind is reserved again, so that nothing else gets there.
static void vacate(struct worker *w, unsigned slot)
{
    if (slot == SLOTS)
        return;
    map_checked(w, slot_start(slot), SLOT_PAGES * PAGE, PROT_NONE, MAP_FIXED | MAP_NORESERVE);
    slot_used[slot] = 0;
}

static void *remap(struct worker *w, void *from, uint64_t old_pages, uint64_t pages, int flags, void *to)
{
    void *start = mremap(from, old_pages * PAGE, pages * PAGE, flags, to);
    if (start == MAP_FAILED)
        fail(w, "mremap of %llu to %llu pages, flags %x: %s", (unsigned long long)old_pages, (unsigned long long)pages, flags, strerror(errno));
    return start;
}

static void check_mapping(struct worker *w, struct mapping *m, unsigned count)
{
    while (count-- > 0) {
        unsigned page = (unsigned)below(w, m->pages);
        page_expect(w, m->start + page * PAGE, m->label[page], "a page that was moved about");
    }
}

static void change_mapping(struct worker *w, struct mapping *m)
{
    unsigned page = (unsigned)below(w, m->pages);
    page_expect(w, m->start + page * PAGE, m->label[page], "a page that was moved about");
    m->label[page] = next_random(w) | 1;
    page_write(m->start + page * PAGE, m->label[page]);
}

// To another slot; with keep, the old place stays mapped, empty (MREMAP_DONTUNMAP).
static void move_to_slot(struct worker *w, struct mapping *m, int keep)
{
    uint8_t *old = m->start;
    unsigned old_slot = m->slot, slot = free_slot(w);
    m->start = remap(w, old, m->pages, m->pages, MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0), slot_start(slot));
    m->slot = slot;
    if (keep) {
        for (unsigned page = 0; page < m->pages; page += 7)
            page_expect(w, old + page * PAGE, 0, "a page that was moved away with DONTUNMAP");
        page_write(old, 77);
        page_expect(w, old, 77, "a page written where others were moved away");
        if (old_slot == SLOTS)
            munmap(old, m->pages * PAGE);
    }
    vacate(w, old_slot);
}

// Grows or shrinks, in place or elsewhere.
static void resize(struct worker *w, struct mapping *m)
{
    unsigned pages = 1 + (unsigned)below(w, SLOT_PAGES), old_slot = m->slot;
    uint8_t *old = m->start;
    m->start = remap(w, old, m->pages, pages, MREMAP_MAYMOVE, NULL);
    for (unsigned page = m->pages; page < pages; page++) {
        m->label[page] = 0;
        if (page % 5 == 0)
            page_expect(w, m->start + page * PAGE, 0, "a page grown by mremap");
    }
    m->pages = pages;
    if (m->start != old) {
        m->slot = SLOTS;
        vacate(w, old_slot);
    } else if (m->slot != SLOTS) {
        // What shrinking gave back must not go to somebody else.
        if (pages < SLOT_PAGES)
            map_checked(w, m->start + pages * PAGE, (SLOT_PAGES - pages) * PAGE, PROT_NONE, MAP_FIXED | MAP_NORESERVE);
    }
}

// Some pages of one mapping take the place of some of another; a hole stays behind and is filled.
static void move_part(struct worker *w, struct mapping *from, struct mapping *to)
{
    unsigned limit = from->pages < to->pages ? from->pages : to->pages;
    unsigned pages = 1 + (unsigned)below(w, limit), first = (unsigned)below(w, from->pages - pages + 1), target = (unsigned)below(w, to->pages - pages + 1);
    remap(w, from->start + first * PAGE, pages, pages, MREMAP_MAYMOVE | MREMAP_FIXED, to->start + target * PAGE);
    map_checked(w, from->start + first * PAGE, pages * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    for (unsigned page = 0; page < pages; page++) {
        to->label[target + page] = from->label[first + page];
        from->label[first + page] = 0;
    }
    page_expect(w, from->start + first * PAGE, 0, "a page mapped where others were moved away");
}

// mremap of one range wants one VMA, which moved parts are not: everything is copied together.
static void renew(struct worker *w, struct mapping *m)
{
    unsigned slot = free_slot(w), old_slot = m->slot;
    uint8_t *start = map_checked(w, slot_start(slot), m->pages * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    memcpy(start, m->start, m->pages * PAGE);
    if (old_slot == SLOTS)
        munmap(m->start, m->pages * PAGE);
    vacate(w, old_slot);
    m->start = start;
    m->slot = slot;
}

void do_mremap(struct worker *w)
{
    static struct mapping mapping[10];
    window = map_checked(w, NULL, (uint64_t)SLOTS * SLOT_PAGES * 2 * PAGE, PROT_NONE, MAP_NORESERVE);
    for (unsigned i = 0; i < 10; i++) {
        struct mapping *m = &mapping[i];
        m->pages = SLOT_PAGES / 2 + (unsigned)below(w, SLOT_PAGES / 2);
        m->slot = free_slot(w);
        m->start = map_checked(w, slot_start(m->slot), m->pages * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
        for (unsigned page = 0; page < m->pages; page++) {
            m->label[page] = next_random(w) | 1;
            page_write(m->start + page * PAGE, m->label[page]);
        }
    }
    while (running(w)) {
        struct mapping *m = &mapping[below(w, 10)], *other = &mapping[below(w, 10)];
        switch (calm(w) ? 5 : below(w, 6)) {
        case 0: move_to_slot(w, m, 0); break;
        case 1: move_to_slot(w, m, 1); break;
        case 2: resize(w, m); break;
        case 3:
            if (m != other) {
                move_part(w, m, other);
                check_mapping(w, other, 4);
                renew(w, m);
                renew(w, other);
            }
            break;
        default: change_mapping(w, m); break;
        }
        check_mapping(w, m, 4);
    }
    for (unsigned i = 0; i < 10; i++)
        for (unsigned page = 0; page < mapping[i].pages; page++)
            page_expect(w, mapping[i].start + page * PAGE, mapping[i].label[page], "a page that was moved about, at the end");
}

// ---------------------------------------------------------------- munmap, mprotect

static void range_of(struct worker *w, const struct region *r, uint64_t longest, uint64_t *first, uint64_t *count)
{
    *count = 1 + below(w, longest);
    *first = below(w, r->pages - *count + 1);
}

// Holes in the middle, filled again with something else.
void do_unmap(struct worker *w)
{
    struct region r = region_make(w, 2048, 0);
    region_fill(w, &r);
    while (running(w)) {
        uint64_t first, count;
        region_touch_some(w, &r, 8);
        if (calm(w))
            continue;
        range_of(w, &r, below(w, 4) == 0 ? 256 : 8, &first, &count);
        // A page may be looked at before it goes: it is on its way when it does.
        region_check(w, &r, first);
        if (below(w, 2) == 0)
            munmap(r.start + first * PAGE, count * PAGE);
        map_checked(w, r.start + first * PAGE, count * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
        memset(r.label + first, 0, count * sizeof *r.label);
        region_check(w, &r, first);
        region_check(w, &r, first + count - 1);
        region_touch_some(w, &r, 4);
        region_check_some(w, &r, 8);
    }
    region_check_all(w, &r);
}

// Memory that cannot be read or written for a while.
void do_protect(struct worker *w)
{
    struct region r = region_make(w, 2048, 0), hidden = region_make(w, 1024, 0), read_only = region_make(w, 1024, 0);
    region_fill(w, &r);
    region_fill(w, &hidden);
    region_fill(w, &read_only);
    mprotect(hidden.start, hidden.pages * PAGE, PROT_NONE);
    mprotect(read_only.start, read_only.pages * PAGE, PROT_READ);
    while (running(w)) {
        uint64_t first, count;
        range_of(w, &r, 32, &first, &count);
        mprotect(r.start + first * PAGE, count * PAGE, below(w, 2) ? PROT_NONE : PROT_READ);
        region_check_some(w, &read_only, 8);
        mprotect(r.start + first * PAGE, count * PAGE, PROT_READ | PROT_WRITE);
        region_check(w, &r, first);
        region_touch_some(w, &r, 4);
        if (w->rounds % 64 == 0 && shared->moves > 0) {
            uint64_t page = below(w, hidden.pages);
            mprotect(hidden.start + page * PAGE, PAGE, PROT_READ);
            region_check(w, &hidden, page);
            mprotect(hidden.start + page * PAGE, PAGE, PROT_NONE);
        }
    }
    mprotect(hidden.start, hidden.pages * PAGE, PROT_READ);
    region_check_all(w, &hidden);
    region_check_all(w, &read_only);
    region_check_all(w, &r);
}

// ------------------------------------------------------------------------ madvise

static void discard(struct worker *w, struct region *r, uint64_t longest)
{
    uint64_t first, count;
    range_of(w, r, longest, &first, &count);
    if (madvise(r->start + first * PAGE, count * PAGE, MADV_DONTNEED) != 0)
        fail(w, "madvise DONTNEED: %s", strerror(errno));
    memset(r->label + first, 0, count * sizeof *r->label);
    region_check(w, r, first);
    region_check(w, r, first + count - 1);
}

// After MADV_FREE a page is what it was or zeroes, until it is written.
static void offer(struct worker *w, struct region *r, uint64_t longest)
{
    uint64_t first, count;
    range_of(w, r, longest, &first, &count);
    if (madvise(r->start + first * PAGE, count * PAGE, MADV_FREE) != 0)
        fail(w, "madvise FREE: %s", strerror(errno));
    for (uint64_t page = first; page < first + count; page++) {
        if (!page_is(r->start + page * PAGE, 0))
            region_check(w, r, page);
        region_write(w, r, page);
    }
}

static void advise(struct worker *w, struct region *r)
{
    static const int harmless[] = {MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
                                   MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL};
    uint64_t first, count;
    range_of(w, r, 600, &first, &count);
    // Some kernels know not all of them, and collapsing fails for many reasons; none may change a byte.
    (void)madvise(r->start + first * PAGE, count * PAGE, harmless[below(w, sizeof harmless / sizeof *harmless)]);
    region_check(w, r, first);
    region_check(w, r, first + count - 1);
}

void do_madvise(struct worker *w)
{
    struct region r = region_make(w, 4096, 0);
    region_fill(w, &r);
    while (running(w)) {
        switch (calm(w) ? 7 : below(w, 8)) {
        case 0: discard(w, &r, 600); break;
        case 1: case 2: discard(w, &r, 4); break;
        case 3: offer(w, &r, 64); break;
        case 4: offer(w, &r, 2); break;
        case 5: advise(w, &r); break;
        default: region_touch_some(w, &r, 16); break;
        }
        region_check_some(w, &r, 16);
    }
    region_check_all(w, &r);
}
