/* JSON strings: where they end, whether they are valid, and their text. */

#ifndef TEXT_H
#define TEXT_H

#include <stdint.h>
#include <string.h>

typedef uint8_t byte;

static const uint64_t ONES = 0x0101010101010101u, HIGHS = 0x8080808080808080u;

/* How many of the next eight bytes stand for themselves in a JSON string: not a quote, backslash,
   control character or part of a code point above U+007F. */
static inline int plain_bytes(const byte *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t quote = word ^ ONES * '"', backslash = word ^ ONES * '\\';
    uint64_t found = ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) |
                     ((word - ONES * 0x20) & ~word) | word;
    found &= HIGHS;
    return found ? __builtin_ctzll(found) >> 3 : 8;
}

/* The size in bytes of one code point above U+007F; 0 where the bytes are not UTF-8. */
static inline int utf8_size(const byte *at, const byte *end)
{
    int size = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    if (!size || end - at < size)
        return 0;
    for (int i = 1; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] >= 0xA0) ||
        (at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] >= 0x90))
        return 0; /* overlong, a surrogate, or beyond U+10FFFF */
    return size;
}

/* Four hexadecimal digits, or -1. */
static inline int32_t hexadecimal(const byte *at, const byte *end)
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

/* Read the escape at `at`, which is a backslash, into `out` (up to four bytes; `*size` says how
   many). Returns where the text goes on; NULL for what is not JSON, and for U+0000 and lone
   surrogates, which PostgreSQL cannot store. */
static inline byte *read_escape(byte *at, const byte *end, byte *out, int *size)
{
    static const byte short_ones[256] = {
        ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
        ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
    };
    if (++at >= end)
        return NULL;
    if (short_ones[*at]) {
        *out = short_ones[*at];
        *size = 1;
        return at + 1;
    }
    if (*at != 'u')
        return NULL;
    int32_t code = hexadecimal(at + 1, end);
    at += 5;
    if (code >= 0xD800 && code < 0xDC00) {
        int32_t low = end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? hexadecimal(at + 2, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    }
    if (code <= 0 || (code >= 0xDC00 && code <= 0xDFFF))
        return NULL;
    byte *to = out;
    if (code < 0x80) {
        *to++ = (byte)code;
    } else if (code < 0x800) {
        *to++ = (byte)(0xC0 | code >> 6);
        *to++ = (byte)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (byte)(0xE0 | code >> 12);
        *to++ = (byte)(0x80 | (code >> 6 & 0x3F));
        *to++ = (byte)(0x80 | (code & 0x3F));
    } else {
        *to++ = (byte)(0xF0 | code >> 18);
        *to++ = (byte)(0x80 | (code >> 12 & 0x3F));
        *to++ = (byte)(0x80 | (code >> 6 & 0x3F));
        *to++ = (byte)(0x80 | (code & 0x3F));
    }
    *size = (int)(to - out);
    return at;
}

#endif
