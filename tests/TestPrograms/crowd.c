// A crowd of strangers: COUNT connections to ADDRESS:PORT that stall, every fourth in the middle of a
// frame; of those that are dropped, some come back every second.  Says "full" when all are there once; ends with standard input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACK_A_SECOND = 100 };

static struct sockaddr_in there = { .sin_family = AF_INET };

static int join_in(int number)
{
    static const unsigned char half[20] = { 76, 0, 0, 0, 2 }; // a Hello's header, and no Hello
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(sock, (struct sockaddr *)&there, sizeof(there)) != 0) {
        close(sock);
        return -1;
    }
    if (number % 4 == 0)
        (void)!send(sock, half, sizeof(half), MSG_NOSIGNAL);
    return sock;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int count = atoi(argv[3]);
    struct rlimit files = { (rlim_t)count + 100, (rlim_t)count + 100 };
    setrlimit(RLIMIT_NOFILE, &files);
    inet_pton(AF_INET, argv[1], &there.sin_addr);
    there.sin_port = htons((unsigned short)atoi(argv[2]));
    struct pollfd *crowd = calloc((size_t)count + 1, sizeof(*crowd));
    crowd[count] = (struct pollfd){ .fd = 0, .events = POLLIN };
    for (int i = 0; i < count; i++)
        crowd[i] = (struct pollfd){ .fd = join_in(i), .events = POLLRDHUP };
    puts("full");
    fflush(stdout);
    for (;;) {
        if (poll(&crowd[count], 1, 1000) < 0 || crowd[count].revents || poll(crowd, (nfds_t)count, 0) < 0)
            return 0;
        for (int i = 0, back = 0; i < count && back < BACK_A_SECOND; i++) {
            if (crowd[i].fd >= 0 && !(crowd[i].revents & (POLLRDHUP | POLLHUP | POLLERR)))
                continue;
            if (crowd[i].fd >= 0)
                close(crowd[i].fd);
            crowd[i].fd = join_in(i);
            back++;
        }
    }
}
