/*
 * The system's randomness, replaced for simulated threads.
 *
 * Libraries ask the system for randomness by many roads: the C library's getrandom and
 * getentropy, and the system call itself. All of them end here. A thread whose name begins with
 * "sim:" draws from a generator that its name seeds, so that a run is the same whenever it is
 * repeated; every other thread gets what the system gives. A name is the one thing that a
 * thread can be told without a foreign function.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* What prctl writes, with its end. */
#define NAME_BYTES 16

enum source { UNKNOWN, SYSTEM, SEEDED };

static __thread enum source source = UNKNOWN;
static __thread uint64_t state;

static long system_call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    result = x0;
#else
#error "the simulator knows the system calls of x86-64 and of aarch64"
#endif
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static int is_seeded(void) {
    if (source == UNKNOWN) {
        char name[NAME_BYTES] = {0};
        prctl(PR_GET_NAME, name, 0, 0, 0);
        source = strncmp(name, "sim:", 4) == 0 ? SEEDED : SYSTEM;
        /* FNV-1a over the whole name. */
        state = 0xcbf29ce484222325u;
        for (int i = 0; i < NAME_BYTES; i++) {
            state = (state ^ (unsigned char)name[i]) * 0x100000001b3u;
        }
    }
    return source == SEEDED;
}

/* SplitMix64: the choices that a run makes itself come from elsewhere. */
static void fill(unsigned char *to, size_t length) {
    while (length > 0) {
        state += 0x9e3779b97f4a7c15u;
        uint64_t word = state;
        word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
        word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
        word ^= word >> 31;
        size_t part = length < sizeof word ? length : sizeof word;
        memcpy(to, &word, part);
        to += part;
        length -= part;
    }
}

ssize_t getrandom(void *to, size_t length, unsigned int flags) {
    if (is_seeded()) {
        fill(to, length);
        return (ssize_t)length;
    }
    return system_call(SYS_getrandom, (long)to, (long)length, (long)flags, 0, 0, 0);
}

int getentropy(void *to, size_t length) {
    if (length > 256) {
        errno = EIO;
        return -1;
    }
    for (size_t done = 0; done < length;) {
        ssize_t got = getrandom((unsigned char *)to + done, length - done, 0);
        if (got < 0 && errno != EINTR) {
            return -1;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_getrandom && is_seeded()) {
        fill((unsigned char *)a, (size_t)b);
        return b;
    }
    return system_call(number, a, b, c, d, e, f);
}
