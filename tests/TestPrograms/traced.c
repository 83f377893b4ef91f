// A program that notices when it was disturbed: it compares its registers, the results and lengths
// of its system calls, and the signals that it got, with what they must be.
//
//   traced FILE compute|sleep|long-sleep|signals|read|own-stack|filtered|sequence|vfork
//
// FILE is mapped, shared: a counter of what was done, and behind it, when something was not as it
// must be, what.
#include "bed.h"
#include <poll.h>
#include <signal.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile uint64_t *done;
static char *complaint;

static void bad(const char *what, long a, long b)
{
    snprintf(complaint, 200, "%s: %ld, %ld (%s)", what, a, b, strerror(errno));
    _exit(3);
}

static stack_t alternate;

// One piece of work more is done, and the alternate signal stack is still what it was.
static void count(void)
{
    stack_t now;
    if (sigaltstack(NULL, &now) != 0 || now.ss_sp != alternate.ss_sp || now.ss_size != alternate.ss_size || now.ss_flags != 0)
        bad("the alternate signal stack changed", now.ss_flags, (long)now.ss_size);
    ++*done;
}

// Every general register, the flags and the vector registers must outlive a long loop.
static void compute(void)
{
    static uint64_t vectors[16][8] __attribute__((aligned(64))), after[16][8] __attribute__((aligned(64)));
    int wide = __builtin_cpu_supports("avx2");
    for (uint64_t round = 1;; round++) {
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 4; j++)
                vectors[i][j] = mix(round * 64 + (uint64_t)(i * 4 + j));
        uint64_t error = 0;
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD(i) "vmovdqa " #i "*64(%[from]), %%ymm" #i "\n"
#define STORE(i) "vmovdqa %%ymm" #i ", " #i "*64(%[to])\n"
#define NAMES(i) "ymm" #i,
        if (wide)
            __asm__ volatile(
                EACH(LOAD)
                "mov $0x1111, %%rax; mov $0x2222, %%rbx; mov $0x3333, %%rdx; mov $0x6666, %%r8; mov $0x7777, %%r9\n"
                "mov $0x8888, %%r10; mov $0x9999, %%r11; mov $0xaaaa, %%r12; mov $0xbbbb, %%r13; mov $0xcccc, %%r14; mov $0xdddd, %%r15\n"
                "movq $0x5555, -64(%%rsp)\n"      // in the red zone
                "mov $20000, %%rcx\n"
                "1: dec %%rcx; jnz 1b\n"
                "stc; mov $20000, %%ecx\n"
                "2: lea -1(%%ecx), %%ecx; jrcxz 3f; jmp 2b\n"
                "3: jc 4f; incq %[error]\n"
                "4: cmp $0x1111, %%rax; jne 9f; cmp $0x2222, %%rbx; jne 9f; cmp $0x3333, %%rdx; jne 9f; cmp $0x6666, %%r8; jne 9f\n"
                "cmp $0x7777, %%r9; jne 9f; cmp $0x8888, %%r10; jne 9f; cmp $0x9999, %%r11; jne 9f; cmp $0xaaaa, %%r12; jne 9f\n"
                "cmp $0xbbbb, %%r13; jne 9f; cmp $0xcccc, %%r14; jne 9f; cmp $0xdddd, %%r15; jne 9f\n"
                "cmpq $0x5555, -64(%%rsp); jne 9f; test %%rcx, %%rcx; jz 10f\n"
                "9: addq $2, %[error]\n"
                "10:\n" EACH(STORE)
                : [error] "+m"(error) : [from] "S"(vectors), [to] "D"(after)
                : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
                  EACH(NAMES) "xmm0");
        for (int i = 0; i < 16 && wide; i++)
            if (memcmp(vectors[i], after[i], 32) != 0)
                bad("a vector register changed", i, (long)round);
        if (error != 0)
            bad("a register changed", (long)error, (long)round);
        count();
    }
}

static void expect_pause(const char *what, long result, uint64_t began, uint64_t least_ns)
{
    uint64_t took = now_ns(CLOCK_MONOTONIC) - began;
    if (result != 0 || took < least_ns)
        bad(what, result, (long)took);
    count();
}

// Sleeps that are interrupted many times each.  Begun anew every time, they would never end.
static void long_sleeps(void)
{
    for (;;) {
        struct timespec wait = {0, 300000000}, *first = &wait;
        uint64_t began = now_ns(CLOCK_MONOTONIC);
        long result = SYS_nanosleep, second = 0;
        __asm__ volatile("syscall" : "+a"(result), "+D"(first), "+S"(second) : : "rcx", "r11", "memory");
        if (first != &wait || second != 0)
            bad("an argument's register changed", (long)first, second);
        expect_pause("nanosleep", result, began, 300000000);
    }
}

static void sleeps(void)
{
    static int word;
    for (;;) {
        struct timespec wait = {0, 3000000};
        uint64_t began = now_ns(CLOCK_MONOTONIC);
        expect_pause("nanosleep", syscall(SYS_nanosleep, &wait, NULL), began, 3000000);
        began = now_ns(CLOCK_MONOTONIC);
        expect_pause("poll", poll(NULL, 0, 3), began, 3000000);
        began = now_ns(CLOCK_MONOTONIC);
        long result = syscall(SYS_futex, &word, FUTEX_WAIT, 0, &wait, NULL, 0);
        expect_pause("futex", result == -1 && errno == ETIMEDOUT ? 0 : result - 1, began, 3000000);
        began = now_ns(CLOCK_MONOTONIC);
        struct timespec until = {(time_t)((began + 3000000) / 1000000000), (long)((began + 3000000) % 1000000000)};
        expect_pause("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), began, 3000000);
    }
}

static volatile sig_atomic_t caught;
static void catch(int signal) { (void)signal; caught++; }

// A timer that nothing may swallow: each of its signals ends one sigsuspend.
static void signals(void)
{
    struct sigaction action = {.sa_handler = catch};
    sigset_t blocked, none, now;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigemptyset(&none);
    sigaction(SIGALRM, &action, NULL);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        die("timer_create");
    for (;;) {
        struct itimerspec once = {.it_value = {0, 2000000}};
        int before = caught;
        timer_settime(timer, 0, &once, NULL);
        if (sigsuspend(&none) != -1 || errno != EINTR || caught != before + 1)
            bad("sigsuspend", caught, before);
        sigprocmask(SIG_BLOCK, NULL, &now);
        if (!sigismember(&now, SIGALRM) || sigismember(&now, SIGUSR1))
            bad("the signal mask changed", sigismember(&now, SIGALRM), sigismember(&now, SIGUSR1));
        count();
    }
}

// Reads that block: a child writes.
static void reads(void)
{
    int pipes[2];
    if (pipe(pipes) != 0)
        die("pipe");
    if (fork() == 0) {
        for (uint64_t n = 0;; n++) {
            struct timespec wait = {0, 500000};
            nanosleep(&wait, NULL);
            if (write(pipes[1], &n, sizeof n) != sizeof n || getppid() == 1)
                _exit(0);
        }
    }
    close(pipes[1]);
    for (uint64_t n = 0;; n++) {
        uint64_t got;
        ssize_t size = read(pipes[0], &got, sizeof got);
        if (size != sizeof got || got != n)
            bad("read", size, (long)got);
        count();
    }
}

// As programs with stacks of their own do, in an ordinary mapping that may have anything below.
static void on_own_stack(void)
{
    static ucontext_t here, there;
    static unsigned char memory[256 << 10];
    memset(memory, 0x5a, sizeof memory);
    getcontext(&there);
    there.uc_stack.ss_sp = memory + (64 << 10);
    there.uc_stack.ss_size = 8192;
    there.uc_link = &here;
    makecontext(&there, compute, 0);
    swapcontext(&here, &there);
}

// As in a container of Docker's: what the program has no business with is refused, not deadly.
static void filtered(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("seccomp");
    sleeps();
}

// In a restartable sequence all the time: interrupted in one, the kernel has it begin anew.  Had the kernel been led to think that the thread had left the
// sequence, it would have forgotten that there is one, and the thread would go on in the middle of it.
static void sequences(void)
{
    if (__rseq_size == 0)
        die("the C library has registered no restartable sequences");
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    for (;;) {
        uint64_t forgotten;
        __asm__ volatile(
            ".pushsection .data\n"
            ".balign 32\n"
            "77: .long 0, 0\n"
            ".quad 1f, 2f - 1f, 4f\n"
            ".popsection\n"
            "0: lea 77b(%%rip), %%rax\n"
            "mov %%rax, 8(%[area])\n"
            "1: mov $300000, %%ecx\n"
            "5: dec %%ecx; jnz 5b\n"
            "xor %[forgotten], %[forgotten]\n"
            "cmp %%rax, 8(%[area])\n"
            "je 2f\n"
            "inc %[forgotten]\n"
            "2: jmp 6f\n"
            ".byte 0x0f, 0xb9, 0x3d\n"     // an instruction that holds the signature, which the kernel wants before where it goes to
            ".long 0x53053053\n"
            "4: jmp 0b\n"
            "6:\n"
            : [forgotten] "=&r"(forgotten) : [area] "r"(area) : "rax", "rcx", "memory", "cc");
        if (forgotten)
            bad("a sequence that was interrupted was not begun anew", (long)*done, 0);
        count();
    }
}

// Most of the time in a call of vfork(2), in which the thread stops for nobody but SIGKILL.
static void vforks(void)
{
    for (;;) {
        pid_t pid = vfork();
        if (pid == 0) {
            struct timespec wait = {2, 0};
            nanosleep(&wait, NULL);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            bad("vfork", pid, 0);
        count();
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    {"compute", compute}, {"sleep", sleeps}, {"long-sleep", long_sleeps}, {"signals", signals}, {"read", reads}, {"own-stack", on_own_stack}, {"filtered", filtered},
    {"sequence", sequences}, {"vfork", vforks},
};

int main(int argc, char **argv)
{
    int fd = argc == 3 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;
    if (fd < 0 || ftruncate(fd, PAGE) != 0)
        die("usage: traced FILE MODE");
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    done = (volatile uint64_t *)page;
    complaint = page + 64;
    close(fd);
    alternate = (stack_t){.ss_sp = malloc(64 << 10), .ss_size = 64 << 10};
    if (alternate.ss_sp == NULL || sigaltstack(&alternate, NULL) != 0)
        die("sigaltstack");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, argv[2]) == 0)
            modes[i].run();
    return 2;
}
