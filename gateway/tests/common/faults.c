/* What a bad disk and a bad clock do to the daemon. Preloaded into it by tests that ask for it (faults.rs); a fault is
 * there while the file of its name is in the directory that CARDEA_FAULTS names:
 *
 *   stall     a flush to disk does not come back
 *   panic     the store's writer cannot read the clock, which the standard library answers with a panic
 *   past      it is 2025
 *   unsynced  systemd-timesyncd has not synchronised the clock, whatever it has done on this machine
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int there(const char *fault)
{
    char path[4096];
    const char *directory = getenv("CARDEA_FAULTS");
    if (!directory || snprintf(path, sizeof path, "%s/%s", directory, fault) >= (int)sizeof path)
        return 0;
    return syscall(SYS_faccessat, -100 /* AT_FDCWD */, path, F_OK) == 0;
}

static void wait_for_disk(void)
{
    while (there("stall"))
        usleep(10000);
}

int fsync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "store-writer") == 0 && there("panic")) {
        errno = EINVAL;
        return -1;
    }
    int done = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && there("past"))
        now->tv_sec = 1750000000; /* 2025-06-15 */
    return done;
}

int statx(int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict buffer)
{
    if (strcmp(path, "/run/systemd/timesync/synchronized") == 0 && there("unsynced")) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_statx, dirfd, path, flags, mask, buffer);
}
