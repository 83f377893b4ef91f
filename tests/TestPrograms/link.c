// What a link carries: bytes from one blocking socket to another and nothing else, with cubic.
//
//   link receive
//       takes one connection ("listening PORT"), reads it to its end and closes it.
//   link send ADDRESS PORT MIB
//       sends so much in chunks of 1 MiB.  Prints "sent seconds=S" once the receiver has it all.
#include "bed.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define CHUNK (1u << 20)

static char chunk[CHUNK];

static int stream(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    return fd;
}

static int receive(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = stream();
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    printf("listening %u\n", ntohs(address.sin_port));
    fflush(stdout);
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    while (recv(fd, chunk, CHUNK, 0) > 0)
        continue;
    return 0;
}

static int transmit(const char *host, const char *port, long mebibytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = stream();
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    uint64_t begin = now_ns(CLOCK_MONOTONIC);
    for (long i = 0; i < mebibytes; i++)
        if (send(fd, chunk, CHUNK, 0) != CHUNK)
            die("send");
    // The receiver closes when it has read our end.
    if (shutdown(fd, SHUT_WR) != 0 || recv(fd, chunk, CHUNK, 0) != 0)
        die("shutdown");
    printf("sent seconds=%.6f\n", (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "receive") == 0)
        return receive();
    if (argc == 5 && strcmp(argv[1], "send") == 0)
        return transmit(argv[2], argv[3], atol(argv[4]));
    fprintf(stderr, "usage: link receive | link send ADDRESS PORT MIB\n");
    return 2;
}
