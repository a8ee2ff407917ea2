/* The keys that lead to a value, numbered as they are met. */

#ifndef PATHS_H
#define PATHS_H

#include "text.h"

/* What a path is marked as; the same numbers stand in paths.py. */
enum { MAY_BE_TIME = 1, IS_OPENED = 2, HOLDS_RECORDS = 4 };
enum {
    MOST_PATHS = 1 << 15,
    MOST_KEY_BYTES = 1 << 20,
    SLOTS = 1 << 15, /* a power of two */
};

/* The paths that were met so far. Path 0 is the record itself. */
struct paths {
    uint64_t seed;
    int64_t records; /* that were read */
    int32_t count, key_bytes;
    int32_t parent[MOST_PATHS];
    int32_t key_start[MOST_PATHS]; /* in `keys` */
    int32_t key_size[MOST_PATHS];
    int32_t next[MOST_PATHS];    /* the one that came behind it in the last record */
    int32_t in_slot[MOST_PATHS]; /* the next one in its slot, or 0 */
    int32_t slots[SLOTS];
    int64_t record[MOST_PATHS]; /* the last record that had it */
    byte marks[MOST_PATHS];
    byte is_full; /* a path had no room since this was last set to 0 */
    byte keys[MOST_KEY_BYTES];
};

static inline int is_path(const struct paths *paths, int32_t path, int32_t parent, const byte *key,
                   int64_t size)
{
    return path < paths->count && paths->parent[path] == parent && paths->key_size[path] == size &&
           memcmp(paths->keys + paths->key_start[path], key, (size_t)size) == 0;
}

/* The number of a path, made where it is new; 0 where there is no room for it. */
int32_t find_path(struct paths *paths, int32_t parent, const byte *key, int64_t size);

/* Forget the paths from `count` on: those of a record that was refused. */
void forget_paths(struct paths *paths, int32_t count);

#endif
