/* Writes down which calls a program makes below a folder, in their order, and has some fail.
   SPOOL_WATCHED: the folder. SPOOL_CALLS: where the calls go, a line each.
   SPOOL_FAULTS: a file with "<call> <errno>", as long as it is there; a negative number: such calls
   take so many seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failing(const char *call) {
    char text[64] = {0}, name[32];
    int number = 0;
    long fd = syscall(SYS_openat, AT_FDCWD, getenv("SPOOL_FAULTS"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return sscanf(text, "%31s %d", name, &number) == 2 && !strcmp(name, call) ? number : 0;
}

/* Whether the call is to be made; it is written down if it is about the folder. */
static int allowed(const char *call, const char *path, int fd) {
    const char *watched = getenv("SPOOL_WATCHED");
    if (!watched || !path || strncmp(path, watched, strlen(watched))) return 1;
    int number = failing(call);
    if (number < 0) {
        sleep(-number);
        number = 0;
    }
    char line[4300];
    int length = snprintf(line, sizeof line, "%s %s %d%s\n", call,
                          path[strlen(watched)] ? path + strlen(watched) + 1 : ".", fd,
                          number ? " failed" : "");
    long to = syscall(SYS_openat, AT_FDCWD, getenv("SPOOL_CALLS"),
                      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    syscall(SYS_write, to, line, length);
    syscall(SYS_close, to);
    if (number) errno = number;
    return !number;
}

static const char *path_of(int fd) {
    static __thread char path[4100];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    const char *path = fd > 2 ? path_of(fd) : NULL;
    if (allowed("write", path, fd)) return NEXT(write)(fd, data, size);
    /* As a full disk does it: a part of the data is there. */
    NEXT(write)(fd, data, size / 2);
    return -1;
}
int fsync(int fd) { return allowed("fsync", path_of(fd), fd) ? NEXT(fsync)(fd) : -1; }
int fdatasync(int fd) { return allowed("fdatasync", path_of(fd), fd) ? NEXT(fdatasync)(fd) : -1; }
int ftruncate64(int fd, off64_t size) {
    return allowed("ftruncate", path_of(fd), fd) ? NEXT(ftruncate64)(fd, size) : -1;
}
int close(int fd) { return allowed("close", path_of(fd), fd) ? NEXT(close)(fd) : -1; }
int mkdir(const char *path, mode_t mode) {
    return allowed("mkdir", path, -1) ? NEXT(mkdir)(path, mode) : -1;
}
int rename(const char *from, const char *to) {
    return allowed("rename", from, -1) ? NEXT(rename)(from, to) : -1;
}
int unlink(const char *path) { return allowed("unlink", path, -1) ? NEXT(unlink)(path) : -1; }
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int fd = allowed(flags & O_CREAT ? "create" : "open", path, -1)
                 ? NEXT(open64)(path, flags, mode)
                 : -1;
    return fd;
}
