/* Records -> tokens: every value of the records of a block, with its path.

   A record is a span of bytes that holds one JSON object: a line, an item of an array, a call of an
   envelope, the text of a string. One that is not regular leaves no token and is `refused`:
   `regular.py` writes it again in a form that is read here. What is read is hostile: nothing behind
   the end of a span is used, and no array is written without a look at its room. */

#include "reader.h"
#include "spans.h"
#include "times.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the first of eight bytes has to be the lowest one of a word"
#endif

enum { MOST_DEPTH = 64 /* of objects that are opened; `regular.py` allows more */ };

/* Note the spans of the elements of an array, which are records; 0 where it is not regular. */
static int read_items(struct reader *reader, int64_t record, int32_t needs_commas)
{
    struct tokens *tokens = reader->tokens;
    int64_t at, before = tokens->items;
    int32_t state;
    tokens->items += find_elements(reader->bytes, reader->at + 1 - reader->bytes,
                                   reader->end - reader->bytes, needs_commas, tokens->item_start + before,
                                   tokens->item_end + before, tokens->items_room - before, &at,
                                   &state);
    if (state != CLOSED) {
        tokens->items = before;
        return 0;
    }
    for (int64_t item = before; item < tokens->items; item++)
        tokens->item_parent[item] = record;
    reader->at = reader->bytes + at;
    return 1;
}

/* records */

/* Read the value of a path into the next token. */
static int read_value(struct reader *reader, int64_t record, int32_t path, int depth)
{
    struct tokens *tokens = reader->tokens;
    int64_t token = tokens->count;
    byte *start = reader->at, *end, marks = reader->paths->marks[path];
    byte *kind = &tokens->kind[token];
    static const byte kinds[256] = {
        ['t'] = TRUE, ['f'] = FALSE, ['n'] = NOTHING, ['['] = JSON, ['{'] = JSON,
    };
    int is_value;
    switch (*start) {
    case '"':
        *kind = STRING;
        if (!read_string(reader, &start, &end))
            return 0;
        tokens->start[token] = (int32_t)(start - reader->bytes);
        tokens->end[token] = (int32_t)(end - reader->bytes);
        if (marks & MAY_BE_TIME &&
            (read_iso_time(start, end, &tokens->number[token], &tokens->fraction[token]) ||
             read_epoch_text(start, end, &tokens->number[token], &tokens->fraction[token])))
            *kind = TIME;
        return 1;
    case '[':
    case '{':
    case 't':
    case 'f':
    case 'n':
        *kind = *start == '[' && marks & HOLDS_RECORDS ? ITEMS : kinds[*start];
        is_value = *kind == ITEMS ? read_items(reader, record, STRICT) : check_value(reader, depth);
        break;
    default:
        if (*start != '-' && !is_digit(reader))
            return 0;
        struct number number = read_number(reader);
        is_value = *kind = number.kind;
        tokens->number[token] = number.whole;
        tokens->fraction[token] = (int32_t)number.fraction;
        tokens->scale[token] = (int16_t)number.scale;
    }
    tokens->start[token] = (int32_t)(start - reader->bytes);
    tokens->end[token] = (int32_t)(reader->at - reader->bytes);
    return is_value;
}

/* Read the path of the next key into the next token, and go on to its value. */
static int read_key(struct reader *reader, int64_t record, int32_t parent, int32_t *path)
{
    struct paths *paths = reader->paths;
    byte *start, *end;
    if (next_byte(reader) != '"' || !read_string(reader, &start, &end))
        return 0;
    if (next_byte(reader) != ':')
        return 0;
    reader->at++;
    /* Most records have their keys in the order of the one before. */
    int32_t found = paths->next[*path];
    if (!is_path(paths, found, parent, start, end - start)) {
        found = find_path(paths, parent, start, end - start);
        paths->next[*path] = found;
    }
    if (!found || paths->record[found] == paths->records)
        return 0; /* or the key is repeated in its object */
    paths->record[found] = paths->records;
    reader->tokens->record[reader->tokens->count] = (int32_t)record;
    reader->tokens->path[reader->tokens->count] = found;
    *path = found;
    return 1;
}

/* Whether only blanks follow. */
static int is_at_end(struct reader *reader)
{
    return !next_byte(reader) && reader->at == reader->end;
}

/* Read one record; 0 where it is refused, and -1 where there is no room for its tokens. */
static int read_record(struct reader *reader, int64_t record)
{
    struct tokens *tokens = reader->tokens;
    int32_t parents[MOST_DEPTH + 1] = {0}, path = 0;
    int64_t opened[MOST_DEPTH + 1]; /* the tokens of the objects around */
    int depth = 0;
    byte first = next_byte(reader);
    if (first == '[')
        return read_items(reader, record, 1) && is_at_end(reader);
    if (first != '{')
        return 0;
    reader->at++;
    if (next_byte(reader) == '}') {
        reader->at++;
        return is_at_end(reader);
    }
    for (;;) {
        if (tokens->count == tokens->room)
            return -1;
        if (!read_key(reader, record, parents[depth], &path))
            return 0;
        byte next = next_byte(reader);
        if (next == '{' && depth < MOST_DEPTH && reader->paths->marks[path] & IS_OPENED) {
            int64_t token = tokens->count++;
            tokens->start[token] = (int32_t)(reader->at - reader->bytes);
            reader->at++;
            int is_empty = next_byte(reader) == '}';
            tokens->kind[token] = is_empty ? EMPTY : OPEN;
            if (!is_empty) {
                parents[++depth] = path;
                opened[depth] = token;
                continue;
            }
            reader->at++;
            tokens->end[token] = (int32_t)(reader->at - reader->bytes);
        } else {
            if (!next || !read_value(reader, record, path, depth))
                return 0;
            tokens->count++;
        }
        while ((next = next_byte(reader)) == '}') {
            reader->at++;
            if (!depth)
                return is_at_end(reader);
            tokens->end[opened[depth--]] = (int32_t)(reader->at - reader->bytes);
        }
        if (next != ',')
            return 0;
        reader->at++;
    }
}

/* Read records, and say which are refused.

   Eight bytes more than the spans can be read. `numbers` are those of the records. Of rewritten ones
   it is known that no key of an object is repeated, so nothing that is JSON is refused for that; a
   record that is refused again is nested too deep. Tokens, items and texts are added to those that
   are there. Returns how many records were read: less than all where there is no room for the texts
   of the next one, which has enough with its own size; -1 where tokens or paths have no room. */
int64_t read_records(struct paths *paths, byte *bytes, const int64_t *starts, const int64_t *ends,
                     const int64_t *numbers, int64_t records, int32_t is_rewritten, byte *refused,
                     struct tokens *tokens)
{
    struct reader reader = {
        .bytes = bytes, .paths = paths, .tokens = tokens, .is_rewritten = is_rewritten};
    for (int64_t record = 0; record < records; record++) {
        int64_t tokens_before = tokens->count, items_before = tokens->items;
        int64_t text_before = tokens->text_size;
        int32_t paths_before = paths->count;
        reader.at = bytes + starts[record];
        reader.end = bytes + ends[record];
        paths->records++;
        paths->is_full = 0;
        int read = read_record(&reader, numbers[record]);
        if (read < 0 || paths->is_full)
            return -1;
        if (!read) {
            refused[record] = 1;
            tokens->count = tokens_before;
            tokens->items = items_before;
            tokens->text_size = text_before;
            forget_paths(paths, paths_before);
        }
        if (reader.is_short) {
            refused[record] = 0;
            return record;
        }
    }
    return records;
}

/* Counts what changed for callers; in `native/__init__.py` too. */
int32_t library_version(void)
{
    return 7;
}
