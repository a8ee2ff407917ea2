#ifndef SPANS_H
#define SPANS_H

#include "text.h"

/* How a search for the elements of an array ended, and what stands on a line; the same numbers stand
   in `sources/records.py` and `sources/lines.py`. */
enum { CLOSED = 0, UNFINISHED, FULL, BROKEN, IN_STRING };
enum { STRICT = 2 };
enum { BLANK_LINE = 0, OBJECT_LINE, ARRAY_LINE, IRREGULAR_LINE };

int64_t find_elements(const byte *bytes, int64_t from, int64_t size, int32_t needs_commas,
                      int64_t *starts, int64_t *ends, int64_t room, int64_t *at_, int32_t *state);

int64_t find_value_end(const byte *bytes, int64_t from, int64_t size, int32_t *state);

#endif
