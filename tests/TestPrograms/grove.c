// Many processes, each with memory of its own that it checks and rewrites all the time.
//
//   grove DIRECTORY PROCESSES PAGES
//
// Of the PROCESSES half are children of the root, half are a chain, each the parent of the next; every tenth child of the root has ended and
// is not waited for.  In DIRECTORY:
//
//   log       as walker's: "HOST SEQUENCE UNIX-MICROSECONDS" every few milliseconds
//   stop      made by others: have everybody check everything once more, and end
//   result    "OK PROCESSES", or "BAD" and who found what
#include "bed.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MAX_PROCESSES 1000
#define ENDED_EACH 10

struct shared {
    volatile int stop;
    volatile uint32_t checked[MAX_PROCESSES];   // rounds over all of its pages
    volatile uint32_t bad_page[MAX_PROCESSES];  // one more than its number
};
static struct shared *shared;
static unsigned processes, pages;

static uint64_t word_of(unsigned process, unsigned page, uint32_t round, unsigned i)
{
    return mix(((uint64_t)process << 40) + ((uint64_t)page << 20) + round) + i;
}

static void fill(uint64_t *memory, unsigned process, unsigned page, uint32_t round)
{
    for (unsigned i = 0; i < PAGE / 8; i++)
        memory[page * (PAGE / 8) + i] = word_of(process, page, round, i);
}

static void live(unsigned process)
{
    uint64_t *memory = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    for (unsigned page = 0; page < pages; page++)
        fill(memory, process, page, 0);
    int stop;
    do {
        stop = shared->stop;
        uint32_t round = shared->checked[process];
        for (unsigned page = 0; page < pages; page++) {
            for (unsigned i = 0; i < PAGE / 8; i++)
                if (memory[page * (PAGE / 8) + i] != word_of(process, page, round, i)) {
                    shared->bad_page[process] = page + 1;
                    _exit(3);
                }
            fill(memory, process, page, round + 1);
        }
        shared->checked[process] = round + 1;
        usleep(20000 + process * 100);
    } while (!stop);
}

static void chain(unsigned process)
{
    pid_t next = 0;
    while (process + 1 < processes && (next = fork()) == 0)
        process++;
    if (next < 0)
        die("fork");
    live(process);
    int status = 0;
    if (next > 0 && (waitpid(next, &status, 0) != next || status != 0))
        _exit(3);
    _exit(0);
}

static int all_filled(void)
{
    for (unsigned i = 1; i < processes; i++)
        if (shared->checked[i] == 0 && !(i < processes / 2 && i % ENDED_EACH == 0))
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    char log_path[256], stop_path[256], result_path[256], host[64], result[128];
    processes = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    pages = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    if (processes < 4 || processes > MAX_PROCESSES || pages == 0) {
        fprintf(stderr, "usage: grove DIRECTORY PROCESSES PAGES\n");
        return 2;
    }
    snprintf(log_path, sizeof log_path, "%s/log", argv[1]);
    snprintf(stop_path, sizeof stop_path, "%s/stop", argv[1]);
    snprintf(result_path, sizeof result_path, "%s/result", argv[1]);
    shared = mmap(NULL, (sizeof *shared + PAGE - 1) / PAGE * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    for (unsigned process = 1; process <= processes / 2; process++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0 && process == processes / 2)
            chain(process);
        if (pid == 0) {
            if (process % ENDED_EACH != 0)
                live(process);
            _exit(process % ENDED_EACH != 0 ? 0 : 7);
        }
    }

    uint64_t sequence = 0;
    do {
        usleep(5000);
        if (!all_filled())
            continue;
        read_host(host, sizeof host);
        write_log_line(log_path, host, sequence++);
    } while (access(stop_path, F_OK) != 0);
    shared->stop = 1;

    unsigned ended = 0, zombies = 0;
    int status;
    for (; wait(&status) > 0; ended++) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == 7)
            zombies++;
        else if (status != 0)
            snprintf(result, sizeof result, "BAD status %x\n", status), write_small(result_path, result);
    }
    for (unsigned i = 1; i < processes; i++)
        if (shared->bad_page[i] != 0) {
            snprintf(result, sizeof result, "BAD page %u of process %u\n", shared->bad_page[i] - 1, i);
            write_small(result_path, result);
            return 1;
        }
    if (access(result_path, F_OK) != 0) {
        snprintf(result, sizeof result, "OK %u children, %u ended before\n", ended, zombies);
        write_small(result_path, result);
    }
    return 0;
}
