#include "paths.h"

#include <stdlib.h>

static uint32_t slot_of(const struct paths *paths, int32_t parent, const byte *key, int64_t size)
{
    uint64_t hash = paths->seed ^ (uint64_t)parent;
    for (int64_t at = 0; at < size; at++)
        hash = (hash ^ key[at]) * 0x100000001B3u;
    return (uint32_t)(hash >> 32) & (SLOTS - 1);
}

struct paths *new_paths(uint64_t seed)
{
    struct paths *paths = calloc(1, sizeof *paths);
    if (paths) {
        paths->seed = seed;
        paths->count = 1;
        paths->parent[0] = -1; /* it is the next one of no other */
        paths->marks[0] = IS_OPENED;
    }
    return paths;
}

void free_paths(struct paths *paths)
{
    free(paths);
}

int32_t count_paths(const struct paths *paths)
{
    return paths->count;
}

/* The paths from `first` on: the path above each, and its last key with a zero behind it. */
void list_paths(const struct paths *paths, int32_t first, int32_t *parents, byte *keys)
{
    for (int32_t path = first; path < paths->count; path++) {
        *parents++ = paths->parent[path];
        memcpy(keys, paths->keys + paths->key_start[path], (size_t)paths->key_size[path]);
        keys += paths->key_size[path];
        *keys++ = 0;
    }
}

/* How many bytes the keys of paths take. */
int32_t count_key_bytes(const struct paths *paths)
{
    return paths->key_bytes;
}

int32_t find_path(struct paths *paths, int32_t parent, const byte *key, int64_t size)
{
    uint32_t slot = slot_of(paths, parent, key, size);
    for (int32_t path = paths->slots[slot]; path; path = paths->in_slot[path])
        if (is_path(paths, path, parent, key, size))
            return path;
    if (paths->count >= MOST_PATHS || size > MOST_KEY_BYTES - paths->key_bytes) {
        paths->is_full = 1;
        return 0;
    }
    int32_t path = paths->count++;
    paths->parent[path] = parent;
    paths->key_start[path] = paths->key_bytes;
    paths->key_size[path] = (int32_t)size;
    memcpy(paths->keys + paths->key_bytes, key, (size_t)size);
    paths->key_bytes += (int32_t)size;
    paths->next[path] = 0;
    paths->record[path] = 0;
    /* What is below an opened object is opened too; of the record, only what is marked. */
    paths->marks[path] = parent ? paths->marks[parent] & IS_OPENED : 0;
    paths->in_slot[path] = paths->slots[slot];
    paths->slots[slot] = path;
    return path;
}

void mark_path(struct paths *paths, int32_t path, int32_t marks)
{
    paths->marks[path] = (byte)marks;
}

void forget_paths(struct paths *paths, int32_t count)
{
    while (paths->count > count) {
        int32_t path = --paths->count;
        const byte *key = paths->keys + paths->key_start[path];
        uint32_t slot = slot_of(paths, paths->parent[path], key, paths->key_size[path]);
        paths->slots[slot] = paths->in_slot[path];
        paths->key_bytes = paths->key_start[path];
    }
}
