/* Lines -> tokens: every value of a block of JSON lines with its path, line and place.

   A line that is not what it should be is odd: it leaves no token, and others decide about it. So
   does a line with something rare. What is read is hostile: nothing behind the end of a line is
   used, and no array is written without a look at its room. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the first of eight letters has to be in the lowest byte"
#endif
#if UINTPTR_MAX < UINT64_MAX
#error "numpy's places have to be of 64 bits"
#endif

/* As in __init__.py; to be counted up with whatever callers have to know. */
int32_t library_version(void)
{
    return 2;
}

/* The same numbers stand in tokens.py. */
enum { STRING = 1, TRUE, FALSE, INTEGER, DECIMAL, OTHER, NOTHING, EMPTY, OPEN, TIME };
enum {
    MOST_PATHS = 1000, /* senders with more are few, or hostile */
    MOST_KEY_BYTES = 1 << 18,
    MOST_DEPTH = 20,
    MOST_BRACKETS = 100, /* in a list: Python may find the whole record too deep */
    /* Of a number, before its point and behind it: as many as rows.c has groups for. */
    MOST_DIGITS = 16,
    MOST_PLACES = 8,
    SLOTS = 4096, /* a power of two */
};

typedef uint8_t letter;

/* The paths that were met so far. Path 0 is the record itself. */
struct paths {
    int64_t lines; /* that were read */
    int32_t count;
    int32_t key_bytes;
    int32_t parent[MOST_PATHS];
    int32_t key_start[MOST_PATHS]; /* in `keys` */
    int32_t key_size[MOST_PATHS];
    int32_t next[MOST_PATHS];    /* the one that came behind it in the last line */
    int32_t in_slot[MOST_PATHS]; /* the next one in its slot, or 0 */
    int32_t slots[SLOTS];
    int64_t line[MOST_PATHS]; /* the last line that had it */
    letter is_time[MOST_PATHS]; /* whether its strings may be times */
    letter keys[MOST_KEY_BYTES];
};

/* Arrays with an entry for each value, in their order; `Tokens` in tokens.py tells of them. */
struct tokens {
    int64_t *line, *path, *start, *end, *number, *behind, *places;
    letter *kind;
    int64_t count, room;
};

struct reader {
    letter *letters; /* of the block, with a word of others behind it */
    letter *at, *end; /* of the line */
    struct paths *paths;
    struct tokens *tokens;
};

struct text {
    letter *start, *end;
};

/* paths */

static uint32_t slot_of(int32_t parent, const letter *key, int64_t size)
{
    uint64_t hash = 0x9E3779B97F4A7C15u ^ (uint64_t)parent;
    for (int64_t at = 0; at < size; at++)
        hash = (hash ^ key[at]) * 0x100000001B3u;
    return (uint32_t)(hash >> 32) & (SLOTS - 1);
}

static int is_path(const struct paths *paths, int32_t path, int32_t parent, const letter *key,
                   int64_t size)
{
    return path < paths->count && paths->parent[path] == parent &&
           paths->key_size[path] == size &&
           memcmp(paths->keys + paths->key_start[path], key, (size_t)size) == 0;
}

/* No paths but that of the record, or NULL where there is no memory for them. */
struct paths *new_paths(void)
{
    struct paths *paths = calloc(1, sizeof *paths);
    if (paths) {
        paths->count = 1;
        paths->parent[0] = -1; /* it is the next one of no other */
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

/* Say where the last key of a path stands; returns the path above it. */
int32_t get_path(const struct paths *paths, int32_t path, const letter **key, int64_t *size)
{
    *key = paths->keys + paths->key_start[path];
    *size = paths->key_size[path];
    return paths->parent[path];
}

/* The number of a path, made where it is new; 0 where there is no room for it. */
int32_t find_path(struct paths *paths, int32_t parent, const letter *key, int64_t size)
{
    uint32_t slot = slot_of(parent, key, size);
    for (int32_t path = paths->slots[slot]; path; path = paths->in_slot[path])
        if (is_path(paths, path, parent, key, size))
            return path;
    if (paths->count >= MOST_PATHS || size > MOST_KEY_BYTES - paths->key_bytes)
        return 0;
    int32_t path = paths->count++;
    paths->parent[path] = parent;
    paths->key_start[path] = paths->key_bytes;
    paths->key_size[path] = (int32_t)size;
    memcpy(paths->keys + paths->key_bytes, key, (size_t)size);
    paths->key_bytes += (int32_t)size;
    paths->next[path] = 0;
    paths->line[path] = 0;
    paths->is_time[path] = 0;
    paths->in_slot[path] = paths->slots[slot];
    paths->slots[slot] = path;
    return path;
}

/* From here on, strings at a path that are usual times become such. */
void expect_times(struct paths *paths, int32_t path)
{
    paths->is_time[path] = 1;
}

/* Forget the paths from `count` on: those of a line that turned out to be odd. */
static void forget_paths(struct paths *paths, int32_t count)
{
    while (paths->count > count) {
        int32_t path = --paths->count;
        const letter *key = paths->keys + paths->key_start[path];
        uint32_t slot = slot_of(paths->parent[path], key, paths->key_size[path]);
        paths->slots[slot] = paths->in_slot[path];
        paths->key_bytes = paths->key_start[path];
    }
}

/* strings */

static const uint64_t ONES = 0x0101010101010101u, HIGHS = 0x8080808080808080u;

/* How many of the next eight letters stand for themselves in a string of JSON. */
static int plain_letters(const letter *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t quote = word ^ ONES * '"', backslash = word ^ ONES * '\\';
    uint64_t found = ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) |
                     ((word - ONES * 0x20) & ~word) | word;
    found &= HIGHS;
    return found ? __builtin_ctzll(found) >> 3 : 8;
}

/* How many letters the UTF-8 of one sign above U+007F takes; 0 where it is none. */
static int utf8_size(const letter *at, const letter *end)
{
    int size = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    if (!size || end - at < size)
        return 0;
    for (int i = 1; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] >= 0xA0) ||
        (at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] >= 0x90))
        return 0; /* too long for its sign, a surrogate, or behind the last sign */
    return size;
}

/* Four hexadecimal digits, or -1. */
static int32_t hexadecimal(const letter *at, const letter *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = at[i] >= '0' && at[i] <= '9'   ? at[i] - '0'
                    : at[i] >= 'a' && at[i] <= 'f' ? at[i] - 'a' + 10
                    : at[i] >= 'A' && at[i] <= 'F' ? at[i] - 'A' + 10
                                                   : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Write what an escape at `*from` means to `*to`, which is never behind it. */
static int unescape(letter **from, letter **to, const letter *end)
{
    static const letter short_ones[256] = {
        ['"'] = '"',   ['\\'] = '\\', ['/'] = '/',   ['b'] = '\b',
        ['f'] = '\f',  ['n'] = '\n',  ['r'] = '\r',  ['t'] = '\t',
    };
    letter *at = *from + 1, *out = *to;
    if (at == end)
        return 0;
    if (short_ones[*at]) {
        *out++ = short_ones[*at++];
    } else if (*at == 'u') {
        int32_t sign = hexadecimal(at + 1, end);
        at += 5;
        if (sign >= 0xD800 && sign < 0xDC00) {
            int32_t low = end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? hexadecimal(at + 2, end) : -1;
            if (low < 0xDC00 || low > 0xDFFF)
                return 0;
            sign = 0x10000 + ((sign - 0xD800) << 10) + (low - 0xDC00);
            at += 6;
        }
        if (sign <= 0 || (sign >= 0xDC00 && sign <= 0xDFFF))
            return 0; /* PostgreSQL can store neither a zero nor half a sign */
        if (sign < 0x80) {
            *out++ = (letter)sign;
        } else if (sign < 0x800) {
            *out++ = (letter)(0xC0 | sign >> 6);
            *out++ = (letter)(0x80 | (sign & 0x3F));
        } else if (sign < 0x10000) {
            *out++ = (letter)(0xE0 | sign >> 12);
            *out++ = (letter)(0x80 | (sign >> 6 & 0x3F));
            *out++ = (letter)(0x80 | (sign & 0x3F));
        } else {
            *out++ = (letter)(0xF0 | sign >> 18);
            *out++ = (letter)(0x80 | (sign >> 12 & 0x3F));
            *out++ = (letter)(0x80 | (sign >> 6 & 0x3F));
            *out++ = (letter)(0x80 | (sign & 0x3F));
        }
    } else {
        return 0;
    }
    *from = at;
    *to = out;
    return 1;
}

/* Read a string; its escapes are replaced where they stand. */
static int read_string(struct reader *reader, struct text *text)
{
    letter *at = reader->at, *end = reader->end, *to;
    if (at >= end || *at != '"')
        return 0;
    text->start = to = ++at;
    while (at < end) {
        int size = plain_letters(at);
        if (size == 0 && *at >= 0x80 && !(size = utf8_size(at, end)))
            return 0;
        if (size > end - at)
            return 0;
        if (size) {
            if (to != at)
                memmove(to, at, (size_t)size);
            at += size;
            to += size;
        } else if (*at == '"') {
            text->end = to;
            reader->at = at + 1;
            return 1;
        } else if (*at != '\\' || !unescape(&at, &to, end)) {
            return 0;
        }
    }
    return 0;
}

/* times */

static int two_digits(const letter *at)
{
    return (at[0] - '0') * 10 + at[1] - '0';
}

/* Days since 1 March of the year 0, in the Gregorian calendar: years begin in March here. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t years = year - (month <= 2), centuries = years / 100;
    int64_t in_year = (153 * (month + 9 - 12 * (month > 2)) + 2) / 5 + day - 1;
    return 365 * years + years / 4 - centuries + centuries / 4 + in_year;
}

/* Read a time as most senders write it, in microseconds since 2000; 0 for any other text. */
static int read_usual_time(const struct text *text, int64_t *microseconds)
{
    static const char usual[] = "0000-00-00T00:00:00.000Z";
    static const int days_in[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const letter *at = text->start;
    if (text->end - at != (int64_t)sizeof usual - 1)
        return 0;
    for (int i = 0; usual[i]; i++)
        if (usual[i] == '0' ? at[i] < '0' || at[i] > '9' : at[i] != (letter)usual[i])
            return 0;
    int year = two_digits(at) * 100 + two_digits(at + 2), month = two_digits(at + 5);
    int day = two_digits(at + 8), hour = two_digits(at + 11), minute = two_digits(at + 14);
    int second = two_digits(at + 17), milli = (at[20] - '0') * 100 + two_digits(at + 21);
    if (year < 1 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59)
        return 0;
    int is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > days_in[month] + (is_leap && month == 2))
        return 0;
    int64_t days = days_of(year, month, day) - days_of(2000, 1, 1);
    int64_t seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    *microseconds = (seconds * 1000 + milli) * 1000;
    return 1;
}

/* values */

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r'))
        reader->at++;
}

/* The next letter that is no blank; 0 at the end of the line. */
static letter next_sign(struct reader *reader)
{
    skip_blanks(reader);
    return reader->at < reader->end ? *reader->at : 0;
}

static int is_digit(const struct reader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

/* Read digits into `*value` as long as it has room; returns how many. */
static int64_t read_digits(struct reader *reader, int64_t *value)
{
    letter *start = reader->at;
    for (*value = 0; is_digit(reader); reader->at++)
        if (reader->at - start < MOST_DIGITS)
            *value = *value * 10 + (*reader->at - '0');
    return reader->at - start;
}

/* Read a number; the kind of those that Python has to look at is OTHER. */
static int read_number(struct reader *reader, struct tokens *tokens)
{
    int64_t token = tokens->count, places = 0;
    tokens->behind[token] = 0;
    int is_usual = *reader->at != '-', has_point = 0;
    reader->at += !is_usual;
    letter *first = reader->at;
    int64_t digits = read_digits(reader, &tokens->number[token]);
    if (!digits || (digits > 1 && *first == '0'))
        return 0;
    if (reader->at < reader->end && *reader->at == '.') {
        has_point = 1;
        reader->at++;
        places = read_digits(reader, &tokens->behind[token]);
        if (!places)
            return 0;
    }
    if (reader->at < reader->end && (*reader->at | 0x20) == 'e') {
        int64_t exponent;
        is_usual = 0;
        reader->at++;
        if (reader->at < reader->end && (*reader->at == '-' || *reader->at == '+'))
            reader->at++;
        if (!read_digits(reader, &exponent))
            return 0;
    }
    is_usual &= digits <= MOST_DIGITS && places <= MOST_PLACES;
    tokens->places[token] = places;
    tokens->kind[token] = !is_usual ? OTHER : has_point ? DECIMAL : INTEGER;
    return 1;
}

/* Read `text`, which is a value of some kind. */
static int read_literal(struct reader *reader, struct tokens *tokens, const char *text, letter kind)
{
    int64_t size = (int64_t)strlen(text);
    if (reader->end - reader->at < size || memcmp(reader->at, text, (size_t)size) != 0)
        return 0;
    reader->at += size;
    tokens->kind[tokens->count] = kind;
    return 1;
}

/* Step over a list. Whether what is in it is JSON, Python finds out. */
static int skip_list(struct reader *reader)
{
    int64_t depth = 0; /* of all brackets: where they do not match, Python finds it out */
    while (reader->at < reader->end) {
        letter sign = *reader->at;
        if (sign == '"') {
            letter *at = reader->at + 1;
            while (at < reader->end && *at != '"')
                at += 1 + (*at == '\\');
            if (at >= reader->end)
                return 0;
            reader->at = at;
        }
        reader->at++;
        depth += (sign == '[' || sign == '{') - (sign == ']' || sign == '}');
        if (!depth)
            return 1;
        if (depth > MOST_BRACKETS)
            return 0;
    }
    return 0;
}

/* Read a value that is no object into the next token. */
static int read_value(struct reader *reader, struct tokens *tokens)
{
    int64_t token = tokens->count;
    letter *start = reader->at;
    struct text text;
    int is_value;
    switch (*start) {
    case '"':
        tokens->kind[token] = STRING;
        if (!read_string(reader, &text))
            return 0;
        tokens->start[token] = text.start - reader->letters;
        tokens->end[token] = text.end - reader->letters;
        if (reader->paths->is_time[tokens->path[token]] &&
            read_usual_time(&text, &tokens->number[token]))
            tokens->kind[token] = TIME;
        return 1;
    case 't':
        is_value = read_literal(reader, tokens, "true", TRUE);
        break;
    case 'f':
        is_value = read_literal(reader, tokens, "false", FALSE);
        break;
    case 'n':
        is_value = read_literal(reader, tokens, "null", NOTHING);
        break;
    case '[':
        tokens->kind[token] = OTHER;
        is_value = skip_list(reader);
        break;
    default:
        is_value = (*start == '-' || is_digit(reader)) && read_number(reader, tokens);
    }
    tokens->start[token] = start - reader->letters;
    tokens->end[token] = reader->at - reader->letters;
    return is_value;
}

/* lines */

/* Read the path of the next key into the next token, and go on to its value. */
static int read_key(struct reader *reader, int64_t line, int32_t parent, int32_t *path)
{
    struct paths *paths = reader->paths;
    struct text key;
    if (next_sign(reader) != '"' || !read_string(reader, &key))
        return 0;
    if (next_sign(reader) != ':')
        return 0;
    reader->at++;
    /* Most lines have their keys in the order of the line before. */
    int32_t found = paths->next[*path];
    if (!is_path(paths, found, parent, key.start, key.end - key.start)) {
        found = find_path(paths, parent, key.start, key.end - key.start);
        paths->next[*path] = found;
    }
    if (!found || paths->line[found] == paths->lines)
        return 0; /* or the key stands twice in its object */
    paths->line[found] = paths->lines;
    reader->tokens->line[reader->tokens->count] = line;
    reader->tokens->path[reader->tokens->count] = found;
    *path = found;
    return 1;
}

/* Read one line; 0 where it is odd, and -1 where there is no room for its tokens. */
static int read_line(struct reader *reader, int64_t line)
{
    struct tokens *tokens = reader->tokens;
    int32_t parents[MOST_DEPTH + 1] = {0}, path = 0;
    int depth = 0;
    if (next_sign(reader) != '{')
        return 0;
    reader->at++;
    for (;;) {
        if (tokens->count == tokens->room)
            return -1;
        if (!read_key(reader, line, parents[depth], &path))
            return 0;
        letter sign = next_sign(reader);
        if (sign == '{') {
            reader->at++;
            int is_empty = next_sign(reader) == '}';
            tokens->kind[tokens->count] = is_empty ? EMPTY : OPEN;
            tokens->start[tokens->count] = tokens->end[tokens->count] = 0;
            tokens->count++;
            if (!is_empty) {
                if (++depth > MOST_DEPTH)
                    return 0;
                parents[depth] = path;
                continue;
            }
            reader->at++;
        } else {
            if (!sign || !read_value(reader, tokens))
                return 0;
            tokens->count++;
        }
        while ((sign = next_sign(reader)) == '}') {
            reader->at++;
            if (!depth--)
                return next_sign(reader) == 0 && reader->at == reader->end;
        }
        if (sign != ',')
            return 0;
        reader->at++;
    }
}

/* Read the lines of a block that are not `odd`, and say which others are.

   Eight letters more can be read behind the block. `ends` says where its lines end. Each of the
   seven arrays in `values`, and `kind`, has room for `room` tokens. Returns how many there are, or
   -1 where they are more. */
int64_t read_lines(struct paths *paths, letter *letters, const int64_t *ends, int64_t lines,
                   letter *odd, int64_t *values, letter *kind, int64_t room)
{
    struct tokens tokens = {
        .line = values,
        .path = values + room,
        .start = values + 2 * room,
        .end = values + 3 * room,
        .number = values + 4 * room,
        .behind = values + 5 * room,
        .places = values + 6 * room,
        .kind = kind,
        .room = room,
    };
    struct reader reader = {.letters = letters, .paths = paths, .tokens = &tokens};
    letter *start = letters;
    for (int64_t line = 0; line < lines; line++) {
        int64_t tokens_before = tokens.count;
        int32_t paths_before = paths->count;
        reader.at = start;
        reader.end = letters + ends[line];
        start = reader.end + 1;
        if (odd[line])
            continue;
        paths->lines++;
        int read = read_line(&reader, line);
        if (read < 0) {
            forget_paths(paths, paths_before);
            return -1;
        }
        if (!read) {
            odd[line] = 1;
            tokens.count = tokens_before;
            forget_paths(paths, paths_before);
        }
    }
    return tokens.count;
}
