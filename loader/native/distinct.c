/* Texts wherever they stand: which of them are the same, and all of them in a row. */

#include "text.h"

/* Number the texts of some tokens: equal texts get one number, in the order they first appear.

   `slots` has room for `slot_count` numbers, a power of two above twice the most distinct texts,
   and holds -1s. Returns how many distinct texts there are, and in `firsts` where each one was met
   first; -1 where they are more than half the slots. */
int64_t number_texts(const byte *bytes, const int32_t *starts, const int32_t *ends, int64_t count,
                     uint64_t seed, int64_t *slots, int64_t slot_count, int64_t *numbers,
                     int64_t *firsts)
{
    int64_t found = 0, last = -1;
    for (int64_t i = 0; i < count; i++) {
        const byte *text = bytes + starts[i];
        int64_t size = ends[i] - starts[i];
        if (last >= 0 && ends[last] - starts[last] == size &&
            !memcmp(bytes + starts[last], text, (size_t)size)) {
            numbers[i] = numbers[last]; /* runs of one text are frequent */
            continue;
        }
        last = i;
        uint64_t hash = seed;
        for (int64_t at = 0; at < size; at++)
            hash = (hash ^ text[at]) * 0x100000001B3u;
        int64_t slot = (int64_t)(hash >> 24) & (slot_count - 1);
        for (;; slot = (slot + 1) & (slot_count - 1)) {
            int64_t number = slots[slot];
            if (number < 0) {
                if (2 * found >= slot_count)
                    return -1;
                slots[slot] = number = found;
                firsts[found++] = i;
            } else {
                int64_t first = firsts[number];
                if (ends[first] - starts[first] != size ||
                    memcmp(bytes + starts[first], text, (size_t)size))
                    continue;
            }
            numbers[i] = number;
            break;
        }
    }
    return found;
}

/* Copy texts one behind the other, with a zero behind each. */
void gather_texts(const byte *bytes, const int32_t *starts, const int32_t *ends, int64_t count, byte *out)
{
    for (int64_t i = 0; i < count; i++) {
        size_t size = (size_t)(ends[i] - starts[i]);
        memcpy(out, bytes + starts[i], size);
        out[size] = 0;
        out += size + 1;
    }
}
