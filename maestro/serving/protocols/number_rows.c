/* Rows of numbers in JSON (RFC 8259), read into doubles. Every number becomes the double nearest to it, as in a general parser; whatever is not an array of
   numbers, or of equally long arrays of them, is left to one.

   At most 19 digits make a whole number of 64 bits. Its product with the first 64 bits of a power of ten tells the nearest double, unless it lies within
   the product's error of the middle between two (after Lemire, Number parsing at a gigabyte per second, 2021); then, and for what is longer, strtod decides. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST 27
#define LONGEST 1024

/* The first 64 bits of 10^-27 to 10^27; those of 10^0 to 10^27 are exact. */
static const uint64_t TENS[2 * MOST + 1] = {
    0x9E74D1B791E07E48, 0xC612062576589DDA, 0xF79687AED3EEC551, 0x9ABE14CD44753B52, 0xC16D9A0095928A27,
    0xF1C90080BAF72CB1, 0x971DA05074DA7BEE, 0xBCE5086492111AEA, 0xEC1E4A7DB69561A5, 0x9392EE8E921D5D07,
    0xB877AA3236A4B449, 0xE69594BEC44DE15B, 0x901D7CF73AB0ACD9, 0xB424DC35095CD80F, 0xE12E13424BB40E13,
    0x8CBCCC096F5088CB, 0xAFEBFF0BCB24AAFE, 0xDBE6FECEBDEDD5BE, 0x89705F4136B4A597, 0xABCC77118461CEFC,
    0xD6BF94D5E57A42BC, 0x8637BD05AF6C69B5, 0xA7C5AC471B478423, 0xD1B71758E219652B, 0x83126E978D4FDF3B,
    0xA3D70A3D70A3D70A, 0xCCCCCCCCCCCCCCCC, 0x8000000000000000, 0xA000000000000000, 0xC800000000000000,
    0xFA00000000000000, 0x9C40000000000000, 0xC350000000000000, 0xF424000000000000, 0x9896800000000000,
    0xBEBC200000000000, 0xEE6B280000000000, 0x9502F90000000000, 0xBA43B74000000000, 0xE8D4A51000000000,
    0x9184E72A00000000, 0xB5E620F480000000, 0xE35FA931A0000000, 0x8E1BC9BF04000000, 0xB1A2BC2EC5000000,
    0xDE0B6B3A76400000, 0x8AC7230489E80000, 0xAD78EBC5AC620000, 0xD8D726B7177A8000, 0x878678326EAC9000,
    0xA968163F0A57B400, 0xD3C21BCECCEDA100, 0x84595161401484A0, 0xA56FA5B99019A5C8, 0xCECB8F27F4200F3A};

static inline int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

/* Eight characters at once, the first in the lowest byte. */
static inline int are_digits(uint64_t eight) {
    return ((eight & 0xF0F0F0F0F0F0F0F0u) | (((eight + 0x0606060606060606u) & 0xF0F0F0F0F0F0F0F0u) >> 4)) == 0x3333333333333333u;
}

static inline uint64_t digits_of(uint64_t eight) {
    eight -= 0x3030303030303030u;
    eight = eight * 10 + (eight >> 8);
    return (((eight & 0x000000FF000000FFu) * 0x000F424000000064u) + (((eight >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u)) >> 32;
}

static inline const char *skip(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

static int slowly(const char *from, const char *to, double *value) {
    char copy[LONGEST];
    if (to - from >= LONGEST) return 0;
    memcpy(copy, from, (size_t)(to - from));
    copy[to - from] = 0;
    *value = strtod(copy, NULL);
    return isfinite(*value);
}

/* After the number, or NULL when there is none, or none that a double holds. */
static inline const char *number(const char *at, const char *end, double *value) {
    const char *from = at;
    const int negative = at < end && *at == '-';
    at += negative;
    if (at == end || !is_digit(*at)) return NULL;
    uint64_t digits = 0;
    int64_t exponent = 0;
    const char *first = at;
    while (at < end && is_digit(*at)) digits = digits * 10 + (uint64_t)(*at++ - '0');
    if (*first == '0' && at - first > 1) return NULL;
    int64_t count = at - first;
    if (*first == '0') count = 0;
    if (at < end && *at == '.') {
        const char *point = ++at;
        if (digits == 0) while (at < end && *at == '0') at++;
        first = at;
        if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
            for (uint64_t eight; end - at >= 8; at += 8) {
                memcpy(&eight, at, 8);
                if (!are_digits(eight)) break;
                digits = digits * 100000000 + digits_of(eight);
            }
        while (at < end && is_digit(*at)) digits = digits * 10 + (uint64_t)(*at++ - '0');
        if (at == point) return NULL;
        exponent = point - at;
        count += at - first;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        const int below = at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        const char *power = at;
        int64_t sent = 0;
        while (at < end && is_digit(*at)) {
            if (sent < 100000) sent = sent * 10 + (*at - '0');
            at++;
        }
        if (at == power) return NULL;
        exponent += below ? -sent : sent;
    }
    if (at == end) return NULL; /* a number ends where something else begins */
    if (count > 19 || exponent < -MOST || exponent > MOST) return slowly(from, at, value) ? at : NULL;
    if (digits == 0) {
        *value = negative ? -0.0 : 0.0;
        return at;
    }
    const int left = __builtin_clzll(digits);
    const unsigned __int128 product = (unsigned __int128)(digits << left) * TENS[exponent + MOST];
    uint64_t high = (uint64_t)(product >> 64);
    /* 10^exponent is TENS * 2^(floor(exponent * log2(10)) - 63), and so the value about high * 2^scale */
    int64_t scale = ((exponent * 217706) >> 16) - 63 - left + 64;
    if (!(high >> 63)) {
        high = high << 1 | (uint64_t)(product >> 63 & 1);
        scale--;
    }
    const uint64_t rest = high & 0x7FF;
    if (rest >= 0x3FE && rest <= 0x400) return slowly(from, at, value) ? at : NULL;
    /* the nearest of 53 bits; a carry out of them goes into the exponent, as it should */
    const uint64_t bits = ((uint64_t)(scale + 63 + 1022) << 52) + (high >> 11) + (rest >> 10) + ((uint64_t)negative << 63);
    memcpy(value, &bits, sizeof bits);
    return at;
}

/* The numbers of one array whose bracket is before `at`, up to its closing bracket; NULL when it holds anything else, or nothing. */
static inline const char *line(const char *at, const char *end, double *values, int64_t capacity, int64_t *count) {
    at = skip(at, end);
    while (*count < capacity) {
        at = number(at, end, values + *count);
        if (at == NULL) return NULL;
        ++*count;
        at = skip(at, end);
        if (at == end) return NULL;
        if (*at == ']') return at + 1;
        if (*at++ != ',') return NULL;
        at = skip(at, end);
    }
    return NULL;
}

/* Rows that were read, from the bracket at `text`, or 0 when it holds numbers themselves; -1 when a general parser has to look.
   `width` is of a row, `used` the bytes up to the closing bracket, `capacity` how many values there is room for. */
int64_t rows_read(const char *text, int64_t size, double *values, int64_t capacity, int64_t *width, int64_t *used) {
    const char *at = text, *end = text + size;
    int64_t rows = 0, count = 0;
    if (at == end || *at++ != '[') return -1;
    at = skip(at, end);
    if (at < end && *at != '[') {
        at = line(at, end, values, capacity, width);
        if (at == NULL) return -1;
        *used = at - text;
        return 0;
    }
    while (at < end && *at == '[') {
        const int64_t before = count;
        at = line(at + 1, end, values, capacity, &count);
        if (at == NULL || (rows && count - before != *width)) return -1;
        *width = count - before;
        rows++;
        at = skip(at, end);
        if (at == end) return -1;
        if (*at == ']') {
            *used = at + 1 - text;
            return rows;
        }
        if (*at++ != ',') return -1;
        at = skip(at, end);
    }
    return -1;
}
