/* Where records begin and end, without reading what is in them. */

#include "spans.h"

/* What a byte outside of a string means for finding the ends of values. */
enum { OTHERS, QUOTE, OPENS, CLOSES, COMMA, BLANK };
static const byte MEANING[256] = {
    ['"'] = QUOTE, ['{'] = OPENS, ['['] = OPENS, ['}'] = CLOSES, [']'] = CLOSES,
    [','] = COMMA, [' '] = BLANK, ['\t'] = BLANK, ['\r'] = BLANK, ['\n'] = BLANK,
};

/* Behind the quote that ends a string. NULL where there is none: then *state is BROKEN if the line
   ends before, else UNFINISHED. `at` stands behind its first quote; eight bytes behind `end` can be
   read. Nothing else of the string is checked. */
static const byte *skip_string(const byte *at, const byte *end, int32_t *state)
{
    while (at < end) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t quote = word ^ ONES * '"', backslash = word ^ ONES * '\\';
        uint64_t line = word ^ ONES * '\n';
        uint64_t found = ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) |
                         ((line - ONES) & ~line);
        found &= HIGHS;
        at += found ? __builtin_ctzll(found) >> 3 : 8;
        if (!found)
            continue;
        if (at >= end)
            break;
        if (*at == '"')
            return at + 1;
        if (*at == '\n' || (at + 1 < end && at[1] == '\n')) {
            *state = BROKEN;
            return NULL;
        }
        at += 2;
    }
    *state = UNFINISHED;
    return NULL;
}

/* The spans of the elements of an array.

   `from` stands behind its `[`, or behind the comma of an element. Eight bytes behind `size` can be
   read. Says in `*at` where to go on: behind the `]` (*state CLOSED); at the first element that
   does not end here (UNFINISHED), that has no room (FULL), or that is not JSON, because a bracket
   closes what is not open or a string does not end on its line (BROKEN; the next entry of `starts`
   says near which byte). Where `needs_commas` is 0, elements may stand behind one another; where it
   is STRICT, no comma may stand alone. Returns how many elements were found. */
int64_t find_elements(const byte *bytes, int64_t from, int64_t size, int32_t needs_commas,
                      int64_t *starts, int64_t *ends, int64_t room, int64_t *at_, int32_t *state)
{
    const byte *at = bytes + from, *end = bytes + size, *start = NULL, *last = NULL;
    int64_t count = 0, depth = 0;
    int is_done = 0; /* a value stands here, and a comma has to follow */
    *at_ = from;
    *state = UNFINISHED;
    while (at < end) {
        byte meaning = MEANING[*at];
        if (is_done && !depth && (meaning == QUOTE || meaning == OPENS || meaning == OTHERS)) {
            if (needs_commas || count == room) {
                *state = needs_commas ? BROKEN : FULL;
                break;
            }
            starts[count] = start - bytes;
            ends[count++] = last - bytes;
            *at_ = at - bytes;
            start = NULL;
            is_done = 0;
        }
        switch (meaning) {
        case QUOTE:
            start = start ? start : at;
            last = skip_string(at + 1, end, state);
            if (!last)
                goto out; /* *state is UNFINISHED or BROKEN */
            at = last;
            is_done = !depth;
            continue;
        case OPENS:
            start = start ? start : at;
            depth++;
            break;
        case CLOSES:
            if (depth) {
                is_done = !--depth;
                break;
            }
            if (*at != ']') {
                *state = BROKEN;
                goto out;
            }
            /* fall through */
        case COMMA:
            if (depth)
                break;
            if (!start && needs_commas == STRICT && (*at == ',' || count)) {
                *state = BROKEN; /* nothing stands before a comma, or behind the last one */
                goto out;
            }
            if (start) {
                if (count == room) {
                    *state = FULL;
                    return count;
                }
                starts[count] = start - bytes;
                ends[count++] = last - bytes;
            }
            start = NULL;
            is_done = 0;
            *at_ = at + 1 - bytes;
            if (*at == ']') {
                *state = CLOSED;
                return count;
            }
            break;
        case BLANK:
            is_done |= start && !depth;
            at++;
            continue;
        default:
            start = start ? start : at;
        }
        last = ++at;
    }
out:
    if (*state == BROKEN && count == room)
        *state = FULL; /* it is found again, with an entry for its byte */
    else if (*state == BROKEN)
        starts[count] = at - bytes;
    return count;
}

/* Where the first value in brackets ends, or -1 where it does not.

   Then *state says why: the bytes end in a string (IN_STRING) or outside of one (UNFINISHED), or a
   string does not end on its line (BROKEN). Eight bytes behind `size` can be read. */
int64_t find_value_end(const byte *bytes, int64_t from, int64_t size, int32_t *state)
{
    const byte *at = bytes + from, *end = bytes + size;
    int64_t depth = 0;
    while (at < end) {
        switch (MEANING[*at]) {
        case QUOTE:
            at = skip_string(at + 1, end, state);
            if (!at) {
                *state = *state == UNFINISHED ? IN_STRING : *state;
                return -1;
            }
            continue;
        case OPENS:
            depth++;
            break;
        case CLOSES:
            if (--depth <= 0)
                return at + 1 - bytes;
        }
        at++;
    }
    *state = UNFINISHED;
    return -1;
}

static int is_blank(byte value)
{
    return value == ' ' || value == '\t' || value == '\r';
}

/* Whether what ends in a brace may be several values: `}`, blanks or a comma, and `{`. */
static int may_be_several(const byte *at, const byte *end)
{
    while ((at = memchr(at, '}', (size_t)(end - at))) != NULL) {
        at++;
        while (at < end && (is_blank(*at) || *at == ','))
            at++;
        if (at < end && *at == '{')
            return 1;
    }
    return 0;
}

/* The spans of lines, and what stands on each.

   A comma behind a value, and the blanks around both, do not belong to it. Eight bytes behind `size`
   can be read. Returns how many lines there are, or -1 where they are more than there is room for.
   What begins and ends with a brace is taken for one object where nothing speaks against it; who
   reads it will see. */
int64_t find_lines(const byte *bytes, int64_t size, int64_t *starts, int64_t *ends, byte *kinds,
                   int64_t room)
{
    const byte *at = bytes, *behind = bytes + size;
    int64_t count = 0;
    while (at < behind) {
        const byte *start = at, *end = memchr(at, '\n', (size_t)(behind - at)), *first = at, *next;
        end = end ? end : behind;
        next = end + 1;
        while (first < end && is_blank(*first))
            first++;
        const byte *last = end;
        while (last > first && is_blank(last[-1]))
            last--;
        if (count == room)
            return -1;
        byte kind = first == last ? BLANK_LINE : IRREGULAR_LINE;
        if (kind == IRREGULAR_LINE && *first == '{' && last[-1] == '}' &&
            !may_be_several(first, last)) {
            kind = OBJECT_LINE;
        } else if (kind == IRREGULAR_LINE && (*first == '{' || *first == '[')) {
            int32_t state;
            int64_t value_end = find_value_end(bytes, first - bytes, last - bytes, &state);
            const byte *comma = last[-1] == ',' ? last - 1 : NULL;
            const byte *value = value_end < 0 ? NULL : bytes + value_end;
            while (value && value < last && is_blank(*value))
                value++;
            if (value && (value == last || value == comma)) {
                kind = *first == '{' ? OBJECT_LINE : ARRAY_LINE;
                if (comma || kind == ARRAY_LINE) {
                    start = first;
                    end = comma ? comma : last;
                    while (is_blank(end[-1]))
                        end--;
                }
            }
        }
        starts[count] = start - bytes;
        ends[count] = end - bytes;
        kinds[count++] = kind;
        at = next;
    }
    return count;
}
