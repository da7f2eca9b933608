/* Private: what the two NEON sets share, compiled inside each with that set's instructions. The
 * includer has chosen its target and included <arm_neon.h>; ELSTM_NEON_RDMA is 1 where that target
 * has sqrdmlah. */
#ifndef ELSTM_KERNELS_NEON_H
#define ELSTM_KERNELS_NEON_H

#include "kernels_loops.h"

/* p, in a way that gcc cannot see through. Without it one pointer that moves with its loads becomes
 * several fixed ones, each with an addition, and loads are moved up until registers run out. */
static inline const void *opaque(const void *p) {
    __asm__("" : "+r"(p));
    return p;
}

/* ---- f32 ---- */

/* sum + a * b, b a vector, or one of a pair for all lanes. */
#if defined(__aarch64__)

static inline float32x4_t fma4(float32x4_t sum, float32x4_t a, float32x4_t b) {
    return vfmaq_f32(sum, a, b);
}

static inline float32x4_t fma_first(float32x4_t sum, float32x4_t a, float32x2_t b) {
    return vfmaq_lane_f32(sum, a, b, 0);
}

static inline float32x4_t fma_second(float32x4_t sum, float32x4_t a, float32x2_t b) {
    return vfmaq_lane_f32(sum, a, b, 1);
}

static inline float32x4_t divide4(float32x4_t a, float32x4_t b) { return vdivq_f32(a, b); }

#else /* two roundings: the fused form came later than NEON */

static inline float32x4_t fma4(float32x4_t sum, float32x4_t a, float32x4_t b) {
    return vmlaq_f32(sum, a, b);
}

static inline float32x4_t fma_first(float32x4_t sum, float32x4_t a, float32x2_t b) {
    return vmlaq_lane_f32(sum, a, b, 0);
}

static inline float32x4_t fma_second(float32x4_t sum, float32x4_t a, float32x2_t b) {
    return vmlaq_lane_f32(sum, a, b, 1);
}

/* No vector division here: an estimate of 8 bits, doubled twice. b is 1 ... 200. */
static inline float32x4_t divide4(float32x4_t a, float32x4_t b) {
    float32x4_t r = vrecpeq_f32(b);
    r = vmulq_f32(r, vrecpsq_f32(r, b));
    r = vmulq_f32(r, vrecpsq_f32(r, b));
    return vmulq_f32(a, r);
}

#endif

/* The coefficients of tanh, in pairs. */
typedef struct {
    float32x2_t p01, p23, p45, p56, q01, q23;
} rational;

static inline rational load_rational(void) {
    const float *p = elstm_tanh_p, *q = elstm_tanh_q;
    return (rational){vld1_f32(p),     vld1_f32(p + 2), vld1_f32(p + 4),
                      vld1_f32(p + 5), vld1_f32(q),     vld1_f32(q + 2)};
}

/* c[0] + c[1] u */
static inline float32x4_t linear4(float32x2_t c, float32x4_t u) {
    return fma_second(vdupq_lane_f32(c, 0), u, c);
}

/* Pairs of coefficients first: chains half as long as Horner's, and fewer copies of constants. */
static inline float32x4_t tanh4(float32x4_t x, const rational *c) {
    x = vmaxq_f32(x, vdupq_n_f32(-ELSTM_TANH_CLAMP));
    x = vminq_f32(x, vdupq_n_f32(ELSTM_TANH_CLAMP));
    const float32x4_t u = vmulq_f32(x, x), u2 = vmulq_f32(u, u);
    const float32x4_t high = fma_second(linear4(c->p45, u), u2, c->p56);
    const float32x4_t middle = fma4(linear4(c->p23, u), high, u2);
    const float32x4_t p = fma4(linear4(c->p01, u), middle, u2);
    const float32x4_t q = fma4(linear4(c->q01, u), linear4(c->q23, u), u2);
    return divide4(vmulq_f32(x, p), q);
}

static inline float32x4_t sigmoid4(float32x4_t x, const rational *c) {
    const float32x4_t half = vdupq_n_f32(0.5f);
    return fma4(half, half, tanh4(vmulq_f32(half, x), c));
}

#if defined(__aarch64__)

typedef float32x4_t four_x;

static inline four_x load_x(const float *x) { return vld1q_f32(x); }

static inline four_x load_one_x(const float *x) { return vld1q_dup_f32(x); }

/* The next 16 weights: one load of four registers. */
static inline float32x4x4_t next16_f32(const float **w) {
    const float32x4x4_t weights = vld1q_f32_x4(*w);
    *w = opaque(*w + 16);
    return weights;
}

/* sum += w * x[0], and so on */
static inline float32x4_t fma_x0(float32x4_t sum, float32x4_t w, four_x x) {
    return vfmaq_laneq_f32(sum, w, x, 0);
}

static inline float32x4_t fma_x1(float32x4_t sum, float32x4_t w, four_x x) {
    return vfmaq_laneq_f32(sum, w, x, 1);
}

static inline float32x4_t fma_x2(float32x4_t sum, float32x4_t w, four_x x) {
    return vfmaq_laneq_f32(sum, w, x, 2);
}

static inline float32x4_t fma_x3(float32x4_t sum, float32x4_t w, four_x x) {
    return vfmaq_laneq_f32(sum, w, x, 3);
}

#else

typedef float32x2x2_t four_x;

static inline four_x load_x(const float *x) { return (four_x){{vld1_f32(x), vld1_f32(x + 2)}}; }

static inline four_x load_one_x(const float *x) {
    return (four_x){{vld1_dup_f32(x), vdup_n_f32(0)}};
}

static inline float32x4_t next4_f32(const float **w) {
    const float32x4_t weights = vld1q_f32(*w);
    *w = opaque(*w + 4);
    return weights;
}

static inline float32x4x4_t next16_f32(const float **w) {
    const float32x4_t a = next4_f32(w), b = next4_f32(w), c = next4_f32(w), d = next4_f32(w);
    return (float32x4x4_t){{a, b, c, d}};
}

static inline float32x4_t fma_x0(float32x4_t sum, float32x4_t w, four_x x) {
    return fma_first(sum, w, x.val[0]);
}

static inline float32x4_t fma_x1(float32x4_t sum, float32x4_t w, four_x x) {
    return fma_second(sum, w, x.val[0]);
}

static inline float32x4_t fma_x2(float32x4_t sum, float32x4_t w, four_x x) {
    return fma_first(sum, w, x.val[1]);
}

static inline float32x4_t fma_x3(float32x4_t sum, float32x4_t w, four_x x) {
    return fma_second(sum, w, x.val[1]);
}

#endif

/* The sums of two gates. */
typedef float32x4x4_t gates2;

static inline gates2 gates2_start(const float *start) {
    const float32x4_t zero = vdupq_n_f32(0);
    if (start == NULL) return (gates2){{zero, zero, zero, zero}};
    return (gates2){
        {vld1q_f32(start), vld1q_f32(start + 4), vld1q_f32(start + 8), vld1q_f32(start + 12)}};
}

static inline void gates2_end(gates2 sum, float *y) {
    vst1q_f32(y, sum.val[0]);
    vst1q_f32(y + 4, sum.val[1]);
    vst1q_f32(y + 8, sum.val[2]);
    vst1q_f32(y + 12, sum.val[3]);
}

static inline gates2 gates2_x0(gates2 sum, const float **w, four_x x) {
    const float32x4x4_t own = next16_f32(w);
    return (gates2){{fma_x0(sum.val[0], own.val[0], x), fma_x0(sum.val[1], own.val[1], x),
                     fma_x0(sum.val[2], own.val[2], x), fma_x0(sum.val[3], own.val[3], x)}};
}

static inline gates2 gates2_x1(gates2 sum, const float **w, four_x x) {
    const float32x4x4_t own = next16_f32(w);
    return (gates2){{fma_x1(sum.val[0], own.val[0], x), fma_x1(sum.val[1], own.val[1], x),
                     fma_x1(sum.val[2], own.val[2], x), fma_x1(sum.val[3], own.val[3], x)}};
}

static inline gates2 gates2_x2(gates2 sum, const float **w, four_x x) {
    const float32x4x4_t own = next16_f32(w);
    return (gates2){{fma_x2(sum.val[0], own.val[0], x), fma_x2(sum.val[1], own.val[1], x),
                     fma_x2(sum.val[2], own.val[2], x), fma_x2(sum.val[3], own.val[3], x)}};
}

static inline gates2 gates2_x3(gates2 sum, const float **w, four_x x) {
    const float32x4x4_t own = next16_f32(w);
    return (gates2){{fma_x3(sum.val[0], own.val[0], x), fma_x3(sum.val[1], own.val[1], x),
                     fma_x3(sum.val[2], own.val[2], x), fma_x3(sum.val[3], own.val[3], x)}};
}

/* One group of four gates: eight chains. Returns where the weights end. */
static inline const float *group4_f32(const float *w, const float *start, const float *x,
                                      uint32_t columns, float *y) {
    gates2 low = gates2_start(start), high = gates2_start(start == NULL ? NULL : start + 16);
    for (; columns >= 4; columns -= 4, x += 4) {
        const four_x v = load_x(x);
        low = gates2_x0(low, &w, v);
        high = gates2_x0(high, &w, v);
        low = gates2_x1(low, &w, v);
        high = gates2_x1(high, &w, v);
        low = gates2_x2(low, &w, v);
        high = gates2_x2(high, &w, v);
        low = gates2_x3(low, &w, v);
        high = gates2_x3(high, &w, v);
    }
    for (; columns > 0; --columns, ++x) {
        const four_x v = load_one_x(x);
        low = gates2_x0(low, &w, v);
        high = gates2_x0(high, &w, v);
    }
    gates2_end(low, y);
    gates2_end(high, y + 16);
    return w;
}

/* One group of one row a unit: even and odd columns apart. */
static inline void group1_f32(const float *w, const float *start, const float *x, uint32_t columns,
                              float *y) {
    const float32x4_t zero = vdupq_n_f32(0);
    float32x4_t even[2] = {zero, zero}, odd[2] = {zero, zero};
    uint32_t left = columns;
    if (start != NULL) {
        even[0] = vld1q_f32(start);
        even[1] = vld1q_f32(start + 4);
    }
    for (; left >= 4; left -= 4, x += 4) {
        const four_x v = load_x(x);
        const float32x4x4_t a = next16_f32(&w), b = next16_f32(&w);
        for (int k = 0; k < 2; ++k) {
            even[k] = fma_x0(even[k], a.val[k], v);
            odd[k] = fma_x1(odd[k], a.val[2 + k], v);
            even[k] = fma_x2(even[k], b.val[k], v);
            odd[k] = fma_x3(odd[k], b.val[2 + k], v);
        }
    }
    for (; left > 0; --left, ++x, w += 8) {
        const four_x v = load_one_x(x);
        for (int k = 0; k < 2; ++k) even[k] = fma_x0(even[k], vld1q_f32(w + 4 * k), v);
    }
    for (int k = 0; k < 2; ++k) vst1q_f32(y + 4 * k, vaddq_f32(even[k], odd[k]));
}

/* One x; out of line, where it may use registers that the loops over four gates do without. */
static __attribute__((noinline)) void single_f32(const elstm_matrix_f32 *w, const float *start,
                                                 const float *x, float *y) {
    const size_t group_size = (size_t)w->columns * ELSTM_GROUP;
    for (uint32_t group = 0; group < w->groups; ++group, y += ELSTM_GROUP) {
        group1_f32(w->weights + group * group_size, start, x, w->columns, y);
        if (start != NULL) start += ELSTM_GROUP;
    }
}

static void matmul_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const uint32_t rows = elstm_rows_f32(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride) {
        const float *start = bias == NULL ? y : bias;
        if (w->gates != 4) {
            single_f32(w, start, x, y);
            y += rows;
            continue;
        }
        const float *weights = w->weights;
        for (uint32_t group = w->groups; group > 0; --group, y += 4 * ELSTM_GROUP) {
            weights = group4_f32(weights, start, x, w->columns, y);
            if (start != NULL) start += 4 * ELSTM_GROUP;
        }
    }
}

static void lstm_f32(const float *z, float *c, float *h, float *y, uint32_t groups) {
    const rational t = load_rational();
    const float32x4_t tiny = vdupq_n_f32(ELSTM_TINY);
    for (uint32_t group = 0; group < groups; ++group, z += 32) {
        for (int half = 0; half < 2; ++half, c += 4, h += 4, y += 4) {
            const float *own = z + 4 * half;
            const float32x4_t i = sigmoid4(vld1q_f32(own), &t),
                              f = sigmoid4(vld1q_f32(own + 8), &t);
            const float32x4_t g = tanh4(vld1q_f32(own + 16), &t),
                              o = sigmoid4(vld1q_f32(own + 24), &t);
            float32x4_t next = fma4(vmulq_f32(i, g), f, vld1q_f32(c));
            next = vreinterpretq_f32_u32(
                vandq_u32(vreinterpretq_u32_f32(next), vcageq_f32(next, tiny)));
            const float32x4_t out = vmulq_f32(o, tanh4(next, &t));
            vst1q_f32(c, next);
            vst1q_f32(h, out);
            vst1q_f32(y, out);
        }
    }
}

static void tanh_f32(float *v, uint32_t count) {
    const rational t = load_rational();
    for (; count >= 4; count -= 4, v += 4) vst1q_f32(v, tanh4(vld1q_f32(v), &t));
    if (count != 0) {
        float rest[4] = {0};
        memcpy(rest, v, count * sizeof *v);
        vst1q_f32(rest, tanh4(vld1q_f32(rest), &t));
        memcpy(v, rest, count * sizeof *v);
    }
}

static void sigmoid_f32(float *v, uint32_t count) {
    const rational t = load_rational();
    for (; count >= 4; count -= 4, v += 4) vst1q_f32(v, sigmoid4(vld1q_f32(v), &t));
    if (count != 0) {
        float rest[4] = {0};
        memcpy(rest, v, count * sizeof *v);
        vst1q_f32(rest, sigmoid4(vld1q_f32(rest), &t));
        memcpy(v, rest, count * sizeof *v);
    }
}

/* ---- s8 ---- */

static inline int16x8_t mh8(int16x8_t a, int16x8_t b) { return vqrdmulhq_s16(a, b); }

/* sat16(sum + mh(a, b)) */
static inline int16x8_t mh_add8(int16x8_t sum, int16x8_t a, int16x8_t b) {
#if ELSTM_NEON_RDMA
    return vqrdmlahq_s16(sum, a, b);
#else
    return vqaddq_s16(sum, vqrdmulhq_s16(a, b));
#endif
}

/* An 8-entry int16 table as bytes: eight low ones, then eight high ones. */
#if defined(__aarch64__)

typedef int8x16_t entries;

static inline entries load_entries(const int16_t *table) {
    const int16x8_t v = vld1q_s16(table);
    return vshrn_high_n_s16(vmovn_s16(v), v, 8);
}

static inline int16x8_t look_up(entries table, uint8x16_t index) {
    return vreinterpretq_s16_s8(vqtbl1q_s8(table, index));
}

#else

typedef int8x8x2_t entries;

static inline entries load_entries(const int16_t *table) {
    const int16x8_t v = vld1q_s16(table);
    return (entries){{vmovn_s16(v), vshrn_n_s16(v, 8)}};
}

static inline int16x8_t look_up(entries table, uint8x16_t index) {
    return vreinterpretq_s16_s8(
        vcombine_s8(vtbl2_s8(table, vreinterpret_s8_u8(vget_low_u8(index))),
                    vtbl2_s8(table, vreinterpret_s8_u8(vget_high_u8(index)))));
}

#endif

typedef struct {
    entries c0, c1, c2, c3;
} segments;

static inline segments load_segments(void) {
    return (segments){load_entries(elstm_tanh_c0), load_entries(elstm_tanh_c1),
                      load_entries(elstm_tanh_c2), load_entries(elstm_tanh_c3)};
}

/* q of docs/numerics.md for 8 values, from b. */
static inline int16x8_t cubic8(int16x8_t b, const segments *t) {
    const uint16x8_t u = vreinterpretq_u16_s16(mh8(b, b));
    const uint16x8_t k = vshrq_n_u16(u, 12);
    /* bytes k and k + 8 */
    const uint8x16_t index =
        vreinterpretq_u8_u16(vorrq_u16(vsliq_n_u16(k, k, 8), vdupq_n_u16(0x0800)));
    const int16x8_t r = vreinterpretq_s16_u16(veorq_u16(vshlq_n_u16(u, 4), vdupq_n_u16(0x8000)));
    int16x8_t q = look_up(t->c3, index);
    q = mh_add8(look_up(t->c2, index), q, r);
    q = mh_add8(look_up(t->c1, index), q, r);
    return mh_add8(look_up(t->c0, index), q, r);
}

static inline int16x8_t tanh8(int16x8_t v, const segments *t) {
    const int16x8_t n = veorq_s16(vshrq_n_s16(v, 15), vdupq_n_s16(0x7FFF));
    const int16x8_t raw = veorq_s16(cubic8(veorq_s16(v, n), t), n);
    /* raw - (v >> 15), the sign bit brought down unsigned */
    return vreinterpretq_s16_u16(
        vsraq_n_u16(vreinterpretq_u16_s16(raw), vreinterpretq_u16_s16(v), 15));
}

static inline int16x8_t sigmoid8(int16x8_t v, const segments *t) {
    /* q ^ m is raw + 32768 unsigned; half of it, rounded up, is 16384 + ((raw + 1) >> 1) */
    const uint16x8_t m = vcgeq_s16(v, vdupq_n_s16(0));
    const int16x8_t n = vreinterpretq_s16_u16(veorq_u16(m, vdupq_n_u16(0x8000)));
    const int16x8_t q = cubic8(veorq_s16(v, n), t);
    return vreinterpretq_s16_u16(vrshrq_n_u16(veorq_u16(vreinterpretq_u16_s16(q), m), 1));
}

/* sh(acc, k) of 8 rows, `down` = -k: a left shift by a negative number rounds down. */
static inline int32x4x2_t shift8(int32x4x2_t acc, int8x8_t down) {
    const int16x8_t wide = vmovl_s8(down);
    acc.val[0] = vshlq_s32(acc.val[0], vmovl_s16(vget_low_s16(wide)));
    acc.val[1] = vshlq_s32(acc.val[1], vmovl_s16(vget_high_s16(wide)));
    return acc;
}

static inline int32x4x2_t load8(const int32_t *p) {
    return (int32x4x2_t){{vld1q_s32(p), vld1q_s32(p + 4)}};
}

static inline void rescale8(int32_t *acc, int8x8_t down, const int32_t *bias) {
    const int32x4x2_t v = shift8(load8(acc), down), b = load8(bias);
    vst1q_s32(acc, vaddq_s32(v.val[0], b.val[0]));
    vst1q_s32(acc + 4, vaddq_s32(v.val[1], b.val[1]));
}

static void rescale_s8(int32_t *acc, const int8_t *shift, const int32_t *bias, uint32_t rows) {
    for (; rows >= 16; rows -= 16, acc += 16, shift += 16, bias += 16) {
        const int8x16_t down = vnegq_s8(vld1q_s8(shift));
        rescale8(acc, vget_low_s8(down), bias);
        rescale8(acc + 8, vget_high_s8(down), bias + 8);
    }
    if (rows != 0) rescale8(acc, vneg_s8(vld1_s8(shift)), bias);
}

static inline int16x8_t requantize8(int32x4x2_t acc, int8x8_t down, int16x8_t multiplier) {
    acc = shift8(acc, down);
    const int16x8_t t = vcombine_s16(vqmovn_s32(acc.val[0]), vqmovn_s32(acc.val[1]));
    return mh_add8(t, t, multiplier);
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 8)
        vst1q_s16(z + r, requantize8(load8(acc + r), vneg_s8(vld1_s8(q->shift + r)),
                                     vld1q_s16(q->multiplier + r)));
}

static void tanh_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (; count >= 8; count -= 8, v += 8) vst1q_s16(v, tanh8(vld1q_s16(v), &t));
    if (count != 0) {
        int16_t rest[8] = {0};
        memcpy(rest, v, count * sizeof *v);
        vst1q_s16(rest, tanh8(vld1q_s16(rest), &t));
        memcpy(v, rest, count * sizeof *v);
    }
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (; count >= 8; count -= 8, v += 8) vst1q_s16(v, sigmoid8(vld1q_s16(v), &t));
    if (count != 0) {
        int16_t rest[8] = {0};
        memcpy(rest, v, count * sizeof *v);
        vst1q_s16(rest, sigmoid8(vld1q_s16(rest), &t));
        memcpy(v, rest, count * sizeof *v);
    }
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const segments t = load_segments();
    const int16x8_t kappa = vdupq_n_s16((int16_t)cell->kappa);
    const int16x8_t scale = vdupq_n_s16((int16_t)cell->hidden_multiplier);
    const int8_t *shift = q->shift;
    const int16_t *multiplier = q->multiplier;
    int16_t *cells = cell->c;
    unsigned char *h = cell->h, *y = cell->y;
    const size_t size = cell->type == ELSTM_S8 ? 8 : 16; /* bytes of a group */
    for (uint32_t group = 0; group < groups; ++group) {
        const int8x16_t down_if = vnegq_s8(vld1q_s8(shift));
        const int8x16_t down_go = vnegq_s8(vld1q_s8(shift + 16));
        const int16x8_t i =
            sigmoid8(requantize8(load8(acc), vget_low_s8(down_if), vld1q_s16(multiplier)), &t);
        const int16x8_t f = sigmoid8(
            requantize8(load8(acc + 8), vget_high_s8(down_if), vld1q_s16(multiplier + 8)), &t);
        const int16x8_t g = tanh8(
            requantize8(load8(acc + 16), vget_low_s8(down_go), vld1q_s16(multiplier + 16)), &t);
        const int16x8_t o = sigmoid8(
            requantize8(load8(acc + 24), vget_high_s8(down_go), vld1q_s16(multiplier + 24)), &t);
        const int16x8_t c = mh_add8(mh8(f, vld1q_s16(cells)), mh8(i, g), kappa);
        int16x8_t v = c;
        for (uint32_t k = 0; k < cell->doublings; ++k) v = vqaddq_s16(v, v);
        const int16x8_t wide = mh8(mh8(o, tanh8(v, &t)), scale);
        vst1q_s16(cells, c);
        if (cell->type == ELSTM_S8) {
            const int8x8_t narrow = vmax_s8(vqmovn_s16(wide), vdup_n_s8(-127));
            vst1_s8((int8_t *)h, narrow);
            vst1_s8((int8_t *)y, narrow);
        } else {
            vst1q_s16((int16_t *)(void *)h, wide);
            vst1q_s16((int16_t *)(void *)y, wide);
        }
        acc += 32, shift += 32, multiplier += 32, cells += 8, h += size, y += size;
    }
}

/* 16-bit x: the weights of one column, widened, times one lane. `gates` chains of 8 rows. */
static inline __attribute__((always_inline)) void chains_s16(const int8_t *w, size_t step,
                                                             const int32_t *start, const int16_t *x,
                                                             uint32_t quads, int32_t *y,
                                                             int gates) {
    int32x4_t sum[8];
    for (int g = 0; g < 2 * gates; ++g)
        sum[g] = start == NULL ? vdupq_n_s32(0) : vld1q_s32(start + 4 * g);
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += step) {
        const int16x4_t v = vld1_s16(x);
        for (int g = 0; g < gates; ++g) {
            const int8x8x4_t column = vld4_s8(w + 32 * g); /* 8 rows each */
            const int16x8_t w0 = vmovl_s8(column.val[0]), w1 = vmovl_s8(column.val[1]);
            const int16x8_t w2 = vmovl_s8(column.val[2]), w3 = vmovl_s8(column.val[3]);
            int32x4_t a = sum[2 * g], b = sum[2 * g + 1];
            a = vmlal_lane_s16(a, vget_low_s16(w0), v, 0);
            b = vmlal_lane_s16(b, vget_high_s16(w0), v, 0);
            a = vmlal_lane_s16(a, vget_low_s16(w1), v, 1);
            b = vmlal_lane_s16(b, vget_high_s16(w1), v, 1);
            a = vmlal_lane_s16(a, vget_low_s16(w2), v, 2);
            b = vmlal_lane_s16(b, vget_high_s16(w2), v, 2);
            a = vmlal_lane_s16(a, vget_low_s16(w3), v, 3);
            b = vmlal_lane_s16(b, vget_high_s16(w3), v, 3);
            sum[2 * g] = a, sum[2 * g + 1] = b;
        }
    }
    for (int g = 0; g < 2 * gates; ++g) vst1q_s32(y + 4 * g, sum[g]);
}

/* One x, of any values. */
static __attribute__((noinline)) void single_s16(const elstm_matrix_s8 *w, const int32_t *start,
                                                 const int16_t *x, int32_t *y) {
    const size_t lanes = (size_t)w->gates * ELSTM_GROUP;
    const int8_t *weights = w->weights;
    for (uint32_t group = w->groups; group > 0; --group, y += lanes) {
        if (w->gates == 4)
            chains_s16(weights, 128, start, x, w->quads, y, 4);
        else
            chains_s16(weights, 32, start, x, w->quads, y, 1);
        weights += w->quads * lanes * 4;
        if (start != NULL) start += lanes;
    }
}

#endif
