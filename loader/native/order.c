/* Encoded rows, wherever they stand: the order of their ids, and one text of them.

   `begins` are addresses: the rows of a batch come in many parts. */

#include "text.h"

enum { WORD_BYTES = 8 };
/* Before an id, which is the first field of its row: the number of fields, and its size. */
enum { HEAD_BYTES = 2 + 4 };

/* The id of a row, which is never null. */
static const byte *id_of(int64_t begin, int64_t *size)
{
    const byte *line = (const byte *)(intptr_t)begin;
    *size = (int64_t)line[2] << 24 | line[3] << 16 | line[4] << 8 | line[5];
    return line + HEAD_BYTES;
}

/* Up to eight bytes from `at` on, the first one highest, zeros behind the end. */
static uint64_t word_of(const byte *id, int64_t size, int64_t at)
{
    uint64_t word = 0;
    for (int64_t i = at; i < at + WORD_BYTES; i++)
        word = word << 8 | (i < size ? id[i] : 0);
    return word;
}

/* Of each id two words, from the first byte on that is not the same in all. */
void read_keys(const int64_t *begins, int64_t count, uint64_t *first, uint64_t *second)
{
    int64_t size, alike = 0;
    if (count)
        id_of(begins[0], &alike);
    for (int64_t i = 1; i < count; i++) {
        const byte *one = id_of(begins[0], &size), *other = id_of(begins[i], &size);
        int64_t at = 0;
        if (size < alike)
            alike = size;
        while (at < alike && one[at] == other[at])
            at++;
        alike = at;
    }
    for (int64_t i = 0; i < count; i++) {
        const byte *id = id_of(begins[i], &size);
        first[i] = word_of(id, size, alike);
        second[i] = word_of(id, size, alike + WORD_BYTES);
    }
}

/* Copy texts one behind the other. */
void gather(const int64_t *begins, const int64_t *sizes, int64_t count, byte *out)
{
    for (int64_t i = 0; i < count; i++) {
        memcpy(out, (const byte *)(intptr_t)begins[i], (size_t)sizes[i]);
        out += sizes[i];
    }
}
