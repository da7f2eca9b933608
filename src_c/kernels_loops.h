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
                for (uint32_t r = 0; r < lanes; ++r, weights += 4)
                    sums[r] += weights[0] * v[0] + weights[1] * v[1] + weights[2] * v[2] +
                               weights[3] * v[3];
            }
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
                for (uint32_t r = 0; r < lanes; ++r, weights += 4)
                    sums[r] += weights[0] * v[0] + weights[1] * v[1] + weights[2] * v[2] +
                               weights[3] * v[3];
            }
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

#endif
