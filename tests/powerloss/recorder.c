/* Writes down, in order, everything that changes files below $RECORDER_DIR, to the file $RECORDER_TRACE.
 *
 * Preloaded into the workload. One record per call that succeeded: a header, the path, the data.
 *   W write   R truncated to offset   C opened with O_CREAT   T opened with O_TRUNC
 *   S synced (also the directory)     U unlinked   M renamed (the data is the new path)
 * Reads, locks and shared memory leave nothing behind in a power cut, so they are not recorded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 4096

struct record {
    char what;
    uint16_t path_bytes;
    int64_t offset;
    uint32_t data_bytes;
} __attribute__((packed));

static char *path_of[DESCRIPTORS_MAX];
static char root[PATH_MAX];
static int trace = -1;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void *next_one(const char *name) { return dlsym(RTLD_NEXT, name); }

static ssize_t plain_write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = next_one("write");
    return real(fd, data, size);
}

__attribute__((constructor)) static void begin(void) {
    const char *to = getenv("RECORDER_TRACE"), *below = getenv("RECORDER_DIR");
    int (*real)(const char *, int, ...) = next_one("open");
    if (!to || !below) return;
    snprintf(root, sizeof root, "%s/", below);
    trace = real(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void record(char what, const char *path, int64_t offset, const void *data, size_t size) {
    size_t path_bytes = strlen(path), whole = sizeof(struct record) + path_bytes + size;
    struct record head = {what, (uint16_t)path_bytes, offset, (uint32_t)size};
    char *buffer = malloc(whole), *at = buffer;
    if (trace < 0 || !buffer) { free(buffer); return; }
    at = (char *)mempcpy(at, &head, sizeof head);
    at = (char *)mempcpy(at, path, path_bytes);
    if (size) memcpy(at, data, size);
    pthread_mutex_lock(&one_at_a_time);
    if (plain_write(trace, buffer, whole) != (ssize_t)whole) abort();
    pthread_mutex_unlock(&one_at_a_time);
    free(buffer);
}

/* The directory itself counts: its sync makes creations and removals last. */
static int watched(const char *path) {
    size_t size = strlen(root);
    if (trace < 0 || !path || strncmp(path, root, size - 1)) return 0;
    return path[size - 1] == '/' || path[size - 1] == 0;
}
static const char *path_at(int fd) { return fd >= 0 && fd < DESCRIPTORS_MAX ? path_of[fd] : NULL; }

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= DESCRIPTORS_MAX) return fd;
    free(path_of[fd]);
    path_of[fd] = watched(path) ? strdup(path) : NULL;
    if (path_of[fd] && (flags & O_TRUNC)) record('T', path, 0, NULL, 0);
    else if (path_of[fd] && (flags & O_CREAT)) record('C', path, 0, NULL, 0);
    return fd;
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        static int (*real)(const char *, int, ...);                                    \
        va_list more;                                                                  \
        mode_t mode;                                                                   \
        va_start(more, flags);                                                         \
        mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;             \
        va_end(more);                                                                  \
        if (!real) real = next_one(#name);                                             \
        return opened(real(path, flags, mode), path, flags);                           \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                   \
    int name(int at, const char *path, int flags, ...) {                               \
        static int (*real)(int, const char *, int, ...);                               \
        va_list more;                                                                  \
        mode_t mode;                                                                   \
        va_start(more, flags);                                                         \
        mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;             \
        va_end(more);                                                                  \
        if (!real) real = next_one(#name);                                             \
        return opened(real(at, path, flags, mode), path, flags);                       \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    static int (*real)(int);
    if (!real) real = next_one("close");
    if (path_at(fd)) { free(path_of[fd]); path_of[fd] = NULL; }
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    const char *path = path_at(fd);
    ssize_t done = plain_write(fd, data, size);
    if (done > 0 && path) record('W', path, lseek(fd, 0, SEEK_CUR) - done, data, (size_t)done);
    return done;
}

#define PWRITE(name, offset_type)                                                      \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {          \
        static ssize_t (*real)(int, const void *, size_t, offset_type);                \
        ssize_t done;                                                                  \
        if (!real) real = next_one(#name);                                             \
        done = real(fd, data, size, offset);                                           \
        if (done > 0 && path_at(fd)) record('W', path_at(fd), offset, data, (size_t)done); \
        return done;                                                                   \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name)                                                                     \
    int name(int fd) {                                                                 \
        static int (*real)(int);                                                       \
        int result;                                                                    \
        if (!real) real = next_one(#name);                                             \
        result = real(fd);                                                             \
        if (!result && path_at(fd)) record('S', path_at(fd), 0, NULL, 0);              \
        return result;                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, length_type)                                                    \
    int name(int fd, length_type length) {                                             \
        static int (*real)(int, length_type);                                          \
        int result;                                                                    \
        if (!real) real = next_one(#name);                                             \
        result = real(fd, length);                                                     \
        if (!result && path_at(fd)) record('R', path_at(fd), length, NULL, 0);         \
        return result;                                                                 \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int unlink(const char *path) {
    static int (*real)(const char *);
    int result;
    if (!real) real = next_one("unlink");
    result = real(path);
    if (!result && watched(path)) record('U', path, 0, NULL, 0);
    return result;
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    int result;
    if (!real) real = next_one("rename");
    result = real(from, to);
    if (!result && watched(from)) record('M', from, 0, to, strlen(to));
    return result;
}
