/* Private: every kernel as plain loops, compiled once inside each set with that set's instructions.
 * The scalar set is these and nothing else; the others replace what pays. */
#ifndef ELSTM_KERNELS_LOOPS_H
#define ELSTM_KERNELS_LOOPS_H

#include "activations.h"
#include "fixedpoint.h"
#include "kernels.h"

#include <string.h>

#if defined(__GNUC__)
#define ELSTM_MAYBE_UNUSED __attribute__((unused))
#else
#define ELSTM_MAYBE_UNUSED
#endif

#if ELSTM_LINKS_F32 /* unused inlines, too, are in the objects of -O0 */

/* ---- doors ---- */

static inline float loops_admit(float x) {
    x = x >= ELSTM_SMALLEST || x <= -ELSTM_SMALLEST ? x : 0; /* NaN is neither */
    x = x < -ELSTM_LARGEST ? -ELSTM_LARGEST : x;
    return x > ELSTM_LARGEST ? ELSTM_LARGEST : x;
}

ELSTM_MAYBE_UNUSED static void loops_enter_f32(const float *x, float *value, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) value[k] = loops_admit(x[k]);
}

ELSTM_MAYBE_UNUSED static void loops_enter_s16(const float *x, float reciprocal, int16_t *value,
                                               uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) {
        float q = loops_admit(x[k]) * reciprocal;
        q = q < -32767.0f ? -32767.0f : q;
        q = q > 32767.0f ? 32767.0f : q;
        /* adding and taking away 1.5 * 2^23 rounds to nearest, ties to even */
        q = (q + 12582912.0f) - 12582912.0f;
        value[k] = (int16_t)q;
    }
}

ELSTM_MAYBE_UNUSED static void loops_leave_s8(const int8_t *value, float scale, float *y,
                                              uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) y[k] = (float)value[k] * scale;
}

ELSTM_MAYBE_UNUSED static void loops_leave_s16(const int16_t *value, float scale, float *y,
                                               uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) y[k] = (float)value[k] * scale;
}

/* ---- f32 ---- */

static inline float loops_tanh_one(float x) {
    x = x < -ELSTM_TANH_CLAMP ? -ELSTM_TANH_CLAMP : x;
    x = x > ELSTM_TANH_CLAMP ? ELSTM_TANH_CLAMP : x;
    const float u = x * x;
    float p = elstm_tanh_p[6], q = elstm_tanh_q[3];
    for (int k = 5; k >= 0; --k) p = p * u + elstm_tanh_p[k];
    for (int k = 2; k >= 0; --k) q = q * u + elstm_tanh_q[k];
    return x * p / q;
}

static inline float loops_sigmoid_one(float x) { return 0.5f + 0.5f * loops_tanh_one(0.5f * x); }

ELSTM_MAYBE_UNUSED static void loops_tanh_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = loops_tanh_one(v[k]);
}

ELSTM_MAYBE_UNUSED static void loops_sigmoid_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = loops_sigmoid_one(v[k]);
}

/* Sums of even and of odd columns are kept apart, then added: two chains of half the length. */
ELSTM_MAYBE_UNUSED static void loops_matmul_f32(const elstm_matrix_f32 *w, const float *bias,
                                                const float *x, size_t x_stride, float *y,
                                                uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_f32(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const float *start = bias == NULL ? y : bias;
        const float *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes) {
            float even[4 * ELSTM_GROUP], odd[4 * ELSTM_GROUP];
            for (uint32_t r = 0; r < lanes; ++r) {
                even[r] = start[at + r];
                odd[r] = 0;
            }
            for (uint32_t column = 0; column < w->columns; ++column, weights += lanes) {
                float *sums = column & 1 ? odd : even;
                for (uint32_t r = 0; r < lanes; ++r) sums[r] += weights[r] * x[column];
            }
            for (uint32_t r = 0; r < lanes; ++r) y[at + r] = even[r] + odd[r];
        }
    }
}

ELSTM_MAYBE_UNUSED static void loops_lstm_f32(const float *z, float *c, float *h, float *y,
                                              uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group, z += 4 * ELSTM_GROUP) {
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const uint32_t k = group * ELSTM_GROUP + u;
            const float i = loops_sigmoid_one(z[u]), f = loops_sigmoid_one(z[8 + u]);
            const float g = loops_tanh_one(z[16 + u]), o = loops_sigmoid_one(z[24 + u]);
            const float next = f * c[k] + i * g;
            c[k] = next < ELSTM_TINY && next > -ELSTM_TINY ? 0 : next;
            h[k] = y[k] = o * loops_tanh_one(c[k]);
        }
    }
}

#endif

/* ---- s8 ---- */

/* raw of docs/numerics.md; T = raw - (v >> 15). */
static inline int32_t loops_tanh_raw(int32_t v) {
    const int32_t n = (v >> 15) ^ 0x7FFF;
    const int32_t b = v ^ n;
    const int32_t u = elstm_mh(b, b);
    const int32_t k = u >> 12;
    const int32_t r = (int16_t)(uint16_t)((((uint32_t)u << 4) ^ 0x8000u) & 0xFFFFu);
    int32_t q = elstm_tanh_c3[k];
    q = elstm_tanh_c2[k] + elstm_mh(q, r);
    q = elstm_tanh_c1[k] + elstm_mh(q, r);
    q = elstm_tanh_c0[k] + elstm_mh(q, r);
    return q ^ n;
}

static inline int32_t loops_tanh_s16_one(int32_t v) { return loops_tanh_raw(v) - (v >> 15); }

static inline int32_t loops_sigmoid_s16_one(int32_t v) {
    return 16384 + ((loops_tanh_raw(v) + 1) >> 1);
}

ELSTM_MAYBE_UNUSED static void loops_tanh_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)loops_tanh_s16_one(v[k]);
}

ELSTM_MAYBE_UNUSED static void loops_sigmoid_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)loops_sigmoid_s16_one(v[k]);
}

/* The sums of `lanes` rows from row `at` on, on to y. */
static inline void loops_end_s8(const int32_t *sums, const elstm_rescale *rescale, uint32_t at,
                                uint32_t lanes, int32_t *y) {
    for (uint32_t r = 0; r < lanes; ++r) {
        if (rescale == NULL)
            y[at + r] += sums[r];
        else
            y[at + r] = elstm_sh(sums[r], rescale->shift[at + r]) + rescale->bias[at + r];
    }
}

ELSTM_MAYBE_UNUSED static void loops_matmul_s8(const elstm_matrix_s8 *w,
                                               const elstm_rescale *rescale, const int8_t *x,
                                               size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes) {
            int32_t sums[4 * ELSTM_GROUP];
            for (uint32_t r = 0; r < lanes; ++r) sums[r] = 0;
            for (uint32_t quad = 0; quad < w->quads; ++quad) {
                const int8_t *v = x + 4 * (size_t)quad;
                const int8_t *four = weights + quad * elstm_quads_apart(w);
                for (uint32_t r = 0; r < lanes; ++r, four += elstm_lanes_apart(w))
                    sums[r] += four[0] * v[0] + four[1] * v[1] + four[2] * v[2] + four[3] * v[3];
            }
            weights += (size_t)w->quads * lanes * 4;
            loops_end_s8(sums, rescale, at, lanes, y);
        }
    }
}

ELSTM_MAYBE_UNUSED static void loops_matmul_s16(const elstm_matrix_s8 *w,
                                                const elstm_rescale *rescale, const int16_t *x,
                                                size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes) {
            int32_t sums[4 * ELSTM_GROUP];
            for (uint32_t r = 0; r < lanes; ++r) sums[r] = 0;
            for (uint32_t quad = 0; quad < w->quads; ++quad) {
                const int16_t *v = x + 4 * (size_t)quad;
                const int8_t *four = weights + quad * elstm_quads_apart(w);
                for (uint32_t r = 0; r < lanes; ++r, four += elstm_lanes_apart(w))
                    sums[r] += four[0] * v[0] + four[1] * v[1] + four[2] * v[2] + four[3] * v[3];
            }
            weights += (size_t)w->quads * lanes * 4;
            loops_end_s8(sums, rescale, at, lanes, y);
        }
    }
}

ELSTM_MAYBE_UNUSED static void loops_requantize_s8(const int32_t *acc, const elstm_requantize *q,
                                                   int16_t *z, uint32_t rows) {
    for (uint32_t r = 0; r < rows; ++r)
        z[r] = elstm_requantize_one(acc[r], q->shift[r], q->multiplier[r]);
}

ELSTM_MAYBE_UNUSED static void loops_lstm_s8(const int32_t *acc, const elstm_requantize *q,
                                             const elstm_cell_s8 *cell, uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group, acc += 4 * ELSTM_GROUP) {
        int16_t z[4 * ELSTM_GROUP];
        const elstm_requantize rows = {q->shift + group * 4 * ELSTM_GROUP,
                                       q->multiplier + group * 4 * ELSTM_GROUP, NULL, 0};
        loops_requantize_s8(acc, &rows, z, 4 * ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const uint32_t k = group * ELSTM_GROUP + u;
            const int32_t i = loops_sigmoid_s16_one(z[u]), f = loops_sigmoid_s16_one(z[8 + u]);
            const int32_t g = loops_tanh_s16_one(z[16 + u]), o = loops_sigmoid_s16_one(z[24 + u]);
            int32_t v =
                elstm_sat16(elstm_mh(f, cell->c[k]) + elstm_mh(elstm_mh(i, g), cell->kappa));
            cell->c[k] = (int16_t)v;
            for (uint32_t d = 0; d < cell->doublings; ++d) v = elstm_sat16(2 * v);
            const int32_t h = elstm_mh(elstm_mh(o, loops_tanh_s16_one(v)), cell->hidden_multiplier);
            if (cell->type == ELSTM_S8)
                ((int8_t *)cell->h)[k] = ((int8_t *)cell->y)[k] = (int8_t)elstm_clamp(h, 127);
            else
                ((int16_t *)cell->h)[k] = ((int16_t *)cell->y)[k] = (int16_t)h;
        }
    }
}

ELSTM_MAYBE_UNUSED static void loops_reset_s16(const int16_t *restrict r,
                                               const int16_t *restrict kept, uint32_t places,
                                               int16_t *restrict n, uint32_t count) {
    const int32_t half = 1 << (places - 1);
    for (uint32_t k = 0; k < count; ++k)
        n[k] = (int16_t)elstm_sat16(n[k] + elstm_sat16((r[k] * kept[k] + half) >> places));
}

static inline int32_t loops_moved(int32_t z, int32_t n, int32_t state, int32_t kappa,
                                  uint32_t places) {
    const int32_t to = elstm_rs(n * kappa, 15);
    return elstm_sat16(to + ((z * (state - to) + (1 << (places - 1))) >> places));
}

static inline void loops_update_state(const int16_t *restrict z, const int16_t *restrict n,
                                      int16_t *restrict state, int32_t kappa, uint32_t places,
                                      uint32_t count) {
    for (uint32_t k = 0; k < count; ++k)
        state[k] = (int16_t)loops_moved(z[k], n[k], state[k], kappa, places);
}

static inline void loops_hidden_s8(const int16_t *restrict state, int32_t multiplier,
                                   int8_t *restrict h, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k)
        h[k] = (int8_t)elstm_clamp(elstm_rs(state[k] * multiplier, 15), 127);
}

static inline void loops_hidden_s16(const int16_t *restrict state, int32_t multiplier,
                                    int16_t *restrict h, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) h[k] = (int16_t)elstm_rs(state[k] * multiplier, 15);
}

ELSTM_MAYBE_UNUSED static void loops_update_s8(const int16_t *z, const int16_t *n,
                                               const elstm_update_s8 *update, uint32_t count) {
    loops_update_state(z, n, update->state, update->kappa, update->places, count);
    if (update->type == ELSTM_S8)
        loops_hidden_s8(update->state, update->hidden_multiplier, update->h, count);
    else
        loops_hidden_s16(update->state, update->hidden_multiplier, update->h, count);
}

/* ---- tfl8 ---- */

/* a * b / 2^15, rounded half up; never -32768 * -32768 here. */
static inline int32_t loops_mul16(int32_t a, int32_t b) { return (a * b + 0x4000) >> 15; }

/* e^a of an a <= 0 with `whole` bits before the point, 1 ... 7; Q0.15. */
static inline int32_t loops_exp_tfl8(int32_t a, uint32_t whole) {
    static const int16_t ladder[7] = {25520, 19875, 12055, 4435, 600, 11, 0}; /* e^-1/4 ... e^-16 */
    const uint32_t places = 15 - whole;
    const int32_t quarter = 1 << (places - 2);
    const int32_t part = (a & (quarter - 1)) - quarter, rest = part - a;
    const int32_t x = part * (1 << whole) + 4096;
    const int32_t x2 = loops_mul16(x, x), x3 = loops_mul16(x2, x), x4 = loops_mul16(x2, x2);
    const int32_t y = (loops_mul16(((x4 + 2) >> 2) + x3, 10923) + x2 + 1) >> 1;
    int32_t r = elstm_sat16(28918 + loops_mul16(28918, x + y));
    for (uint32_t k = 0; k < 7 && k < whole + 2; ++k)
        if (rest >> (places - 2 + k) & 1) r = loops_mul16(r, ladder[k]);
    if (whole > 5 && a < -(1 << (20 - whole))) r = 0;
    return a == 0 ? 32767 : r;
}

/* 1 / (1 + a) of a Q0.15, 0 <= a; Q1.14 in Q2.13. */
static inline int32_t loops_one_over_tfl8(int32_t a) {
    const int32_t half = (a + 32768) >> 1;
    int32_t x = 23130 + loops_mul16(half, -15420);
    for (int k = 0; k < 3; ++k) x += loops_mul16(x, 8192 - loops_mul16(half, x)) * 4;
    return x;
}

/* The logistic function of a Q3.12, Q0.15. */
static inline int32_t loops_logistic_tfl8(int32_t a) {
    const int32_t p = elstm_sat16(2 * loops_one_over_tfl8(loops_exp_tfl8(a < 0 ? a : -a, 3)));
    return a > 0 ? p : a < 0 ? 32767 - p : 16384;
}

/* tanh of a number with `whole` bits before the point, 0 ... 6; Q0.15. The argument of its
 * exponential is 2a: the same integer, one more bit before the point. */
static inline int32_t loops_tanh_tfl8(int32_t a, uint32_t whole) {
    const int32_t e = loops_exp_tfl8(a < 0 ? a : -a, whole + 1);
    const int32_t p = elstm_sat16((loops_one_over_tfl8(e) - 8192) * 4);
    return a > 0 ? p : a < 0 ? -p : 0;
}

/* What is beyond 2^16 saturates what it is added to. */
static inline int32_t loops_gate_tfl8(int32_t x, elstm_factor input, int32_t again,
                                      elstm_factor recurrent) {
    return elstm_sat16(elstm_sat16(elstm_times(x, input)) +
                       elstm_clamp(elstm_times(again, recurrent), 65536));
}

ELSTM_MAYBE_UNUSED static void loops_lstm_tfl8(const int32_t *x, const int32_t *again,
                                               const elstm_cell_tfl8 *cell,
                                               const elstm_state_tfl8 *state, uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group, x += 32, again += 32) {
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const uint32_t k = group * ELSTM_GROUP + u;
            int32_t z[4];
            for (uint32_t gate = 0; gate < 4; ++gate)
                z[gate] = loops_gate_tfl8(x[8 * gate + u], cell->input[gate], again[8 * gate + u],
                                          cell->recurrent[gate]);
            const int32_t f = loops_logistic_tfl8(z[1]);
            const int32_t i = cell->coupled ? 32767 - f : loops_logistic_tfl8(z[0]);
            int32_t added = elstm_divide(i * loops_tanh_tfl8(z[2], 3), 15 + cell->whole);
            if (cell->bare) added = ((added + 32768) & 65535) - 32768;
            int32_t c = elstm_sat16(elstm_divide(f * state->c[k], 15) + added);
            if (cell->clip != 0) c = elstm_clamp(c, cell->clip);
            const int32_t bent = cell->bare ? i : loops_tanh_tfl8(c, cell->whole);
            const int32_t p = loops_logistic_tfl8(z[3]) * bent;
            const int32_t h = elstm_clamp(elstm_times(p, cell->hidden), 65536) + cell->hidden_zero;
            state->c[k] = (int16_t)c;
            state->h[k] = state->y[k] = (int8_t)(h < -128 ? -128 : h > 127 ? 127 : h);
        }
    }
}

#endif
