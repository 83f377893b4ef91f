// Races for every TCP port that begins to listen on this host: connects the moment it is seen, tries to
// have it talk, and reports.  Ends with standard input.
//
//   connected PORT       a connection was established
//   heard PORT BYTES     and answered this many bytes
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN = 0x0a, MOST_PORTS = 65536 };

static unsigned char known[MOST_PORTS];

static void try_port(unsigned address, unsigned port)
{
    struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = address ? address : htonl(INADDR_LOOPBACK) };
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&there, sizeof(there)) != 0) {
        if (sock >= 0)
            close(sock);
        return;
    }

    // CRIU's PS_IOV_CLOSE in both sizes of its header (criu/page-xfer.c): whoever gets it through ends the container.
    unsigned char close_frame[32] = { 0x03, 0x10, 0, 0 };
    printf("connected %u\n", port);
    fflush(stdout);
    (void)!send(sock, close_frame, sizeof(close_frame), MSG_NOSIGNAL);
    struct pollfd wait = { .fd = sock, .events = POLLIN };
    char answer[4096];
    ssize_t got = poll(&wait, 1, 2000) > 0 ? recv(sock, answer, sizeof(answer), 0) : 0;
    if (got > 0)
        printf("heard %u %zd\n", port, got);
    fflush(stdout);
    close(sock);
}

static void look(const char *table, int connect_to_new)
{
    FILE *file = fopen(table, "re");
    char line[512];
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        char address[33];
        unsigned port, state;
        if (sscanf(line, " %*d: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", address, &port, &state) != 3 || state != LISTEN || port >= MOST_PORTS || known[port])
            continue;
        known[port] = 1;
        // As the kernel prints it, an IPv4 address is the number that goes into sin_addr; what is bound to IPv6 is tried on loopback.
        if (connect_to_new)
            try_port(strlen(address) == 8 ? (unsigned)strtoul(address, NULL, 16) : 0, port);
    }
    fclose(file);
}

int main(void)
{
    look("/proc/net/tcp", 0);
    look("/proc/net/tcp6", 0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd input = { .fd = 0, .events = POLLIN };
        if (poll(&input, 1, 0) > 0)
            return 0;
        look("/proc/net/tcp", 1);
        look("/proc/net/tcp6", 1);
        usleep(100);
    }
}
