/* Notes what a process changes below the folder POWER_CUT_ROOT, in order, in the file POWER_CUT_LOG; and lets one of
 * those calls fail. Preloaded (LD_PRELOAD); `log.py` reads the log, `disk.py` says what a power cut leaves of it.
 *
 * A record is a line `kind inode offset flag length` and `length` bytes behind it:
 *
 *   O path         a file was opened that may be new; flag 1: and emptied
 *   W bytes        written at offset; flag & 1: on disk on return (O_DSYNC); flag & 2: that failed, it is in memory only
 *   T              the file is offset bytes long now;  A: at least so long
 *   Z digits       from offset on, so many bytes (in digits) were given back to the file system, and are zero
 *   S              fsync or fdatasync of a file or directory; flag 1: it failed
 *   D path, U path a directory was made; a name was removed
 *   R, L           old path, a zero, new path: renamed, linked
 *   M path         mapped to be written to: what is written there is not seen
 *   P bytes        said on standard output
 *   F kind         the call that was made to fail
 *
 * POWER_CUT_FAIL is `n:error:on`: the n-th call of kinds O (new files), W, T, A, Z, S, D, R, L fails with this errno; on 1:
 * all behind it, too. Real calls go through syscall(2), so that nothing has to be looked up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_fd = -1;
static char root[PATH_MAX];
static long calls, fail_at;
static int fail_error, fail_on;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a call and its record are one step */

__attribute__((constructor)) static void start(void)
{
    const char *log = getenv("POWER_CUT_LOG"), *folder = getenv("POWER_CUT_ROOT"), *fail = getenv("POWER_CUT_FAIL");
    if (!log || !folder)
        return;
    snprintf(root, sizeof root, "%s", folder);
    if (fail)
        sscanf(fail, "%ld:%d:%d", &fail_at, &fail_error, &fail_on);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int below_root(const char *path)
{
    size_t length = strlen(root);
    return log_fd >= 0 && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* Whether an open file lies below the root. */
static int path_of(int fd, char *path)
{
    char link[64];
    if (log_fd < 0 || fd < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return below_root(path);
}

/* Whether what an `...at` call names lies below the root. */
static int path_at(int folder, const char *name, char *path)
{
    char base[PATH_MAX] = "";
    if (log_fd < 0)
        return 0;
    if (name[0] == '/')
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && below_root(path);
    if (folder != AT_FDCWD)
        path_of(folder, base);
    else if (!getcwd(base, sizeof base))
        return 0;
    return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX && below_root(path);
}

static void note(char kind, unsigned long long inode, long long offset, int flag, const void *bytes, size_t length)
{
    char head[128];
    int error = errno;
    int head_length = snprintf(head, sizeof head, "%c %llu %lld %d %zu\n", kind, inode, offset, flag, length);
    struct iovec parts[2] = {{head, head_length}, {(void *)bytes, length}};
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(head_length + length))
        abort();
    errno = error;
}

static void note_paths(char kind, const char *old, const char *new)
{
    char both[2 * PATH_MAX];
    size_t length = strlen(old) + 1;
    memcpy(both, old, length);
    strcpy(both + length, new);
    note(kind, 0, 0, 0, both, length + strlen(new));
}

/* The error that the call under way is to end with, or 0. */
static int due(char kind)
{
    calls++;
    if (!fail_at || calls < fail_at || (calls > fail_at && !fail_on))
        return 0;
    note('F', 0, calls, fail_error, &kind, 1);
    return fail_error;
}

static long ended(long result, int error)
{
    if (error)
        errno = error;
    error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static unsigned long long inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) ? 0 : status.st_ino;
}

static ssize_t really_write(int fd, const struct iovec *parts, int count, off_t offset, int placed)
{
    return placed ? syscall(SYS_pwritev, fd, parts, count, offset, 0) : syscall(SYS_writev, fd, parts, count);
}

static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset, int placed)
{
    char path[PATH_MAX];
    if (fd != 1 && !path_of(fd, path))
        return really_write(fd, parts, count, offset, placed);
    pthread_mutex_lock(&lock);
    if (fd == 1) {
        ssize_t length = really_write(fd, parts, count, 0, 0);
        if (length > 0 && log_fd >= 0) /* one part: what tests say is one write each */
            note('P', 0, 0, 0, parts[0].iov_base, length);
        return ended(length, 0);
    }
    int flags = fcntl(fd, F_GETFL), synced = (flags & O_DSYNC) != 0, error = due('W');
    if (!placed)
        offset = lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t length = -1;
    /* A write that is to be on disk, and gets no further than the page cache, is seen there by everybody. */
    if (!error || (synced && error == EIO))
        length = really_write(fd, parts, count, offset, placed);
    off_t place = offset;
    ssize_t left = length;
    for (int part = 0; part < count && left > 0; part++) {
        ssize_t own = (ssize_t)parts[part].iov_len < left ? (ssize_t)parts[part].iov_len : left;
        note('W', inode_of(fd), place, synced | (error ? 2 : 0), parts[part].iov_base, own);
        place += own;
        left -= own;
    }
    return ended(error ? -1 : length, error);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    struct iovec part = {(void *)bytes, length};
    return written(fd, &part, 1, 0, 0);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return written(fd, parts, count, 0, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    struct iovec part = {(void *)bytes, length};
    return written(fd, &part, 1, offset, 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    return pwrite(fd, bytes, length, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return written(fd, parts, count, offset, 1);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return written(fd, parts, count, offset, 1);
}

/* What Python's os.pwritev calls; only without flags. */
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return flags ? syscall(SYS_pwritev2, fd, parts, count, offset, 0, flags) : written(fd, parts, count, offset, 1);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    return pwritev2(fd, parts, count, offset, flags);
}

static int resized(char kind, int fd, off_t start, off_t length)
{
    char path[PATH_MAX];
    int ours = path_of(fd, path), error = 0;
    pthread_mutex_lock(&lock);
    if (ours)
        error = due(kind);
    int result = error ? -1 : kind == 'T' ? syscall(SYS_ftruncate, fd, length)
                                          : syscall(SYS_fallocate, fd, 0, start, length);
    if (ours && !result)
        note(kind, inode_of(fd), start + length, 0, "", 0);
    return ended(result, error);
}

int ftruncate(int fd, off_t length)
{
    return resized('T', fd, 0, length);
}

int ftruncate64(int fd, off64_t length)
{
    return resized('T', fd, 0, length);
}

int posix_fallocate(int fd, off_t start, off_t length)
{
    return resized('A', fd, start, length) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t start, off64_t length)
{
    return posix_fallocate(fd, start, length);
}

/* Only as `value_files` calls it: a hole, within the file. */
int fallocate(int fd, int mode, off_t start, off_t length)
{
    char path[PATH_MAX], digits[32];
    if (!path_of(fd, path))
        return syscall(SYS_fallocate, fd, mode, start, length);
    pthread_mutex_lock(&lock);
    int error = due('Z'), result = error ? -1 : syscall(SYS_fallocate, fd, mode, start, length);
    if (!result)
        note('Z', inode_of(fd), start, 0, digits, snprintf(digits, sizeof digits, "%lld", (long long)length));
    return ended(result, error);
}

static int synced(int fd, long number)
{
    char path[PATH_MAX];
    if (!path_of(fd, path))
        return syscall(number, fd);
    pthread_mutex_lock(&lock);
    int error = due('S'), result = error ? -1 : syscall(number, fd);
    note('S', inode_of(fd), 0, result != 0, "", 0);
    return ended(result, error);
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

static int opened(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || !path_at(folder, name, path))
        return syscall(SYS_openat, folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int error = faccessat(AT_FDCWD, path, F_OK, 0) ? due('O') : 0; /* opening what is there needs no room */
    int fd = error ? -1 : syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0)
        note('O', inode_of(fd), 0, (flags & O_TRUNC) != 0, path, strlen(path));
    return ended(fd, error);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & O_CREAT ? va_arg(rest, mode_t) : 0;
}

#define OPENS(name, parameters, folder, path)                                                                          \
    int name parameters                                                                                                \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return opened(folder, path, flags, mode);                                                                      \
    }

OPENS(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPENS(openat, (int folder, const char *path, int flags, ...), folder, path)
OPENS(openat64, (int folder, const char *path, int flags, ...), folder, path)

int mkdirat(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    if (!path_at(folder, name, path))
        return syscall(SYS_mkdirat, folder, name, mode);
    pthread_mutex_lock(&lock);
    int error = due('D'), result = error ? -1 : syscall(SYS_mkdirat, folder, name, mode);
    struct stat status;
    if (!result && !stat(path, &status))
        note('D', status.st_ino, 0, 0, path, strlen(path));
    return ended(result, error);
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_MAX];
    int ours = path_at(folder, name, path);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, folder, name, flags);
    if (ours && !result)
        note('U', 0, 0, 0, path, strlen(path));
    return ended(result, 0);
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

static int moved(char kind, int from, const char *old, int to, const char *new, unsigned flags)
{
    char old_path[PATH_MAX], new_path[PATH_MAX];
    int ours = path_at(from, old, old_path) & path_at(to, new, new_path), error = 0;
    pthread_mutex_lock(&lock);
    if (ours)
        error = due(kind);
    int result = error ? -1 : syscall(kind == 'R' ? SYS_renameat2 : SYS_linkat, from, old, to, new, flags);
    if (ours && !result)
        note_paths(kind, old_path, new_path);
    return ended(result, error);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return moved('R', from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return moved('R', from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
    return moved('R', AT_FDCWD, old, AT_FDCWD, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return moved('L', from, old, to, new, flags);
}

int link(const char *old, const char *new)
{
    return moved('L', AT_FDCWD, old, AT_FDCWD, new, 0);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    char path[PATH_MAX];
    if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && path_of(fd, path)) {
        pthread_mutex_lock(&lock);
        note('M', inode_of(fd), 0, 0, path, strlen(path));
        pthread_mutex_unlock(&lock);
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
    return mmap(address, length, protection, flags, fd, offset);
}
