/* Values of JSON: strings, numbers, literals, and whole lists and objects that are kept as text. */

#include <stdlib.h>

#include "reader.h"

enum {
    MOST_LIST_DEPTH = 190, /* objects and lists inside one another; see `regular.py` */
    MORE_DEPTH = 10,       /* of what was written again */
    MOST_DIGITS = 16, /* before the point, and behind it: what the encoder writes by itself */
    MOST_SCALE = 8,
    /* Numbers beyond these are looked at in Python, which knows how long they are when written
       without an exponent. */
    MOST_LONG_DIGITS = 300,
    MOST_EXPONENT_DIGITS = 2,
    FEW_KEYS = 16, /* of one object, that are compared pair by pair */
};

/* Step over text that stands as it is. Returns where something else stands: the quote that ends the
   string, an escape, or what no string may have; NULL where the text is not UTF-8 or does not end. */
static inline byte *skip_plain(byte *at, const byte *end)
{
    while (at < end) {
        int size = plain_bytes(at);
        if (size == 0 && *at >= 0x80 && !(size = utf8_size(at, end)))
            return NULL;
        if (size > end - at)
            return NULL;
        if (!size)
            return at;
        at += size;
    }
    return NULL;
}

/* Read a string from its first escape on, which stands at `at`; no text is longer than its string. */
static int read_escaped(struct reader *reader, byte *at, byte **start, byte **end_)
{
    const byte *end = reader->end, *from = *start;
    byte *text = reader->bytes + reader->tokens->text_size, *to = text;
    if (reader->tokens->text_room - reader->tokens->text_size < end - from) {
        reader->is_short = 1;
        return 0;
    }
    for (;; at = skip_plain(at, end)) {
        if (!at)
            return 0;
        memcpy(to, from, (size_t)(at - from));
        to += at - from;
        if (*at == '"')
            break;
        int size;
        if (*at != '\\' || !(at = read_escape(at, end, to, &size)))
            return 0;
        to += size;
        from = at;
    }
    *start = text;
    *end_ = to;
    reader->tokens->text_size = to - reader->bytes;
    reader->at = at + 1;
    return 1;
}

int read_string(struct reader *reader, byte **start, byte **end_)
{
    *start = reader->at + 1;
    byte *at = skip_plain(*start, reader->end);
    if (!at || *at != '"')
        return at && *at == '\\' && read_escaped(reader, at, start, end_);
    *end_ = at;
    reader->at = at + 1;
    return 1;
}

/* Read digits into `*value` as long as it has room; returns how many. */
static int64_t read_digits(struct reader *reader, int64_t *value)
{
    byte *start = reader->at;
    for (*value = 0; is_digit(reader); reader->at++)
        if (reader->at - start < MOST_DIGITS)
            *value = *value * 10 + (*reader->at - '0');
    return reader->at - start;
}

struct number read_number(struct reader *reader)
{
    struct number number = {.kind = INTEGER};
    int is_negative = *reader->at == '-', is_regular = 1;
    reader->at += is_negative;
    byte *first = reader->at;
    int64_t digits = read_digits(reader, &number.whole), exponent, scale = 0;
    if (!digits || (digits > 1 && *first == '0'))
        return (struct number){0};
    if (reader->at < reader->end && *reader->at == '.') {
        reader->at++;
        number.kind = DECIMAL;
        scale = read_digits(reader, &number.fraction);
        if (!scale)
            return (struct number){0};
    }
    if (is_negative) {
        is_regular = number.whole || number.fraction; /* there is no negative zero */
        if (number.kind == INTEGER)
            number.whole = -number.whole;
    }
    int64_t exponent_digits = 0;
    if (reader->at < reader->end && (*reader->at | 0x20) == 'e') {
        is_regular = 0;
        reader->at++;
        if (reader->at < reader->end && (*reader->at == '-' || *reader->at == '+'))
            reader->at++;
        exponent_digits = read_digits(reader, &exponent);
        if (!exponent_digits)
            return (struct number){0};
    }
    if (!reader->is_rewritten && (exponent_digits > MOST_EXPONENT_DIGITS ||
                                  digits > MOST_LONG_DIGITS || scale > MOST_LONG_DIGITS))
        return (struct number){0};
    if (!is_regular || digits > MOST_DIGITS || scale > MOST_SCALE)
        number.kind = JSON;
    else
        number.scale = is_negative && number.kind == DECIMAL ? scale | IS_NEGATIVE : scale;
    return number;
}

static int read_literal(struct reader *reader, const char *text)
{
    int64_t size = (int64_t)strlen(text);
    if (reader->end - reader->at < size || memcmp(reader->at, text, (size_t)size) != 0)
        return 0;
    reader->at += size;
    return 1;
}

static int check_string(struct reader *reader, byte **start, int64_t *size)
{
    byte *at = *start = reader->at + 1, text[4];
    int bytes;
    while ((at = skip_plain(at, reader->end)) && *at != '"')
        if (*at != '\\' || !(at = read_escape(at, reader->end, text, &bytes)))
            return 0;
    if (!at)
        return 0;
    *size = at - *start;
    reader->at = at + 1;
    return 1;
}

static int most_depth(const struct reader *reader)
{
    return MOST_LIST_DEPTH + (reader->is_rewritten ? MORE_DEPTH : 0);
}

struct key {
    const byte *text;
    int64_t size;
};

static int compare_keys(const void *one_, const void *other_)
{
    const struct key *one = one_, *other = other_;
    if (one->size != other->size)
        return one->size < other->size ? -1 : 1;
    return memcmp(one->text, other->text, (size_t)one->size);
}

/* Whether a key stands twice among some; they are left in another order. */
static int has_repeated(struct key *keys, int64_t count)
{
    if (count > FEW_KEYS)
        qsort(keys, (size_t)count, sizeof *keys, compare_keys);
    for (int64_t i = 1; i < count; i++)
        for (int64_t j = count > FEW_KEYS ? i - 1 : 0; j < i; j++)
            if (!compare_keys(&keys[i], &keys[j]))
                return 1;
    return 0;
}

/* Step over an object inside of a value. One with an escaped key, with a repeated one, or with very
   many is not regular. */
static int check_object(struct reader *reader, int depth)
{
    struct key few[FEW_KEYS], *keys = few;
    int64_t count = 0, room = FEW_KEYS;
    int is_regular = 0;
    if (next_byte(reader) == '}') {
        reader->at++;
        return 1;
    }
    for (;; reader->at++) {
        byte *start;
        int64_t size;
        if (next_byte(reader) != '"' || !check_string(reader, &start, &size))
            break;
        if (!reader->is_rewritten) {
            if (memchr(start, '\\', (size_t)size))
                break;
            if (count == room) {
                struct key *more = realloc(keys == few ? NULL : keys, 2 * (size_t)room * sizeof *keys);
                if (!more)
                    break;
                if (keys == few)
                    memcpy(more, few, sizeof few);
                keys = more;
                room *= 2;
            }
            keys[count++] = (struct key){start, size};
        }
        if (next_byte(reader) != ':')
            break;
        reader->at++;
        if (!check_value(reader, depth))
            break;
        byte next = next_byte(reader);
        if (next == '}') {
            reader->at++;
            is_regular = !has_repeated(keys, count);
            break;
        }
        if (next != ',')
            break;
    }
    if (keys != few)
        free(keys);
    return is_regular;
}

/* Step over a value that is valid JSON, and regular. */
int check_value(struct reader *reader, int depth)
{
    byte *start;
    int64_t size;
    switch (next_byte(reader)) {
    case '"':
        return check_string(reader, &start, &size);
    case 't':
        return read_literal(reader, "true");
    case 'f':
        return read_literal(reader, "false");
    case 'n':
        return read_literal(reader, "null");
    case '{':
        reader->at++;
        return depth < most_depth(reader) && check_object(reader, depth + 1);
    case '[':
        reader->at++;
        if (depth >= most_depth(reader))
            return 0;
        if (next_byte(reader) == ']') {
            reader->at++;
            return 1;
        }
        for (;; reader->at++) {
            if (!check_value(reader, depth + 1))
                return 0;
            byte next = next_byte(reader);
            if (next == ']') {
                reader->at++;
                return 1;
            }
            if (next != ',')
                return 0;
        }
    default:
        return (reader->at < reader->end && (*reader->at == '-' || is_digit(reader))) &&
               read_number(reader).kind;
    }
}

