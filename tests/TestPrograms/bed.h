// What the programs that are moved around have in common.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOST_FILE "/etc/postcopy-host"         // bound into containers
#define BARE_HOST_FILE "/run/host-name"         // on the hosts themselves
#define PAGE 4096u

static inline void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(1);
}

static inline uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// splitmix64's finalizer.
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// Reads a small file whole, without a stream's buffer: the file is opened and closed each
// time, so that no descriptor of it has to be restored.  Returns its length, -1 if there is none.
static inline int read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    if (n < 0)
        return -1;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = 0;
    return (int)n;
}

// Where we run right now.  The machine says so, not our memory.
static inline void read_host(char *tag, size_t size)
{
    if (read_small(HOST_FILE, tag, size) <= 0 && read_small(BARE_HOST_FILE, tag, size) <= 0)
        snprintf(tag, size, "?");
}

// Whoever reads the file sees the old text or the whole new one.
static inline void write_small(const char *path, const char *text)
{
    char temporary[512];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        die(temporary);
    size_t length = strlen(text);
    if (write(fd, text, length) != (ssize_t)length)
        die(temporary);
    close(fd);
    if (rename(temporary, path) != 0)
        die(path);
}

// "HOST SEQUENCE UNIX-MICROSECONDS", one write.
static inline void write_log_line(const char *path, const char *host, uint64_t sequence)
{
    char line[128];
    int length = snprintf(line, sizeof line, "%s %llu %llu\n", host, (unsigned long long)sequence,
                          (unsigned long long)now_ns(CLOCK_REALTIME) / 1000);
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (log < 0 || write(log, line, (size_t)length) != length)
        die(path);
    close(log);
}

// Runs the program with its stack beginning in the middle of a page.  CRIU takes all memory of a process for its stack
// when a stack pointer is at the very start of a page, as the kernel's randomisation puts that of one process in 256;
// what the tests expect of CRIU is then not so.
static inline int in_mid_page(int (*program)(int, char **), int argc, char **argv)
{
    char *above = __builtin_alloca(PAGE + ((uintptr_t)__builtin_frame_address(0) - PAGE / 2) % PAGE);
    __asm__ volatile("" : : "r"(above) : "memory");
    return program(argc, argv);
}
