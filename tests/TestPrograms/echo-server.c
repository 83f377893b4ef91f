// Answers every line of its one client with the line, a count kept in memory, and the host.
//
//   echo-server PORT
#include "bed.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4) != 0)
        die("listen");
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        FILE *in = fdopen(client, "r");
        char line[128], host[64], reply[256];
        unsigned long count = 0;
        while (fgets(line, sizeof line, in) != NULL) {
            line[strcspn(line, "\n")] = 0;
            read_host(host, sizeof host);
            int length = snprintf(reply, sizeof reply, "%s %lu %s\n", line, ++count, host);
            if (write(client, reply, (size_t)length) != length)
                break;
        }
        fclose(in);
    }
}
