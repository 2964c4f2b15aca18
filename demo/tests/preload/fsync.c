/* Makes fsync and fdatasync fail with EIO while the file named by FSYNC_FAILS_WHILE exists.
   Loaded into a node under test by LD_PRELOAD; the node itself has no such switch. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *flag = getenv("FSYNC_FAILS_WHILE");
    return flag != NULL && access(flag, F_OK) == 0;
}

static int forward(const char *name, int fd) {
    if (fails()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return forward("fsync", fd); }

int fdatasync(int fd) { return forward("fdatasync", fd); }
