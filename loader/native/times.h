/* Times: RFC 3339 and its usual relatives, and epoch numbers written as strings. */

#ifndef TIMES_H
#define TIMES_H

#include "text.h"

static const int64_t EPOCH_2000 = 946684800; /* seconds from 1970 to 2000 */

static inline int number_at(const byte **at, const byte *end, int digits, int most)
{
    int value = 0;
    if (end - *at < digits)
        return -1;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value <= most ? value : -1;
}

static inline int skip(const byte **at, const byte *end, byte wanted)
{
    int is_there = *at < end && **at == wanted;
    *at += is_there;
    return is_there;
}

/* Days since 1 March of the year 0, in the Gregorian calendar: years begin in March here. */
static inline int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t years = year - (month <= 2), centuries = years / 100;
    int64_t in_year = (153 * (month + 9 - 12 * (month > 2)) + 2) / 5 + day - 1;
    return 365 * years + years / 4 - centuries + centuries / 4 + in_year;
}

/* Seconds from UTC of a zone: `Z`, `+02:00`, `+0200`, `+02`, `UTC`, `GMT`, or nothing, which means
   UTC; with blanks before it. */
static inline int read_zone(const byte *at, const byte *end, int *seconds)
{
    const byte *start = at;
    *seconds = 0;
    while (at < end && *at == ' ')
        at++;
    if (end - at == 1 && (*at | 0x20) == 'z')
        return at == start || *at == 'z'; /* as Python has it */
    if (start == end || (end - at == 3 && (!memcmp(at, "UTC", 3) || !memcmp(at, "GMT", 3))))
        return 1;
    if (at == end)
        return 0;
    int sign = *at == '-' ? -1 : 1;
    if (*at != '-' && *at != '+')
        return 0;
    at++;
    int hours = number_at(&at, end, 2, 23), minutes = 0;
    if (hours >= 0 && at < end) {
        skip(&at, end, ':');
        minutes = number_at(&at, end, 2, 59);
    }
    *seconds = sign * (hours * 60 + minutes) * 60;
    return hours >= 0 && minutes >= 0 && at == end;
}

/* Read `YYYY-MM-DD`, with `THH:MM[:SS[.ffffff]][zone]` or without, in microseconds since 2000, and
   whether it is finer than that. Returns 0 for any other text, which `normalize.times` decides:
   rarer forms, and what is no time. */
static inline int read_iso_time(const byte *at, const byte *end, int64_t *microseconds,
                                int32_t *is_finer)
{
    static const int days_in[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int hour = 0, minute = 0, second = 0, micro = 0, finer = 0, zone = 0;
    int year = number_at(&at, end, 4, 9999);
    if (year < 1 || !skip(&at, end, '-'))
        return 0;
    int month = number_at(&at, end, 2, 12);
    if (month < 1 || !skip(&at, end, '-'))
        return 0;
    int is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int day = number_at(&at, end, 2, days_in[month] + (is_leap && month == 2));
    if (day < 1)
        return 0;
    if (at < end) {
        if ((*at | 0x20) != 't' && *at != ' ')
            return 0;
        at++;
        hour = number_at(&at, end, 2, 23);
        if (hour < 0 || !skip(&at, end, ':'))
            return 0;
        minute = number_at(&at, end, 2, 59);
        if (minute < 0)
            return 0;
        if (skip(&at, end, ':')) {
            second = number_at(&at, end, 2, 59);
            if (second < 0)
                return 0;
            if (skip(&at, end, '.') || skip(&at, end, ',')) {
                int unit = 100000, digits = 0;
                for (; at < end && *at >= '0' && *at <= '9'; at++, digits++, unit /= 10) {
                    micro += (*at - '0') * unit;
                    finer |= !unit && *at != '0';
                }
                if (!digits)
                    return 0;
            }
        }
        if (!read_zone(at, end, &zone))
            return 0;
    }
    int64_t days = days_of(year, month, day) - days_of(2000, 1, 1);
    int64_t seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - zone;
    *microseconds = seconds * 1000000 + micro;
    *is_finer = finer;
    /* A zone can push a time out of the years that Python and PostgreSQL agree on. */
    return (year > 1 && year < 9999) || !zone;
}

/* Epoch seconds, or milliseconds, as digits. Eight of them may be a day: 20260131. */
static inline int read_epoch_text(const byte *at, const byte *end, int64_t *microseconds,
                                  int32_t *is_finer)
{
    int64_t number = 0, size = end - at;
    if (size < 9 || size > 13)
        return 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        number = number * 10 + (*at - '0');
    }
    *microseconds = number * (number >= 100000000000 ? 1000 : 1000000) - EPOCH_2000 * 1000000;
    *is_finer = 0;
    return 1;
}

#endif
