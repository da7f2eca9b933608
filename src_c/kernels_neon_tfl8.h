/* Private: the cell of TFLite's LSTM in NEON, a group of 8 units at once. Equations:
 * docs/numerics.md, "tfl8"; the loops of kernels_loops.h say the same one by one. The includer has
 * chosen its target and included <arm_neon.h>. */
#ifndef ELSTM_KERNELS_NEON_TFL8_H
#define ELSTM_KERNELS_NEON_TFL8_H

#include "kernels.h"

/* sqrdmulh is TFLite's product of Q0.15 and of Q0.31. No pair here is the lowest number twice. */

static inline int16x8_t tfl8_mul(int16x8_t a, int16x8_t b) { return vqrdmulhq_s16(a, b); }

static inline int16x8_t tfl8_mul_n(int16x8_t a, int16_t b) { return vqrdmulhq_n_s16(a, b); }

/* e^a of 8 a <= 0 with `whole` bits before the point, 1 ... 7. */
static inline __attribute__((always_inline)) int16x8_t tfl8_exp(int16x8_t a, int whole) {
    static const int16_t ladder[7] = {25520, 19875, 12055, 4435, 600, 11, 0};
    const int places = 15 - whole, quarter = 1 << (places - 2);
    const int16x8_t part =
        vsubq_s16(vandq_s16(a, vdupq_n_s16((int16_t)(quarter - 1))), vdupq_n_s16((int16_t)quarter));
    const int16x8_t rest = vsubq_s16(part, a);
    const int16x8_t x = vaddq_s16(vshlq_s16(part, vdupq_n_s16((int16_t)whole)), vdupq_n_s16(4096));
    const int16x8_t x2 = tfl8_mul(x, x), x3 = tfl8_mul(x2, x), x4 = tfl8_mul(x2, x2);
    int16x8_t y = vaddq_s16(vrshrq_n_s16(x4, 2), x3);
    y = vrshrq_n_s16(vaddq_s16(tfl8_mul_n(y, 10923), x2), 1);
    int16x8_t r = vqaddq_s16(vdupq_n_s16(28918), tfl8_mul_n(vaddq_s16(x, y), 28918));
    for (int k = 0; k < 7; ++k) {
        if (k >= whole + 2) break;
        const uint16x8_t is_set = vtstq_s16(rest, vdupq_n_s16((int16_t)(1 << (places - 2 + k))));
        r = vbslq_s16(is_set, tfl8_mul_n(r, ladder[k]), r);
    }
    if (whole > 5) {
        const uint16x8_t far = vcltq_s16(a, vdupq_n_s16((int16_t) - (1 << (20 - whole))));
        r = vbicq_s16(r, vreinterpretq_s16_u16(far));
    }
    return vbslq_s16(vtstq_s16(a, a), r, vdupq_n_s16(32767));
}

/* 1 / (1 + a) in Q1.14, as Q2.13. */
static inline int16x8_t tfl8_one_over(int16x8_t a) {
    const int16x8_t half = vaddq_s16(vshrq_n_s16(a, 1), vdupq_n_s16(16384));
    int16x8_t x = vaddq_s16(vdupq_n_s16(23130), tfl8_mul_n(half, -15420));
    for (int k = 0; k < 3; ++k) {
        const int16x8_t off = vsubq_s16(vdupq_n_s16(8192), tfl8_mul(half, x));
        x = vaddq_s16(x, vshlq_n_s16(tfl8_mul(x, off), 2));
    }
    return x;
}

static inline int16x8_t tfl8_below(int16x8_t a) { /* -|a|; of -32768 itself */
    return vminq_s16(a, vnegq_s16(a));
}

/* v with the sign of one that is not 0. */
static inline int16x8_t tfl8_signed(int16x8_t v, int16x8_t sign) {
    const int16x8_t below = vshrq_n_s16(sign, 15);
    return vsubq_s16(veorq_s16(v, below), below);
}

static inline int16x8_t tfl8_logistic(int16x8_t a) {
    const int16x8_t x = tfl8_one_over(tfl8_exp(tfl8_below(a), 3)), p = vqaddq_s16(x, x);
    const int16x8_t turned = vandq_s16(vshrq_n_s16(a, 15), vdupq_n_s16(32767));
    return vbslq_s16(vtstq_s16(a, a), veorq_s16(p, turned), vdupq_n_s16(16384));
}

static inline __attribute__((always_inline)) int16x8_t tfl8_tanh(int16x8_t a, int whole) {
    const int16x8_t x = tfl8_one_over(tfl8_exp(tfl8_below(a), whole + 1));
    const int16x8_t p = vqshlq_n_s16(vsubq_s16(x, vdupq_n_s16(8192)), 2);
    return vandq_s16(tfl8_signed(p, a), vreinterpretq_s16_u16(vtstq_s16(a, a)));
}

/* Of the cell's c: a loop of its own for each place of the point. */
static inline int16x8_t tfl8_tanh_c(int16x8_t c, uint32_t whole) {
    switch (whole) {
    case 0: return tfl8_tanh(c, 0);
    case 1: return tfl8_tanh(c, 1);
    case 2: return tfl8_tanh(c, 2);
    case 3: return tfl8_tanh(c, 3);
    case 4: return tfl8_tanh(c, 4);
    case 5: return tfl8_tanh(c, 5);
    default: return tfl8_tanh(c, 6);
    }
}

/* elstm_times of 4 values. */
typedef struct {
    int32x4_t m, left, right, fix; /* right: negative, as vrshl takes it */
} tfl8_factor;

static inline tfl8_factor tfl8_spread(elstm_factor f) {
    return (tfl8_factor){vdupq_n_s32(f.m), vdupq_n_s32(f.s > 0 ? f.s : 0),
                         vdupq_n_s32(f.s < 0 ? f.s : 0), vdupq_n_s32(f.s < 0 ? -1 : 0)};
}

static inline int32x4_t tfl8_times(int32x4_t v, const tfl8_factor *f) {
    v = vqrdmulhq_s32(vshlq_s32(v, f->left), f->m);
    /* the shift rounds ties up; below 0 they go down */
    v = vqaddq_s32(v, vandq_s32(vshrq_n_s32(v, 31), f->fix));
    return vrshlq_s32(v, f->right);
}

static inline int32x4_t tfl8_within(int32x4_t v, int32_t low, int32_t high) {
    return vmaxq_s32(vminq_s32(v, vdupq_n_s32(high)), vdupq_n_s32(low));
}

static inline int16x4_t tfl8_sum(const int32_t *x, const int32_t *again, const tfl8_factor *input,
                                 const tfl8_factor *recurrent) {
    const int32x4_t u = tfl8_times(vld1q_s32(x), input);
    const int32x4_t v = tfl8_times(vld1q_s32(again), recurrent);
    return vqmovn_s32(vaddq_s32(tfl8_within(u, -32768, 32767), tfl8_within(v, -65536, 65536)));
}

static inline int16x8_t tfl8_gate(const int32_t *x, const int32_t *again, const tfl8_factor *input,
                                  const tfl8_factor *recurrent) {
    return vcombine_s16(tfl8_sum(x, again, input, recurrent),
                        tfl8_sum(x + 4, again + 4, input, recurrent));
}

/* c of the next step. places: 15 + whole. */
static inline int16x8_t tfl8_next(int16x8_t i, int16x8_t f, int16x8_t g, int16x8_t c,
                                  int32_t places) {
    /* a negative tie goes down */
    const int16x8_t low = vandq_s16(vmulq_s16(f, c), vdupq_n_s16(0x7FFF));
    const int16x8_t tie = vreinterpretq_s16_u16(vceqq_s16(low, vdupq_n_s16(0x4000)));
    const int16x8_t kept = vaddq_s16(tfl8_mul(f, c), vandq_s16(tie, vshrq_n_s16(c, 15)));
    const int16x8_t size = vabsq_s16(g);
    const int32x4_t by = vdupq_n_s32(-places);
    const int32x4_t first = vrshlq_s32(vmull_s16(vget_low_s16(i), vget_low_s16(size)), by);
    const int32x4_t second = vrshlq_s32(vmull_s16(vget_high_s16(i), vget_high_s16(size)), by);
    const int16x8_t added = vcombine_s16(vqmovn_s32(first), vqmovn_s32(second));
    return vqaddq_s16(kept, tfl8_signed(added, g));
}

static void tfl8_lstm(const int32_t *x, const int32_t *again, const elstm_cell_tfl8 *cell,
                      const elstm_state_tfl8 *state, uint32_t groups) {
    tfl8_factor input[4], recurrent[4];
    const tfl8_factor hidden = tfl8_spread(cell->hidden);
    for (int k = 0; k < 4; ++k) {
        input[k] = tfl8_spread(cell->input[k]);
        recurrent[k] = tfl8_spread(cell->recurrent[k]);
    }
    for (uint32_t group = 0; group < groups; ++group, x += 32, again += 32) {
        const size_t at = (size_t)group * ELSTM_GROUP;
        int16x8_t z[4];
        for (int k = 0; k < 4; ++k)
            z[k] = tfl8_gate(x + 8 * k, again + 8 * k, &input[k], &recurrent[k]);
        const int16x8_t f = tfl8_logistic(z[1]);
        const int16x8_t i = cell->coupled ? vsubq_s16(vdupq_n_s16(32767), f) : tfl8_logistic(z[0]);
        int16x8_t c = vld1q_s16(state->c + at);
        c = tfl8_next(i, f, tfl8_tanh(z[2], 3), c, (int32_t)(15 + cell->whole));
        if (cell->clip != 0)
            c = vmaxq_s16(vminq_s16(c, vdupq_n_s16((int16_t)cell->clip)),
                          vdupq_n_s16((int16_t)-cell->clip));
        vst1q_s16(state->c + at, c);
        const int16x8_t o = tfl8_logistic(z[3]), p = tfl8_tanh_c(c, cell->whole);
        const int32x4_t first = tfl8_times(vmull_s16(vget_low_s16(o), vget_low_s16(p)), &hidden);
        const int32x4_t second = tfl8_times(vmull_s16(vget_high_s16(o), vget_high_s16(p)), &hidden);
        const int16x8_t h = vqaddq_s16(vcombine_s16(vqmovn_s32(first), vqmovn_s32(second)),
                                       vdupq_n_s16((int16_t)cell->hidden_zero));
        const int8x8_t bytes = vqmovn_s16(h);
        vst1_s8(state->h + at, bytes);
        vst1_s8(state->y + at, bytes);
    }
}

#endif
