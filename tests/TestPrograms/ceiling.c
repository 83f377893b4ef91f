// The least that moving pages costs: blocking calls, one thread a side, nothing but the bytes.
//
//   ceiling push SOURCE_PID TARGET_PID DESCRIPTOR ADDRESS MIB
//       moves the region: process_vm_readv, send, recv, UFFDIO_COPY, in chunks of 1 MiB.
//       Prints "pushed seconds=S cpu=S".
//   ceiling faults SOURCE_PID TARGET_PID DESCRIPTOR
//       serves the target's faults until it is killed: read, send 8 bytes; recv,
//       process_vm_readv, send 4 KiB; recv, UFFDIO_COPY.  Prints "serving" when it does.
//
// DESCRIPTOR is the target's userfaultfd.  Both sides are threads of this process, over
// loopback TCP with cubic.  No bookkeeping, no framing, no errors survived: what a real page
// server is measured against, not what one could be.
#include "bed.h"
#include <arpa/inet.h>
#include <linux/userfaultfd.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define CHUNK (1u << 20)

static pid_t source;
static int uffd, source_socket, target_socket;
static uint64_t start, length;

static void read_memory(void *to, uint64_t address, size_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
    if (process_vm_readv(source, &local, 1, &remote, 1, 0) != (ssize_t)bytes)
        die("process_vm_readv");
}

static void send_all(int fd, const void *from, size_t bytes)
{
    if (send(fd, from, bytes, 0) != (ssize_t)bytes)
        die("send");
}

static int receive_all(int fd, void *to, size_t bytes) { return recv(fd, to, bytes, MSG_WAITALL) == (ssize_t)bytes; }

static void install(const void *from, uint64_t address, size_t bytes)
{
    struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)from, .len = bytes};
    if (ioctl(uffd, UFFDIO_COPY, &copy) != 0)
        die("UFFDIO_COPY");
}

static void *buffer(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED)
        die("mmap");
    return at;
}

static void *push_source(void *unused)
{
    char *chunk = buffer(CHUNK);
    for (uint64_t at = 0; at < length; at += CHUNK) {
        read_memory(chunk, start + at, CHUNK);
        send_all(source_socket, chunk, CHUNK);
    }
    return unused;
}

static void push_target(void)
{
    char *chunk = buffer(CHUNK);
    for (uint64_t at = 0; at < length; at += CHUNK) {
        if (!receive_all(target_socket, chunk, CHUNK))
            die("recv");
        install(chunk, start + at, CHUNK);
    }
}

static void *fault_source(void *unused)
{
    char *page = buffer(PAGE);
    uint64_t address;
    while (receive_all(source_socket, &address, sizeof address)) {
        read_memory(page, address, PAGE);
        send_all(source_socket, page, PAGE);
    }
    return unused;
}

static void fault_target(void)
{
    char *page = buffer(PAGE);
    struct uffd_msg message;
    struct pollfd ready = {uffd, POLLIN, 0};
    for (;;) {
        if (poll(&ready, 1, -1) != 1)
            die("poll");
        if (read(uffd, &message, sizeof message) != sizeof message)
            continue;
        if (message.event != UFFD_EVENT_PAGEFAULT)
            return;
        uint64_t address = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
        send_all(target_socket, &address, sizeof address);
        if (!receive_all(target_socket, page, PAGE))
            die("recv");
        install(page, address, PAGE);
    }
}

static void tune(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("TCP_NODELAY");
}

static void connect_sides(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    source_socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(source_socket, (struct sockaddr *)&address, size) != 0 || (target_socket = accept(listener, NULL, NULL)) < 0)
        die("connect");
    tune(source_socket);
    tune(target_socket);
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    int push = argc == 7 && strcmp(argv[1], "push") == 0;
    if (!push && !(argc == 5 && strcmp(argv[1], "faults") == 0)) {
        fprintf(stderr, "usage: ceiling push SOURCE_PID TARGET_PID DESCRIPTOR ADDRESS MIB | faults SOURCE_PID TARGET_PID DESCRIPTOR\n");
        return 2;
    }
    source = atoi(argv[2]);
    int target = (int)syscall(SYS_pidfd_open, atoi(argv[3]), 0);
    uffd = (int)syscall(SYS_pidfd_getfd, target, atoi(argv[4]), 0);
    if (uffd < 0)
        die("pidfd_getfd");
    connect_sides();
    pthread_t thread;
    if (push) {
        start = strtoull(argv[5], NULL, 16);
        length = strtoull(argv[6], NULL, 10) << 20;
        double cpu = cpu_seconds();
        uint64_t begin = now_ns(CLOCK_MONOTONIC);
        if (pthread_create(&thread, NULL, push_source, NULL) != 0)
            die("pthread_create");
        push_target();
        printf("pushed seconds=%.6f cpu=%.6f\n", (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9, cpu_seconds() - cpu);
        return 0;
    }
    if (pthread_create(&thread, NULL, fault_source, NULL) != 0)
        die("pthread_create");
    printf("serving\n");
    fflush(stdout);
    fault_target();
    return 0;
}
