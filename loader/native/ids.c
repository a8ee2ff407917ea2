/* Which ids a block of input is likely to have, before it is read. */

#define _GNU_SOURCE /* memmem */
#include "text.h"

static const byte *skip_blanks(const byte *at, const byte *behind)
{
    while (at < behind && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Behind `wanted`, and the blanks around it; NULL where something else stands there. */
static const byte *skip_byte(const byte *at, const byte *behind, byte wanted)
{
    at = skip_blanks(at, behind);
    return at < behind && *at == wanted ? skip_blanks(at + 1, behind) : NULL;
}

/* Write the strings that stand behind a key to `out`, each with a line feed behind it; not those
   with an escape, or with more than so many bytes. `out` has room for as many as the block has.
   Returns how many were written. */
int64_t find_ids(const byte *block, int64_t size, const byte *key, int64_t key_size,
                 int64_t most_bytes, byte *out)
{
    const byte *at = block, *behind = block + size;
    byte *to = out;
    while ((at = memmem(at, (size_t)(behind - at), key, (size_t)key_size))) {
        at += key_size;
        const byte *colon = skip_byte(at, behind, ':');
        if (!colon || colon == behind || *colon != '"')
            continue;
        const byte *start = at = colon + 1;
        while (at < behind && at - start < most_bytes && *at >= ' ' && *at != '"' && *at != '\\')
            at++;
        if (at == start || at == behind || *at != '"')
            continue;
        memcpy(to, start, (size_t)(at - start));
        to += at - start;
        *to++ = '\n';
    }
    return to - out;
}
