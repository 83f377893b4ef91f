// Keeps one connection and asks over it, one line at a time; prints every answer.
//
//   echo-client ADDRESS PORT
//
// Ends well when its stdin is closed; with an error when the connection breaks or an
// answer is not the next one.
#include "bed.h"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

static int connect_when_it_listens(const struct sockaddr_in *address)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        int server = socket(AF_INET, SOCK_STREAM, 0);
        if (server < 0)
            die("socket");
        if (connect(server, (const struct sockaddr *)address, sizeof *address) == 0)
            return server;
        close(server);
        usleep(10000);
    }
    die("connect");
    return -1;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    int server = connect_when_it_listens(&address);
    FILE *in = fdopen(server, "r");
    for (unsigned long n = 1;; n++) {
        char line[128], answer[256], host[64];
        unsigned long echoed, count;
        int length = snprintf(line, sizeof line, "%lu\n", n);
        if (write(server, line, (size_t)length) != length)
            die("write");
        if (fgets(answer, sizeof answer, in) == NULL) {
            fprintf(stderr, "the connection broke after %lu answers\n", n - 1);
            return 1;
        }
        if (sscanf(answer, "%lu %lu %63s", &echoed, &count, host) != 3 || echoed != n || count != n) {
            fprintf(stderr, "answer %lu is wrong: %s", n, answer);
            return 1;
        }
        fputs(answer, stdout);
        fflush(stdout);
        struct pollfd input = {.fd = 0, .events = POLLIN};
        char byte;
        if (poll(&input, 1, 20) == 1 && read(0, &byte, 1) == 0)
            return 0;
    }
}
