// Threads, children, and what becomes of both.
#include "storm.h"
#include <pthread.h>
#include <spawn.h>

// ------------------------------------------------------------------------ threads

static void *thread_work(void *argument)
{
    struct worker own = *(struct worker *)argument;
    struct region r = region_make(&own, 512, 0);
    region_fill(&own, &r);
    while (!shared->stop) {
        region_touch_some(&own, &r, 4);
        region_check_some(&own, &r, 8);
        pause_us(500);
    }
    region_check_all(&own, &r);
    munmap(r.start, r.pages * PAGE);
    free(r.label);
    return NULL;
}

static void *short_thread(void *argument)
{
    uint64_t page[PAGE / 8];
    page_write(page, (uint64_t)(uintptr_t)argument);
    return (void *)(uintptr_t)page_is(page, (uint64_t)(uintptr_t)argument);
}

// Long-lived threads with memory of their own, and new ones all the time.
void do_threads(struct worker *w)
{
    static struct worker of_thread[4];
    pthread_t thread[4], brief;
    void *good;
    for (unsigned i = 0; i < 4; i++) {
        of_thread[i] = *w;
        of_thread[i].random += i;
        if (pthread_create(&thread[i], NULL, thread_work, &of_thread[i]) != 0)
            fail(w, "pthread_create");
    }
    while (running(w)) {
        if (pthread_create(&brief, NULL, short_thread, (void *)(uintptr_t)(w->rounds + 1)) != 0)
            fail(w, "pthread_create of a short-lived thread");
        pthread_join(brief, &good);
        if (good == NULL)
            fail(w, "a short-lived thread's stack is not what it wrote");
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
}

// --------------------------------------------------------------------------- fork

static int child_checks(struct worker *w, struct region *r, int depth)
{
    region_check_some(w, r, 16);
    region_touch_some(w, r, 8);
    if (depth > 0) {
        pid_t pid = fork_checked(w);
        if (pid == 0)
            _exit(child_checks(w, r, depth - 1));
        region_touch_some(w, r, 4);
        reap(w, pid, 5, "a grandchild");
    }
    region_check_some(w, r, 16);
    return 5;
}

// Short-lived children that read and write what they share with their parent, while that writes as well.
void do_fork(struct worker *w)
{
    struct region r = region_make(w, 2048, 0);
    region_fill(w, &r);
    while (running(w)) {
        pid_t child[3];
        unsigned children = 1 + (unsigned)below(w, 3);
        for (unsigned i = 0; i < children; i++) {
            child[i] = fork_checked(w);
            if (child[i] == 0) {
                struct worker own = *w;
                own.random += i + 1;
                _exit(child_checks(&own, &r, (int)below(&own, 3)));
            }
            region_touch_some(w, &r, 2);
        }
        region_touch_some(w, &r, 4);
        for (unsigned i = 0; i < children; i++)
            reap(w, child[i], 5, "a child");
        region_check_some(w, &r, 16);
    }
    region_check_all(w, &r);
}

// Before the move each writes none but its own sixteenth: how much is shared must not depend on when that comes.
static void cow_touch(struct worker *w, struct region *r, unsigned own)
{
    if (shared->moves > 0) {
        region_touch_some(w, r, 2);
        return;
    }
    for (unsigned n = 0; n < 2; n++) {
        uint64_t page = below(w, r->pages / 16) * 16 + own;
        region_check(w, r, page);
        region_write(w, r, page);
    }
}

// A family that was there before the move, shares most of its pages, and goes on changing its own.
void do_cow(struct worker *w)
{
    struct region r = region_make(w, 2048, 0);
    pid_t child[4];
    region_fill(w, &r);
    for (unsigned i = 0; i < 4; i++) {
        child[i] = fork_checked(w);
        if (child[i] == 0) {
            struct worker own = *w;
            own.random += i + 1;
            for (uint64_t page = i; page < r.pages; page += 16)
                region_write(&own, &r, page);
            while (!shared->stop) {
                cow_touch(&own, &r, i);
                region_check_some(&own, &r, 8);
                pause_us(2000);
            }
            region_check_all(&own, &r);
            _exit(6);
        }
    }
    while (running(w)) {
        cow_touch(w, &r, 4);
        region_check_some(w, &r, 8);
        for (unsigned i = 0; i < 4; i++)
            if (waitpid(child[i], NULL, WNOHANG) != 0 && !shared->stop)
                fail(w, "child %u of the family ended early", i);
    }
    region_check_all(w, &r);
    for (unsigned i = 0; i < 4; i++)
        waitpid(child[i], NULL, 0);
}

// --------------------------------------------------------------------------- exec

int exec_check(char **argv)
{
    static struct worker w;
    w.random = strtoull(argv[3], NULL, 16);
    struct region r = region_make(&w, 64, 0);
    region_fill(&w, &r);
    region_check_all(&w, &r);
    return atoi(argv[2]);
}

// fork and exec, vfork and exec, posix_spawn, and a vfork whose child only ends.
void do_exec(struct worker *w)
{
    struct region r = region_make(w, 1024, 0);
    region_fill(w, &r);
    while (running(w)) {
        char code_text[12], seed[24];
        int code = 10 + (int)below(w, 90);
        snprintf(code_text, sizeof code_text, "%d", code);
        snprintf(seed, sizeof seed, "%llx", (unsigned long long)next_random(w));
        char *arguments[] = {"storm", "exec-check", code_text, seed, NULL}, *environment[] = {NULL};
        pid_t pid;
        switch (below(w, 4)) {
        case 0:
            pid = fork_checked(w);
            if (pid == 0) {
                region_touch_some(w, &r, 4);
                execve("/proc/self/exe", arguments, environment);
                _exit(4);
            }
            break;
        case 1:
            pid = vfork();
            if (pid == 0) {
                execve("/proc/self/exe", arguments, environment);
                _exit(4);
            }
            break;
        case 2:
            if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environment) != 0)
                fail(w, "posix_spawn");
            break;
        default:
            pid = vfork();
            if (pid == 0)
                _exit(code);
            break;
        }
        region_touch_some(w, &r, 4);
        reap(w, pid, code, "a program");
    }
    region_check_all(w, &r);
}

// A vfork whose child takes its time for as long as there is a file "hold", and says so by "held": meanwhile the parent cannot be stopped.  With a file
// "seldom" there is a while between one and the next in which it can.
void do_vfork(struct worker *w)
{
    struct region r = region_make(w, 256, 0);
    region_fill(w, &r);
    while (running(w)) {
        pid_t pid = vfork();
        if (pid == 0) {
            while (access("hold", F_OK) == 0) {
                write_small("held", "");
                pause_us(1000);
            }
            _exit(8);
        }
        reap(w, pid, 8, "a child of vfork");
        region_check_some(w, &r, 4);
        if (access("seldom", F_OK) == 0)
            pause_us(50000);
    }
    region_check_all(w, &r);
}

// A shell script: hundreds of children that live for a millisecond.
void do_shell(struct worker *w)
{
    static const char script[] =
        "n=0; text=$(cat /proc/self/status)\n"
        "while [ ! -e stop ]; do\n"
        "  n=$((n + 1)); double=$(echo $((n * 2)) | cat)\n"
        "  [ \"$double\" = $((n * 2)) ] || { echo \"double of $n is $double\"; exit 1; }\n"
        "  (exit 3); [ $? = 3 ] || { echo 'a subshell lost its code'; exit 1; }\n"
        "  echo round\n"
        "done\n";
    int pipes[2];
    char line[120];
    if (pipe(pipes) != 0)
        fail(w, "pipe");
    pid_t pid = fork_checked(w);
    if (pid == 0) {
        dup2(pipes[1], 1);
        close(pipes[0]);
        execl("/bin/sh", "sh", "-c", script, NULL);
        _exit(4);
    }
    close(pipes[1]);
    FILE *output = fdopen(pipes[0], "r");
    while (fgets(line, sizeof line, output) != NULL) {
        w->rounds++;
        if (strcmp(line, "round\n") != 0)
            fail(w, "the shell script says: %s", line);
    }
    reap(w, pid, 0, "the shell script");
}

// -------------------------------------------------------------------- exit, zombie

#define MANY 12

static pid_t sleeper(struct worker *w)
{
    pid_t pid = fork_checked(w);
    if (pid == 0) {
        struct region r = region_make(w, 256, 0);
        region_fill(w, &r);
        for (;;)
            pause();
    }
    return pid;
}

// Children that end one after the other without ever having touched what they are owed.
static void end_children(struct worker *w, long patience_us)
{
    pid_t child[MANY];
    for (unsigned i = 0; i < MANY; i++)
        child[i] = sleeper(w);
    int moves = shared->moves;
    while (running(w)) {
        pause_us(20000);
        if (shared->moves == moves)
            continue;
        pause_us(patience_us);
        patience_us = 0;
        unsigned i = (unsigned)below(w, MANY);
        int status;
        kill(child[i], SIGKILL);
        if (waitpid(child[i], &status, 0) != child[i] || !WIFSIGNALED(status))
            fail(w, "a killed child ended with status %x", status);
        child[i] = sleeper(w);
    }
    for (unsigned i = 0; i < MANY; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
}

void do_exits(struct worker *w) { end_children(w, 0); }

// CRIU lets the processes that it has restored go one by one, and fails when one that it has not let go ends.
void do_late_exits(struct worker *w) { end_children(w, 1000000); }

// Zombies move as well, with their exit codes.
void do_zombies(struct worker *w)
{
    pid_t zombie[4];
    int code[4];
    for (unsigned generation = 0;; generation++) {
        int moves = shared->moves;
        for (unsigned i = 0; i < 4; i++) {
            code[i] = 1 + (int)below(w, 100);
            zombie[i] = fork_checked(w);
            if (zombie[i] == 0)
                _exit(code[i]);
        }
        int more = 1;
        while (shared->moves == moves && more)
            more = running(w);
        for (unsigned i = 0; i < 4; i++)
            reap(w, zombie[i], code[i], "a zombie");
        if (!more)
            return;
    }
}
