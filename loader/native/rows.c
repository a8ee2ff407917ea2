/* Tokens -> rows in PostgreSQL's binary format of COPY, and objects of values for `_extra`.

   A row is the number of its fields, in two bytes, and the fields: each its size, in four bytes (-1
   for null), and its value. Everything is big-endian. */

#include "reader.h"

/* How a value becomes a field; the same numbers stand in cells.py. A cell is null, or the number of
   a token (of a literal, of a stored number), and behind it in the lowest bits how it is written. */
enum { LITERAL = 1, AS_TEXT, AS_LONG, AS_NUMERIC, AS_TRUE, AS_FALSE, AS_JSON, AS_STORED };
enum { HOW_BITS = 4, NULL_CELL = -1 };

enum { SIZE_BYTES = 4, COUNT_BYTES = 2, LONG_BYTES = 8, JSON_VERSION = 1 };
/* Numbers have 16 digits before the point, and eight behind it, in groups of four. */
enum { GROUPS = 6, GROUPS_BEFORE = 4, NUMERIC_BYTES = 8 + 2 * GROUPS, NUMERIC_NEGATIVE = 0x4000 };

struct fields {
    const byte *bytes;
    const byte *kind; /* by token, as the others */
    const int32_t *start, *end;
    const int64_t *number;
    const int32_t *fraction;
    const int16_t *scale;
    const byte *literals;
    const int64_t *literal_ends;
    const int64_t *stored;
};

static byte *put_short(byte *out, int64_t value)
{
    out[0] = (byte)(value >> 8 & 0xFF);
    out[1] = (byte)(value & 0xFF);
    return out + COUNT_BYTES;
}

static byte *put_size(byte *out, int64_t value)
{
    return put_short(put_short(out, value >> 16 & 0xFFFF), value & 0xFFFF);
}

static byte *put_text(byte *out, const byte *from, int64_t size)
{
    memcpy(out, from, (size_t)size);
    return out + size;
}

static byte *put_long(byte *out, int64_t value)
{
    uint64_t turned = __builtin_bswap64((uint64_t)value);
    return put_text(put_size(out, LONG_BYTES), (const byte *)&turned, LONG_BYTES);
}

static byte *put_numeric(byte *out, int64_t whole, int64_t fraction, int64_t scale)
{
    int64_t groups[GROUPS], sign = scale & IS_NEGATIVE || whole < 0 ? NUMERIC_NEGATIVE : 0;
    scale &= ~IS_NEGATIVE;
    whole = whole < 0 ? -whole : whole;
    for (int i = GROUPS_BEFORE - 1; i >= 0; i--, whole /= 10000)
        groups[i] = whole % 10000;
    for (int64_t i = scale; i < 8; i++)
        fraction *= 10;
    groups[GROUPS_BEFORE] = fraction / 10000;
    groups[GROUPS_BEFORE + 1] = fraction % 10000;
    out = put_size(out, NUMERIC_BYTES);
    out = put_short(out, GROUPS);
    out = put_short(out, GROUPS_BEFORE - 1); /* the weight of the first group */
    out = put_short(out, sign);
    out = put_short(out, scale);
    for (int i = 0; i < GROUPS; i++)
        out = put_short(out, groups[i]);
    return out;
}

/* JSON: a string is written with escapes again, other values stand as they were read. */

static int64_t json_size(const struct fields *fields, int64_t token)
{
    const byte *at = fields->bytes + fields->start[token], *end = fields->bytes + fields->end[token];
    int64_t size = end - at;
    if (fields->kind[token] != STRING && fields->kind[token] != TIME)
        return size;
    for (; at < end; at++)
        size += *at < 0x20 ? 5 : *at == '"' || *at == '\\';
    return size + 2;
}

static byte *put_json(byte *out, const struct fields *fields, int64_t token)
{
    static const byte digits[] = "0123456789abcdef";
    const byte *at = fields->bytes + fields->start[token], *end = fields->bytes + fields->end[token];
    if (fields->kind[token] != STRING && fields->kind[token] != TIME)
        return put_text(out, at, end - at);
    *out++ = '"';
    for (; at < end; at++) {
        if (*at < 0x20) {
            out = put_text(out, (const byte *)"\\u00", 4);
            *out++ = digits[*at >> 4];
            *out++ = digits[*at & 15];
        } else {
            if (*at == '"' || *at == '\\')
                *out++ = '\\';
            *out++ = *at;
        }
    }
    *out++ = '"';
    return out;
}

static int64_t field_size(const struct fields *fields, int64_t cell)
{
    int64_t at = cell >> HOW_BITS;
    if (cell == NULL_CELL)
        return SIZE_BYTES;
    switch (cell & ((1 << HOW_BITS) - 1)) {
    case LITERAL:
        return fields->literal_ends[at + 1] - fields->literal_ends[at];
    case AS_TEXT:
        return SIZE_BYTES + fields->end[at] - fields->start[at];
    case AS_LONG:
    case AS_STORED:
        return SIZE_BYTES + LONG_BYTES;
    case AS_NUMERIC:
        return SIZE_BYTES + NUMERIC_BYTES;
    case AS_JSON:
        return SIZE_BYTES + 1 + json_size(fields, at);
    default: /* AS_TRUE, AS_FALSE */
        return SIZE_BYTES + 1;
    }
}

static byte *put_field(byte *out, const struct fields *fields, int64_t cell)
{
    int64_t at = cell >> HOW_BITS, how = cell & ((1 << HOW_BITS) - 1), size;
    byte *value = out + SIZE_BYTES;
    if (cell == NULL_CELL)
        return put_size(out, -1);
    switch (how) {
    case LITERAL:
        size = fields->literal_ends[at + 1] - fields->literal_ends[at];
        return put_text(out, fields->literals + fields->literal_ends[at], size);
    case AS_TEXT:
        size = fields->end[at] - fields->start[at];
        return put_text(put_size(out, size), fields->bytes + fields->start[at], size);
    case AS_LONG:
        return put_long(out, fields->number[at]);
    case AS_STORED:
        return put_long(out, fields->stored[at]);
    case AS_NUMERIC:
        return put_numeric(out, fields->number[at], fields->fraction[at], fields->scale[at]);
    case AS_JSON:
        *value = JSON_VERSION;
        value = put_json(value + 1, fields, at);
        put_size(out, value - out - SIZE_BYTES);
        return value;
    default: /* AS_TRUE, AS_FALSE */
        *put_size(out, 1) = how == AS_TRUE;
        return value + 1;
    }
}

/* How many bytes the objects of some values take; the arguments are those of `write_objects`. */
int64_t measure_objects(const struct fields *fields, const int64_t *tokens, const int64_t *names,
                        int64_t values, const int64_t *name_ends, int64_t objects)
{
    int64_t size = objects * (SIZE_BYTES + 3);
    for (int64_t i = 0; i < values; i++)
        size += json_size(fields, tokens[i]) + name_ends[names[i] + 1] - name_ends[names[i]] + 2;
    return size;
}

/* Write a jsonb field for each object to `out`, and to `ends` where each ends.

   Values come in the order of their objects; `firsts` says where each object begins, and has one
   entry more. `name_texts` are JSON strings. */
void write_objects(const struct fields *fields, const int64_t *tokens, const int64_t *names,
                   const byte *name_texts, const int64_t *name_ends, const int64_t *firsts,
                   int64_t objects, byte *out, int64_t *ends)
{
    byte *at = out;
    for (int64_t object = 0; object < objects; object++) {
        byte *field = at;
        at += SIZE_BYTES;
        *at++ = JSON_VERSION;
        *at++ = '{';
        for (int64_t i = firsts[object]; i < firsts[object + 1]; i++) {
            if (i > firsts[object])
                *at++ = ',';
            at = put_text(at, name_texts + name_ends[names[i]],
                          name_ends[names[i] + 1] - name_ends[names[i]]);
            *at++ = ':';
            at = put_json(at, fields, tokens[i]);
        }
        *at++ = '}';
        put_size(field, at - field - SIZE_BYTES);
        ends[object] = at - out;
    }
}

/* How many bytes the lines of some rows take; the arguments are those of `write_rows`. */
int64_t measure_rows(const struct fields *fields, const int64_t *cells, int64_t width,
                     int64_t columns, const int64_t *rows, int64_t count,
                     const int64_t *prefix_sizes)
{
    int64_t size = count * COUNT_BYTES;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *row = cells + rows[i] * width;
        for (int64_t column = 0; column < columns; column++)
            size += row[column] == NULL_CELL ? SIZE_BYTES : field_size(fields, row[column]);
        if (prefix_sizes)
            size += prefix_sizes[rows[i]] - COUNT_BYTES;
    }
    return size;
}

/* Write the lines of some rows to `out`, and to `ends` where each of them ends.

   `cells` [row, width] says what stands in the first `columns` of each row. Where `prefix_begins`
   has addresses, of a line by row, a row begins with the fields of that line; `fields_of_all`
   counts both. */
void write_rows(const struct fields *fields, const int64_t *cells, int64_t width, int64_t columns,
                const int64_t *rows, int64_t count, const int64_t *prefix_begins,
                const int64_t *prefix_sizes, int64_t fields_of_all, byte *out, int64_t *ends)
{
    byte *at = out;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *row = cells + rows[i] * width;
        at = put_short(at, fields_of_all);
        if (prefix_begins) {
            const byte *prefix = (const byte *)(intptr_t)prefix_begins[rows[i]];
            at = put_text(at, prefix + COUNT_BYTES, prefix_sizes[rows[i]] - COUNT_BYTES);
        }
        for (int64_t column = 0; column < columns; column++)
            at = put_field(at, fields, row[column]);
        ends[i] = at - out;
    }
}
