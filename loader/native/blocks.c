/* A block of input before its lines are read: where they end, and which ids it is likely to have. */

#define _GNU_SOURCE /* memmem */
#include <stdint.h>
#include <string.h>

typedef uint8_t letter;

/* Where lines end, and whether each looks like a record: `{` to `}` in at most so many letters.

   Returns how many lines there are, or -1 where they are more than there is room for. */
int64_t find_lines(const letter *block, int64_t size, int64_t most_letters, int64_t *ends,
                   letter *are_whole, int64_t room)
{
    const letter *start = block, *behind = block + size;
    int64_t count = 0;
    while (start < behind) {
        const letter *end = memchr(start, '\n', (size_t)(behind - start));
        if (!end)
            end = behind;
        if (count == room)
            return -1;
        int64_t letters = end - start;
        const letter *last = end - 1 - (letters > 1 && end[-1] == '\r');
        ends[count] = end - block;
        are_whole[count] = letters > 1 && letters <= most_letters && *start == '{' && *last == '}';
        count++;
        start = end + 1;
    }
    return count;
}

static const letter *skip_blanks(const letter *at, const letter *behind)
{
    while (at < behind && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Behind `sign`, and the blanks around it; NULL where something else stands there. */
static const letter *skip_sign(const letter *at, const letter *behind, letter sign)
{
    at = skip_blanks(at, behind);
    return at < behind && *at == sign ? skip_blanks(at + 1, behind) : NULL;
}

/* Write the strings that stand behind a key to `out`, each with a line feed behind it; not those
   with an escape, or with more than so many letters. `out` has room for as many as the block has.
   Returns how many were written. */
int64_t find_ids(const letter *block, int64_t size, const letter *key, int64_t key_size,
                 int64_t most_letters, letter *out)
{
    const letter *at = block, *behind = block + size;
    letter *to = out;
    while ((at = memmem(at, (size_t)(behind - at), key, (size_t)key_size))) {
        at += key_size;
        const letter *colon = skip_sign(at, behind, ':');
        if (!colon || colon == behind || *colon != '"')
            continue;
        const letter *start = at = colon + 1;
        while (at < behind && at - start < most_letters && *at >= ' ' && *at != '"' && *at != '\\')
            at++;
        if (at == start || at == behind || *at != '"')
            continue;
        memcpy(to, start, (size_t)(at - start));
        to += at - start;
        *to++ = '\n';
    }
    return to - out;
}
