#include "storm.h"

#define WORDS (PAGE / 8)

void page_write(void *page, uint64_t label)
{
    uint64_t *p = page, word = mix(label);
    for (unsigned i = 0; i < WORDS; i++)
        p[i] = label == 0 ? 0 : word + i * 0xd1342543de82ef95u;
}

int page_is(const void *page, uint64_t label)
{
    const uint64_t *p = page;
    uint64_t word = mix(label), difference = 0;
    for (unsigned i = 0; i < WORDS; i++)
        difference |= p[i] ^ (label == 0 ? 0 : word + i * 0xd1342543de82ef95u);
    return difference == 0;
}

void page_expect(struct worker *w, const void *page, uint64_t label, const char *what)
{
    if (page_is(page, label))
        return;
    const uint64_t *p = page;
    fail(w, "%s at %p should be %s, but begins with %llx%s", what, page, label == 0 ? "zeroes" : "its own content",
         (unsigned long long)p[0], page_is(page, 0) ? " and is all zeroes" : "");
}

void *map_checked(struct worker *w, void *at, uint64_t bytes, int protection, int flags)
{
    void *start = mmap(at, bytes, protection, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        fail(w, "mmap of %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
    return start;
}

struct region region_make(struct worker *w, uint64_t pages, int flags)
{
    struct region r = {map_checked(w, NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags), pages, NULL};
    r.label = calloc(pages, sizeof *r.label);
    if (r.label == NULL)
        fail(w, "no memory for labels");
    return r;
}

void region_fill(struct worker *w, struct region *r)
{
    for (uint64_t page = 0; page < r->pages; page++)
        region_write(w, r, page);
}

void region_write(struct worker *w, struct region *r, uint64_t page)
{
    r->label[page] = next_random(w) | 1;
    page_write(r->start + page * PAGE, r->label[page]);
}

void region_check(struct worker *w, const struct region *r, uint64_t page)
{
    char what[60];
    snprintf(what, sizeof what, "page %llu of %llu", (unsigned long long)page, (unsigned long long)r->pages);
    page_expect(w, r->start + page * PAGE, r->label[page], what);
}

void region_check_some(struct worker *w, const struct region *r, unsigned count)
{
    while (count-- > 0)
        region_check(w, r, below(w, r->pages));
}

void region_check_all(struct worker *w, const struct region *r)
{
    for (uint64_t page = 0; page < r->pages; page++)
        region_check(w, r, page);
}

void region_touch_some(struct worker *w, struct region *r, unsigned count)
{
    while (count-- > 0) {
        uint64_t page = below(w, r->pages);
        region_check(w, r, page);
        region_write(w, r, page);
    }
}
