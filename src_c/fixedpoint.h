/* Private: rounding and saturation, defined once (docs/numerics.md). Negative numbers shift
 * arithmetically on every compiler this code is built with; elstm_model_open refuses to run where
 * they do not. */
#ifndef ELSTM_FIXEDPOINT_H
#define ELSTM_FIXEDPOINT_H

#include <stdint.h>

static inline int32_t elstm_sat16(int32_t v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

static inline int32_t elstm_clamp(int32_t v, int32_t limit) {
    return v < -limit ? -limit : v > limit ? limit : v;
}

/* (a * b) / 2^15, rounded half up; a and b within int16 and not both -32768. */
static inline int32_t elstm_mh(int32_t a, int32_t b) { return (a * b + 0x4000) >> 15; }

/* v / 2^n, rounded half up, 1 <= n <= 15. */
static inline int32_t elstm_rs(int32_t v, uint32_t n) { return (v + (1 << (n - 1))) >> n; }

/* v / 2^k rounded down, or v * 2^-k for k < 0; the product fits. */
static inline int32_t elstm_sh(int32_t v, int32_t k) { return k >= 0 ? v >> k : v * (1 << -k); }

/* An accumulator to int16: sat16(t + mh(t, m)) with t = sat16(sh(acc, s)). */
static inline int16_t elstm_requantize_one(int32_t acc, int32_t shift, int32_t multiplier) {
    const int32_t t = elstm_sat16(elstm_sh(acc, shift));
    return (int16_t)elstm_sat16(t + elstm_mh(t, multiplier));
}

/* v / n for n > 0, rounded: floor((v + floor(n / 2)) / n). */
static inline int32_t elstm_quotient(int32_t v, int32_t n) {
    const int32_t w = v + n / 2, q = w / n;
    return q - (w % n < 0);
}

static inline int64_t elstm_quotient_wide(int64_t v, int32_t n) {
    const int64_t w = v + n / 2, q = w / n;
    return q - (w % n < 0);
}

/* ---- TFLite's, of tfl8 ---- */

/* a * b / 2^31, rounded half up, b >= 0. */
static inline int32_t elstm_high(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* v / 2^e, ties away from zero, e <= 31. */
static inline int32_t elstm_divide(int32_t v, uint32_t e) {
    const int32_t mask = (int32_t)((1u << e) - 1);
    return (v >> e) + ((v & mask) > (mask >> 1) + (v < 0));
}

/* A factor m * 2^(s - 31): 2^30 <= m, or 0 and 0; -31 <= s <= 15. */
typedef struct {
    int32_t m, s;
} elstm_factor;

/* v times it, as 32 bits hold v on the way; less than 2^31 in size. */
static inline int32_t elstm_times(int32_t v, elstm_factor f) {
    const int32_t left = (int32_t)((uint32_t)v << (f.s > 0 ? f.s : 0));
    return elstm_divide(elstm_high(left, f.m), (uint32_t)(f.s < 0 ? -f.s : 0));
}

/* The same with one rounding, half up; what is beyond 2^16 is so much. */
static inline int32_t elstm_times_once(int32_t v, elstm_factor f) {
    const int64_t y = ((int64_t)v * f.m + ((int64_t)1 << (30 - f.s))) >> (31 - f.s);
    return y < -65536 ? -65536 : y > 65536 ? 65536 : (int32_t)y;
}

static inline int32_t elstm_held(int64_t v) {
    return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

/* v / 2^e to nearest, ties to even, e <= 62. */
static inline int64_t elstm_even(int64_t v, uint32_t e) {
    if (e == 0) return v;
    return (v + (((int64_t)1 << (e - 1)) - 1) + ((v >> e) & 1)) >> e;
}

/* v of less than 2^56 in size with the 24 bits that a float32 holds. */
static inline int64_t elstm_as_float(int64_t v) {
    uint64_t size = (uint64_t)(v < 0 ? -v : v) >> 24;
    uint32_t drop = 0;
    for (uint32_t k = 16; k > 0; k >>= 1) {
        if (size >> k == 0) continue;
        size >>= k;
        drop += k;
    }
    drop += size != 0;
    return elstm_even(v, drop) * ((int64_t)1 << drop);
}

/* v times it as float32 has it, rounded to nearest, ties to even; of its m the 24 upper bits count.
 * What is beyond 2^16 is so much. */
static inline int32_t elstm_times_float(int32_t v, elstm_factor f) {
    const int64_t product = elstm_as_float(elstm_as_float(v) * (f.m >> 7));
    const int64_t y = elstm_even(product, (uint32_t)(24 - f.s));
    return y < -65536 ? -65536 : y > 65536 ? 65536 : (int32_t)y;
}

#endif
