/* What the system says of many files at once. */

#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

enum { NO_REGULAR_FILE = -1 };

/* A file may claim any time: those that have no number of microseconds become the last that has. */
static const int64_t most_seconds = INT64_MAX / 1000000 - 1;

/* The sizes in bytes of the files of a folder, and when they were written, in microseconds since
   1970. `names` stand one behind the other, each with a zero byte behind it. A size is
   NO_REGULAR_FILE for a link, for what is no file, and for what cannot be looked at. */
void read_status(int32_t folder, const char *names, int64_t count, int64_t *sizes,
                 int64_t *modified)
{
    for (int64_t i = 0; i < count; i++, names += strlen(names) + 1) {
        struct stat status;
        sizes[i] = NO_REGULAR_FILE;
        if (fstatat(folder, names, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode))
            continue;
#ifdef __APPLE__
        struct timespec at = status.st_mtimespec;
#else
        struct timespec at = status.st_mtim;
#endif
        sizes[i] = status.st_size;
        int64_t seconds = at.tv_sec;
        if (seconds > most_seconds)
            seconds = most_seconds;
        if (seconds < -most_seconds)
            seconds = -most_seconds;
        modified[i] = seconds * 1000000 + at.tv_nsec / 1000;
    }
}
