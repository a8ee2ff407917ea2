/* Tokens -> rows: the lines of PostgreSQL's binary format of COPY.

   A line is the number of its fields, in two bytes, and the fields: each its size, in four bytes
   (-1 for null), and its value. Everything is big-endian. */

#include <stdint.h>
#include <string.h>

typedef uint8_t letter;

/* How a value becomes a field; the same numbers stand in fields.py. A cell is null, or the number
   of a token, or of a field that is ready, and behind it in the lowest bits how it is written. */
enum { READY = 1, AS_TEXT, AS_LONG, AS_NUMERIC, AS_TRUE, AS_FALSE };
enum { HOW_BITS = 3, NULL_CELL = -1 };

enum { SIZE_BYTES = 4, COUNT_BYTES = 2, LONG_BYTES = 8 };
/* Numbers have 16 digits before the point, and eight behind it, in groups of four. */
enum { GROUPS = 6, GROUPS_BEFORE = 4, NUMERIC_BYTES = 8 + 2 * GROUPS };

struct fields {
    const letter *letters;
    const int64_t *start, *end, *number, *behind, *places; /* by token */
    const letter *ready;
    const int64_t *ready_ends;
};

static letter *put_short(letter *out, int64_t value)
{
    out[0] = (letter)(value >> 8 & 0xFF);
    out[1] = (letter)(value & 0xFF);
    return out + COUNT_BYTES;
}

static letter *put_size(letter *out, int64_t value)
{
    return put_short(put_short(out, value >> 16 & 0xFFFF), value & 0xFFFF);
}

static letter *put_letters(letter *out, const letter *from, int64_t size)
{
    memcpy(out, from, (size_t)size);
    return out + size;
}

static letter *put_long(letter *out, int64_t value)
{
    uint64_t turned = __builtin_bswap64((uint64_t)value);
    return put_letters(put_size(out, LONG_BYTES), (const letter *)&turned, LONG_BYTES);
}

static letter *put_numeric(letter *out, int64_t before, int64_t behind, int64_t places)
{
    int64_t groups[GROUPS];
    for (int i = GROUPS_BEFORE - 1; i >= 0; i--, before /= 10000)
        groups[i] = before % 10000;
    for (int64_t i = places; i < 8; i++)
        behind *= 10;
    groups[GROUPS_BEFORE] = behind / 10000;
    groups[GROUPS_BEFORE + 1] = behind % 10000;
    out = put_size(out, NUMERIC_BYTES);
    out = put_short(out, GROUPS);
    out = put_short(out, GROUPS_BEFORE - 1); /* the weight of the first group */
    out = put_short(out, 0);                 /* no sign */
    out = put_short(out, places);
    for (int i = 0; i < GROUPS; i++)
        out = put_short(out, groups[i]);
    return out;
}

static int64_t field_size(const struct fields *fields, int64_t cell)
{
    int64_t at = cell >> HOW_BITS;
    if (cell == NULL_CELL)
        return SIZE_BYTES;
    switch (cell & ((1 << HOW_BITS) - 1)) {
    case READY:
        return fields->ready_ends[at + 1] - fields->ready_ends[at];
    case AS_TEXT:
        return SIZE_BYTES + fields->end[at] - fields->start[at];
    case AS_LONG:
        return SIZE_BYTES + LONG_BYTES;
    case AS_NUMERIC:
        return SIZE_BYTES + NUMERIC_BYTES;
    default: /* AS_TRUE, AS_FALSE */
        return SIZE_BYTES + 1;
    }
}

static letter *put_field(letter *out, const struct fields *fields, int64_t cell)
{
    int64_t at = cell >> HOW_BITS, size = field_size(fields, cell);
    if (cell == NULL_CELL)
        return put_size(out, -1);
    switch (cell & ((1 << HOW_BITS) - 1)) {
    case READY:
        return put_letters(out, fields->ready + fields->ready_ends[at], size);
    case AS_TEXT:
        out = put_size(out, size - SIZE_BYTES);
        return put_letters(out, fields->letters + fields->start[at], size - SIZE_BYTES);
    case AS_LONG:
        return put_long(out, fields->number[at]);
    case AS_NUMERIC:
        return put_numeric(out, fields->number[at], fields->behind[at], fields->places[at]);
    case AS_TRUE:
        *put_size(out, 1) = 1;
        return out + SIZE_BYTES + 1;
    default: /* AS_FALSE */
        *put_size(out, 1) = 0;
        return out + SIZE_BYTES + 1;
    }
}

/* How many bytes the lines of some rows take; the arguments are those of `write_rows`. */
int64_t measure_rows(const struct fields *fields, const int64_t *cells, int64_t width,
                     int64_t columns, const int64_t *rows, int64_t count,
                     const int64_t *head_sizes)
{
    int64_t size = count * COUNT_BYTES;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *row = cells + rows[i] * width;
        for (int64_t column = 0; column < columns; column++)
            size += field_size(fields, row[column]);
        if (head_sizes)
            size += head_sizes[rows[i]] - COUNT_BYTES;
    }
    return size;
}

/* Write the lines of some rows to `out`, and to `ends` where each of them ends.

   `cells` [row, width] says what stands in the first `columns` of each row. Where there are heads,
   lines by row, of which `head_begins` are the addresses, a line begins with the fields of its
   head; `fields_of_all` counts both. */
void write_rows(const struct fields *fields, const int64_t *cells, int64_t width, int64_t columns,
                const int64_t *rows, int64_t count, const int64_t *head_begins,
                const int64_t *head_sizes, int64_t fields_of_all, letter *out, int64_t *ends)
{
    letter *at = out;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *row = cells + rows[i] * width;
        at = put_short(at, fields_of_all);
        if (head_begins) {
            const letter *head = (const letter *)(intptr_t)head_begins[rows[i]];
            at = put_letters(at, head + COUNT_BYTES, head_sizes[rows[i]] - COUNT_BYTES);
        }
        for (int64_t column = 0; column < columns; column++)
            at = put_field(at, fields, row[column]);
        ends[i] = at - out;
    }
}
