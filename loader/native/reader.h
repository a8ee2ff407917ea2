/* A record while it is read: what its values are, and where they end. */

#ifndef READER_H
#define READER_H

#include "paths.h"

/* Kinds of values; the same numbers stand in tokens.py. JSON is a list, a number that Python has to
   look at, or an object at a path that is not opened: valid JSON, kept as text. */
enum { STRING = 1, TRUE, FALSE, INTEGER, DECIMAL, JSON, NOTHING, EMPTY, OPEN, TIME, ITEMS };

/* Arrays with an entry per token, and the spans of records found inside of records. The same fields
   stand in `native/__init__.py`. */
struct tokens {
    int32_t *record, *path, *start, *end;
    int64_t *number;
    int32_t *fraction;
    int16_t *scale;
    byte *kind;
    int64_t count, room;
    int64_t *item_start, *item_end, *item_parent;
    int64_t items, items_room;
    int64_t text_size, text_room; /* bytes of the text that are in use, and that there are */
};

struct reader {
    byte *bytes;
    byte *at, *end; /* of the record */
    int is_short;   /* there was no room for the text of a string */
    struct paths *paths;
    struct tokens *tokens;
    int is_rewritten; /* by regular.py: no key is repeated, and all numbers are ones */
};

/* A number as far as the encoder writes it by itself. The fraction of a DECIMAL has `scale` digits;
   of a negative one `whole` is positive, and IS_NEGATIVE is added to its scale. */
enum { IS_NEGATIVE = 1 << 10 };
struct number {
    int64_t whole, fraction, scale;
    byte kind; /* INTEGER, DECIMAL or JSON; 0 where it is no number */
};

/* The next byte that is no blank; 0 at the end of the record. */
static inline byte next_byte(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' ||
                                        *reader->at == '\t' || *reader->at == '\r'))
        reader->at++;
    return reader->at < reader->end ? *reader->at : 0;
}

static inline int is_digit(const struct reader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

/* Each of these steps over a value and returns 0 where it is not regular. A string begins at its
   quote; the text of one with escapes is added behind the text of the block. */
int read_string(struct reader *reader, byte **start, byte **end);
struct number read_number(struct reader *reader);
int check_value(struct reader *reader, int depth);

#endif
