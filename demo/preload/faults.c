/* Faults of a machine, for a process under test; loaded by LD_PRELOAD. The process itself has no
   such switches.

   FSYNC_FAILS_WHILE      names a file; fsync and fdatasync fail with EIO while it exists.
   FSYNC_DELAY_MS_IN      names a file with a decimal number; they take so long more.
   CLOCK_OFFSET_S_IN      names a file of eight bytes, a signed number of seconds in the machine's
                          byte order; the wall clock is off by so much. Monotonic clocks are not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int fails(void) {
    const char *flag = getenv("FSYNC_FAILS_WHILE");
    return flag != NULL && access(flag, F_OK) == 0;
}

static void delay(void) {
    const char *path = getenv("FSYNC_DELAY_MS_IN");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    long ms = 0;
    if (file == NULL) return;
    if (fscanf(file, "%ld", &ms) == 1 && ms > 0) {
        struct timespec wait = {ms / 1000, (ms % 1000) * 1000000};
        nanosleep(&wait, NULL);
    }
    fclose(file);
}

static int forward(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    delay();
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return forward("fsync", fd); }

int fdatasync(int fd) { return forward("fdatasync", fd); }

/* Where the offset is, once the file is mapped. */
static const volatile int64_t *offset;

/* Runs when the library is loaded, and later if a clock is read before that. */
__attribute__((constructor)) static void map_offset(void) {
    static const int64_t none = 0;
    const char *path = getenv("CLOCK_OFFSET_S_IN");
    const volatile int64_t *found = &none;
    if (path != NULL) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
            if (page != MAP_FAILED) found = page;
            close(fd);
        }
    }
    offset = found;
}

static int64_t skew(void) {
    if (offset == NULL) map_offset();
    return *offset;
}

static int is_wall_clock(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real(clock, now);
    if (result == 0 && is_wall_clock(clock)) now->tv_sec += skew();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (real == NULL) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    if (result == 0) now->tv_sec += skew();
    return result;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now != NULL) *now = exact.tv_sec;
    return exact.tv_sec;
}
