// A program whose memory proves itself.
//
//   walker DIRECTORY MIB [THREADS [mixed|mostly-zero|full]]
//
// Every page holds a pattern of its number and its generation; the generations are in a table
// beside it.  Threads read random pages (every byte is checked) and rewrite random pages (the
// next generation) all the time.  In DIRECTORY:
//
//   log       "HOST SEQUENCE UNIX-MICROSECONDS" every few milliseconds, one write each.  HOST is what
//             the machine says, SEQUENCE is counted in our memory: whatever ran twice, went
//             back or was lost shows as a number twice, a number less, or one missing.
//   command   "ID VERB..." given to us; written by others with rename
//   answer    "ID ..." what became of it
//   moved     what came of the command given with on-move, once we find ourselves on another host
//
// Commands: verify | stats | sweep sequential|random|strided|zipf | rest | work | on-move COMMAND | quit
// (rest: the threads touch nothing until work)
#include "bed.h"
#include "sweep.h"
#include <pthread.h>
#include <sys/mman.h>

#define WORDS (PAGE / 8)
#define MAX_THREADS 16
#define LOG_INTERVAL_NS 2000000u
#define BATCH_READS 32
#define BATCH_WRITES 8

static uint64_t *memory;
static uint32_t *generation;    // 0: the page is all zeroes
static uint64_t pages, seed;
static unsigned threads = 1;
static char directory[200];
static pthread_mutex_t turn[MAX_THREADS];   // held by a worker for a batch, by a command for all
static uint64_t reads[MAX_THREADS], writes[MAX_THREADS];
static volatile uint64_t bad_pages, first_bad;

static int mostly_zero, full;
static volatile int resting;

// Some pages are zero because zeroes were written, some because nothing ever was: a page
// table entry, a zero run on the wire and a hole must come out the same.
static int written_zero(uint64_t page) { return full ? 0 : mostly_zero ? page % 16 != 8 && page % 16 != 0 : page % 16 == 7; }
static int never_touched(uint64_t page) { return !full && page % 16 == 8; }

static uint64_t word(uint64_t page, uint32_t g, unsigned i)
{
    return mix(seed + page * 0x9e3779b97f4a7c15u + g) + i * 0xd1342543de82ef95u;
}

static void fill(uint64_t page)
{
    uint64_t *p = memory + page * WORDS, first = word(page, generation[page], 0);
    for (unsigned i = 0; i < WORDS; i++)
        p[i] = generation[page] == 0 ? 0 : first + i * 0xd1342543de82ef95u;
}

static int check(uint64_t page)
{
    const uint64_t *p = memory + page * WORDS;
    uint64_t first = word(page, generation[page], 0), difference = 0;
    if (generation[page] == 0)
        for (unsigned i = 0; i < WORDS; i++)
            difference |= p[i];
    else
        for (unsigned i = 0; i < WORDS; i++)
            difference |= p[i] ^ (first + i * 0xd1342543de82ef95u);
    if (difference == 0)
        return 1;
    if (__atomic_fetch_add(&bad_pages, 1, __ATOMIC_RELAXED) == 0) {
        first_bad = page;
        // For whoever looks when we are dead.
        char path[sizeof directory + 8];
        snprintf(path, sizeof path, "%s/bad", directory);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    return 0;
}

// Worker t owns the pages p with p % threads == t: no page needs a lock of its own.
static void *work(void *argument)
{
    unsigned t = (unsigned)(uintptr_t)argument;
    uint64_t random = mix(seed + t + 1), own = pages / threads;
    for (;;) {
        pthread_mutex_lock(&turn[t]);
        for (unsigned n = 0; n < BATCH_READS + BATCH_WRITES && !resting; n++) {
            random = mix(random + 0x9e3779b97f4a7c15u);
            uint64_t page = random % own * threads + t;
            if (n < BATCH_READS) {
                check(page);
                reads[t]++;
            } else if (!never_touched(page) && !written_zero(page)) {
                check(page);
                generation[page]++;
                fill(page);
                writes[t]++;
            }
        }
        pthread_mutex_unlock(&turn[t]);
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

// ---------------------------------------------------------------------- commands

static uint64_t sequence, started, nonce;
static char on_move[64];

static void obey(const char *command, char *text, size_t size)
{
    for (unsigned t = 0; t < threads; t++)
        pthread_mutex_lock(&turn[t]);
    if (strcmp(command, "verify") == 0) {
        uint64_t bad = 0;
        for (uint64_t page = 0; page < pages; page++)
            bad += !check(page);
        snprintf(text, size, "%s checked=%llu bad=%llu", bad_pages ? "BAD" : "OK", (unsigned long long)pages,
                 (unsigned long long)bad);
    } else if (strncmp(command, "sweep ", 6) == 0) {
        sweep(memory, pages, command + 6, text, size);
    } else if (strcmp(command, "rest") == 0 || strcmp(command, "work") == 0) {
        resting = command[0] == 'r';
        snprintf(text, size, "%s", resting ? "resting" : "working");
    } else if (strncmp(command, "on-move ", 8) == 0) {
        snprintf(on_move, sizeof on_move, "%s", command + 8);
        snprintf(text, size, "armed");
    } else if (strcmp(command, "stats") == 0) {
        uint64_t all_reads = 0, all_writes = 0;
        for (unsigned t = 0; t < threads; t++) {
            all_reads += reads[t];
            all_writes += writes[t];
        }
        snprintf(text, size,
                 "stats pid=%d nonce=%llx started=%llu pages=%llu sequence=%llu reads=%llu writes=%llu bad=%llu "
                 "firstbad=%llu monotonic=%llu",
                 getpid(), (unsigned long long)nonce, (unsigned long long)started, (unsigned long long)pages,
                 (unsigned long long)sequence, (unsigned long long)all_reads, (unsigned long long)all_writes,
                 (unsigned long long)bad_pages, (unsigned long long)first_bad,
                 (unsigned long long)now_ns(CLOCK_MONOTONIC));
    } else {
        snprintf(text, size, "unknown command");
    }
    for (unsigned t = 0; t < threads; t++)
        pthread_mutex_unlock(&turn[t]);
}

static void path_of(const char *name, char *path, size_t size) { snprintf(path, size, "%s/%s", directory, name); }

// Returns 0 when told to quit.
static int poll_command(const char *path, const char *answer_path, char *last_id, size_t id_size)
{
    char line[256], answer[512], result[400];
    if (read_small(path, line, sizeof line) <= 0)
        return 1;
    char *space = strchr(line, ' ');
    if (space == NULL)
        return 1;
    *space = 0;
    if (strcmp(line, last_id) == 0)
        return 1;
    snprintf(last_id, id_size, "%.60s", line);
    int quit = strcmp(space + 1, "quit") == 0;
    if (quit)
        snprintf(result, sizeof result, "bye");
    else
        obey(space + 1, result, sizeof result);
    snprintf(answer, sizeof answer, "%.60s %s\n", line, result);
    write_small(answer_path, answer);
    return !quit;
}

static int run(int argc, char **argv)
{
    char log_path[256], command_path[256], answer_path[256], moved_path[256];
    char host[64], first_host[64], last_id[64] = "";

    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: walker DIRECTORY MIB [THREADS [mixed|mostly-zero|full]]\n");
        return 2;
    }
    snprintf(directory, sizeof directory, "%s", argv[1]);
    pages = strtoull(argv[2], NULL, 10) * 256;
    if (argc >= 4)
        threads = (unsigned)atoi(argv[3]);
    mostly_zero = argc == 5 && strcmp(argv[4], "mostly-zero") == 0;
    full = argc == 5 && strcmp(argv[4], "full") == 0;
    if (pages == 0 || threads == 0 || threads > MAX_THREADS)
        return 2;
    path_of("log", log_path, sizeof log_path);
    path_of("command", command_path, sizeof command_path);
    path_of("answer", answer_path, sizeof answer_path);
    path_of("moved", moved_path, sizeof moved_path);

    started = now_ns(CLOCK_REALTIME);
    nonce = mix(started ^ (uint64_t)(uintptr_t)&argc);
    seed = nonce;
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    generation = mmap(NULL, pages * sizeof *generation, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || generation == MAP_FAILED)
        die("mmap");
    for (uint64_t page = 0; page < pages; page++) {
        generation[page] = !(written_zero(page) || never_touched(page));
        if (!never_touched(page))
            fill(page);
    }
    for (unsigned t = 0; t < threads; t++) {
        pthread_t thread;
        pthread_mutex_init(&turn[t], NULL);
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)t) != 0)
            die("pthread_create");
    }

    read_host(first_host, sizeof first_host);
    for (;;) {
        read_host(host, sizeof host);
        write_log_line(log_path, host, sequence);
        sequence++;

        if (on_move[0] != 0 && strcmp(host, first_host) != 0) {
            char result[512];
            obey(on_move, result, sizeof result);
            on_move[0] = 0;
            write_small(moved_path, result);
        }
        if (!poll_command(command_path, answer_path, last_id, sizeof last_id))
            return 0;
        struct timespec pause = {0, LOG_INTERVAL_NS};
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv) { return in_mid_page(run, argc, argv); }
