// Touches the pages of a region in some order and measures each touch.
#pragma once
#include "bed.h"
#include <math.h>
#include <sys/resource.h>

// No missing page can be brought faster: a thread must be woken for it.
#define SURELY_PRESENT_NS 3000u

// Buckets of 1/16 of a power of two, as HdrHistogram's: 6 % wide.
#define BUCKETS (64 * 16)
struct histogram {
    uint32_t count[BUCKETS];
    uint64_t total;
};

// Each thread that sweeps has its own.
static __thread struct histogram touches, waits;

static unsigned bucket(uint64_t ns)
{
    if (ns < 16)
        return (unsigned)ns;
    unsigned top = 63 - (unsigned)__builtin_clzll(ns);
    return (top - 3) * 16 + (unsigned)(ns >> (top - 4)) % 16;
}

static double bucket_us(unsigned b)
{
    if (b < 16)
        return b / 1000.0;
    return (double)((16u + b % 16) * (1ull << (b / 16 - 1))) / 1000.0;
}

static void record(struct histogram *h, uint64_t ns)
{
    h->count[bucket(ns)]++;
    h->total++;
}

// A touch that took long waited for a page or for a CPU: only the first is a fault.
static int waited_for_page(uint64_t ns)
{
    static __thread long seen;
    struct rusage used;
    if (ns < SURELY_PRESENT_NS)
        return 0;
    getrusage(RUSAGE_THREAD, &used);
    long faults = used.ru_minflt + used.ru_majflt;
    int waited = faults > seen;
    seen = faults;
    return waited;
}

static double percentile_us(const struct histogram *h, double fraction)
{
    uint64_t seen = 0;
    for (unsigned b = 0; b < BUCKETS && h->total != 0; b++) {
        seen += h->count[b];
        if ((double)seen >= fraction * (double)h->total)
            return bucket_us(b);
    }
    return 0;
}

// A permutation without a table (a table would be missing memory itself): a full-period
// generator modulo 2^bits, its output scrambled by a bijection, numbers >= pages skipped.
static uint64_t scrambled(uint64_t x, unsigned bits)
{
    uint64_t mask = (1ull << bits) - 1;
    x ^= x >> (bits / 2 + 1);
    x = x * 0x9e3779b97f4a7c15u & mask;
    x ^= x >> (bits / 2 + 1);
    return x;
}

// Pages of a stride: far enough apart that no neighbour comes along.
#define STRIDE 16

// Draws page numbers 0 to n - 1 as often as Zipf's law says (exponent 0.99, YCSB's), by the
// approximation of Gray et al. (SIGMOD 1994); which pages are the popular ones is scattered.
struct zipf {
    uint64_t n, state;
    double theta, zeta, alpha, eta;
};

static struct zipf zipf_of(uint64_t n)
{
    struct zipf z = {.n = n, .state = 1, .theta = 0.99};
    for (uint64_t i = 1; i <= n; i++)
        z.zeta += pow((double)i, -z.theta);
    z.alpha = 1 / (1 - z.theta);
    z.eta = (1 - pow(2.0 / (double)n, 1 - z.theta)) / (1 - (1 + pow(0.5, z.theta)) / z.zeta);
    return z;
}

static uint64_t zipf_next(struct zipf *z)
{
    z->state = mix(z->state);
    double u = (double)(z->state >> 11) / (double)(1ull << 53), at = u * z->zeta;
    uint64_t rank = at < 1 ? 0 : at < 1 + pow(0.5, z->theta) ? 1 : (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
    return mix(rank) % z->n;
}

// ORDER: sequential; random; strided (every 16th page, then the next 16th...): each page once.
// zipf: as many touches as there are pages, of popular pages often and of many never.
static void sweep(uint64_t *memory, uint64_t pages, const char *order, char *text, size_t size)
{
    // This memory may be missing as well; it must not be what is measured.
    memset(&touches, 0, sizeof touches);
    memset(&waits, 0, sizeof waits);
    waited_for_page(UINT64_MAX);
    int random = strcmp(order, "random") == 0, strided = strcmp(order, "strided") == 0;
    struct zipf popular = {0};
    if (strcmp(order, "zipf") == 0)
        popular = zipf_of(pages);
    unsigned bits = 64 - (unsigned)__builtin_clzll(pages | 1);
    uint64_t limit = random ? 1ull << bits : strided ? (pages + STRIDE - 1) / STRIDE * STRIDE : pages, state = 0, largest = 0, sum = 0;
    uint64_t begin = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < limit; i++) {
        uint64_t page = i;
        if (strided) {
            page = i % ((pages + STRIDE - 1) / STRIDE) * STRIDE + i / ((pages + STRIDE - 1) / STRIDE);
            if (page >= pages)
                continue;
        } else if (popular.n != 0) {
            page = zipf_next(&popular);
        } else if (random) {
            state = (state * 6364136223846793005u + 1442695040888963407u) & (limit - 1);
            page = scrambled(state, bits);
            if (page >= pages)
                continue;
        }
        uint64_t before = now_ns(CLOCK_MONOTONIC);
        sum += *(volatile uint64_t *)(memory + page * (PAGE / 8));
        uint64_t ns = now_ns(CLOCK_MONOTONIC) - before;
        record(&touches, ns);
        if (waited_for_page(ns))
            record(&waits, ns);
        if (ns > largest)
            largest = ns;
    }
    double total = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e6;
    snprintf(text, size,
             "swept order=%s pages=%llu p50us=%.2f p99us=%.2f maxus=%.2f totalms=%.3f waits=%llu waitp50us=%.2f "
             "waitp99us=%.2f sum=%llx",
             order, (unsigned long long)pages, percentile_us(&touches, 0.5), percentile_us(&touches, 0.99),
             (double)largest / 1e3, total, (unsigned long long)waits.total, percentile_us(&waits, 0.5),
             percentile_us(&waits, 0.99), (unsigned long long)sum);
}
