// Processes that do everything to their memory that real programs do, and check every byte of it.
//
//   storm DIRECTORY SEED WORKER...
//
// Each worker is a process, some of them with threads and children of their own.  In DIRECTORY:
//
//   log       as walker's: "HOST SEQUENCE UNIX-MICROSECONDS" every few milliseconds
//   status    "NAME ROUNDS" a line
//   stop      made by others: check everything once more, and end
//   result    "OK", or "BAD" and what was wrong, once all have ended
//
// Ends as soon as one worker finds something wrong.
#include "storm.h"
#include <stdarg.h>

struct shared *shared;

static const struct { const char *name; work *run; } all_workers[] = {
    {"threads", do_threads}, {"fork", do_fork}, {"cow", do_cow}, {"exec", do_exec}, {"vfork", do_vfork}, {"shell", do_shell},
    {"exits", do_exits}, {"zombies", do_zombies}, {"mremap", do_mremap}, {"unmap", do_unmap}, {"madvise", do_madvise},
    {"protect", do_protect}, {"arena", do_arena}, {"gc", do_gc}, {"fresh", do_fresh}, {"stacks", do_stacks},
    {"locked", do_locked}, {"shared", do_shared}, {"files", do_files}, {"huge", do_huge}, {"nohuge", do_nohuge},
    {"hugetlb", do_hugetlb}, {"ksm", do_ksm}, {"sparse", do_sparse}, {"zero", do_zero}, {"seccomp", do_seccomp},
    {"border", do_border}, {"late-exits", do_late_exits}, {"wide", do_wide},
};

uint64_t next_random(struct worker *w)
{
    w->random += 0x9e3779b97f4a7c15u;
    return mix(w->random);
}

uint64_t below(struct worker *w, uint64_t limit) { return next_random(w) % limit; }

_Noreturn void fail(struct worker *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    // The first of a family to fail is the one to believe.
    if (w->self != NULL && w->self->failure[0] == 0)
        vsnprintf(w->self->failure, sizeof w->self->failure, format, arguments);
    va_end(arguments);
    _exit(3);
}

int calm(struct worker *w) { return shared->settled && below(w, 16) != 0; }

void pause_us(long us)
{
    struct timespec pause = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

int running(struct worker *w)
{
    w->rounds++;
    pause_us(1000);
    return !shared->stop;
}

pid_t fork_checked(struct worker *w)
{
    pid_t pid = fork();
    if (pid < 0)
        fail(w, "fork: %s", strerror(errno));
    return pid;
}

void reap(struct worker *w, pid_t pid, int code, const char *what)
{
    int status;
    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            fail(w, "waitpid for %s: %s", what, strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail(w, "%s ended with status %x instead of code %d", what, status, code);
}

// Log lines, of 5 ms at least, after which a move is over.
#define LINES_TO_SETTLE 800

static char directory[200];

static void path_of(const char *name, char *path, size_t size) { snprintf(path, size, "%s/%s", directory, name); }

static void start(struct worker *w, const char *name, uint64_t seed)
{
    work *run = NULL;
    for (unsigned i = 0; i < sizeof all_workers / sizeof *all_workers; i++)
        if (strcmp(all_workers[i].name, name) == 0)
            run = all_workers[i].run;
    if (run == NULL) {
        fprintf(stderr, "storm: no worker %s\n", name);
        exit(2);
    }
    snprintf(w->name, sizeof w->name, "%s", name);
    w->self = w;
    w->random = seed;
    for (const char *c = name; *c; c++)
        w->random = mix(w->random + (uint8_t)*c);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        run(w);
        _exit(0);
    }
    w->pid = pid;
}

// Reaps what has ended, orphans included.  Returns the number of workers that live; names one that failed.
static unsigned reap_workers(unsigned workers, char *bad, size_t size)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < workers; i++) {
            struct worker *w = &shared->worker[i];
            if (w->pid != pid)
                continue;
            w->pid = 0;
            if (status != 0 && bad[0] == 0)
                snprintf(bad, size, "%s after %llu rounds and %d moves: status %x, %s", w->name, (unsigned long long)w->rounds,
                         shared->moves, status, w->failure[0] ? w->failure : "no reason given");
        }
    unsigned alive = 0;
    for (unsigned i = 0; i < workers; i++)
        alive += shared->worker[i].pid != 0;
    return alive;
}

static void write_status(unsigned workers)
{
    char path[256], text[MAX_WORKERS * 40];
    size_t length = 0;
    for (unsigned i = 0; i < workers; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s %llu\n", shared->worker[i].name,
                                   (unsigned long long)shared->worker[i].rounds);
    path_of("status", path, sizeof path);
    write_small(path, text);
}

int main(int argc, char **argv)
{
    char log_path[256], stop_path[256], result_path[256], host[64], last_host[64], bad[400] = "", result[512];

    if (argc == 4 && strcmp(argv[1], "exec-check") == 0)
        return exec_check(argv);
    unsigned workers = argc < 4 ? 0 : (unsigned)argc - 3;
    if (workers == 0 || workers > MAX_WORKERS) {
        fprintf(stderr, "usage: storm DIRECTORY SEED WORKER...\n");
        return 2;
    }
    snprintf(directory, sizeof directory, "%s", argv[1]);
    path_of("log", log_path, sizeof log_path);
    path_of("stop", stop_path, sizeof stop_path);
    path_of("result", result_path, sizeof result_path);
    if (chdir(directory) != 0)
        die(directory);

    shared = mmap(NULL, (sizeof *shared + PAGE - 1) / PAGE * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    read_host(last_host, sizeof last_host);
    for (unsigned i = 0; i < workers; i++)
        start(&shared->worker[i], argv[i + 3], strtoull(argv[2], NULL, 0));

    shared->settled = 1;
    for (uint64_t sequence = 0, moved_at = 0;; sequence++) {
        read_host(host, sizeof host);
        if (strcmp(host, last_host) != 0) {
            memcpy(last_host, host, sizeof host);
            shared->moves++;
            shared->settled = 0;
            moved_at = sequence;
        }
        if (sequence - moved_at > LINES_TO_SETTLE)
            shared->settled = 1;
        write_log_line(log_path, host, sequence);
        if (access(stop_path, F_OK) == 0)
            shared->stop = 1;
        unsigned alive = reap_workers(workers, bad, sizeof bad);
        write_status(workers);
        if (alive == 0 || bad[0] != 0)
            break;
        pause_us(5000);
    }
    snprintf(result, sizeof result, "%s%s\n", bad[0] ? "BAD " : "OK", bad);
    write_small(result_path, result);
    // pid 1 of a container takes everybody with it.
    return bad[0] != 0;
}
