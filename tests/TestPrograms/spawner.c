// Threads that call vfork(2), whose children share the program's memory for a while before they end, beside one that writes.
//
//   spawner FILE
//
// FILE is mapped, shared: words.  0: where the region is; 1: its pages; 2: set by others, whoever is to stand still; 3: how many do; 4: children so far.
// Every page of the region begins with the number of its last write.  Ends with its standard input.
#include "bed.h"
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGES 4096u
#define SPAWNERS 2

static volatile uint64_t *words;
static uint8_t *region;

static void rest(long us)
{
    struct timespec wait = {0, us * 1000};
    nanosleep(&wait, NULL);
}

static void stand_still(void)
{
    if (words[2] == 0)
        return;
    __atomic_add_fetch(&words[3], 1, __ATOMIC_SEQ_CST);
    while (words[2] != 0)
        rest(200);
    __atomic_sub_fetch(&words[3], 1, __ATOMIC_SEQ_CST);
}

static void *spawn(void *unused)
{
    (void)unused;
    for (;;) {
        stand_still();
        pid_t pid = vfork();
        if (pid == 0) {
            rest(100000);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            die("vfork");
        __atomic_add_fetch(&words[4], 1, __ATOMIC_SEQ_CST);
        rest(20000);
    }
    return NULL;
}

// Slow enough that most of what is written is not written again soon.
static void *write_pages(void *unused)
{
    (void)unused;
    for (uint64_t number = 2;; number++) {
        stand_still();
        uint64_t page = mix(number) % PAGES;
        *(volatile uint64_t *)(region + page * PAGE) = number;
        uint64_t until = now_ns(CLOCK_MONOTONIC) + 20000;
        while (now_ns(CLOCK_MONOTONIC) < until)
            ;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
    words = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED || region == MAP_FAILED || madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE) != 0)
        die("usage: spawner FILE");
    for (uint64_t page = 0; page < PAGES; page++)
        *(volatile uint64_t *)(region + page * PAGE) = 1;
    pthread_t thread;
    for (int i = 0; i < SPAWNERS; i++)
        if (pthread_create(&thread, NULL, spawn, NULL) != 0)
            die("pthread_create");
    if (pthread_create(&thread, NULL, write_pages, NULL) != 0)
        die("pthread_create");
    words[1] = PAGES;
    words[0] = (uint64_t)(uintptr_t)region;
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    while (poll(&input, 1, -1) <= 0)
        ;
    return 0;
}
