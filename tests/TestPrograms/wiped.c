// Memory that no child may see (MADV_WIPEONFORK), as random generators and TLS libraries have it.
//
//   wiped DIRECTORY
//
// Writes DIRECTORY/ready; when DIRECTORY/fork appears it forks, and the child writes into DIRECTORY/result what it
// found there: "zero", or the first page that is not.  The parent looks then, and adds what it has lost.
#include "bed.h"
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGES 64u

static void tell(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        _exit(1);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) != 0)
        die("chdir");
    uint8_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, PAGES * PAGE, MADV_WIPEONFORK) != 0)
        die("madvise");
    memset(memory, 7, PAGES * PAGE);
    tell("ready", "ready");
    while (access("fork", F_OK) != 0)
        usleep(10000);
    char text[80] = "zero";
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = PAGES * PAGE; i-- > 0;)
            if (memory[i] != 0)
                snprintf(text, sizeof text, "page %u", i / PAGE);
        tell("result.new", text);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (unsigned i = 0; i < PAGES * PAGE; i++)
        if (memory[i] != 7) {
            tell("result.new", ", but not to its parent");
            break;
        }
    rename("result.new", "result");
    pause();
}
