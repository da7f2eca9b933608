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

/* p, counted as made from four sums: free to, gcc moves loads of weights up before earlier products
 * until registers run out. */
static inline const void *behind_s32(const void *p, const int32x4_t *sum) {
    __asm__("" : "+r"(p) : "w"(sum[0]), "w"(sum[1]), "w"(sum[2]), "w"(sum[3]));
    return p;
}

static inline const void *behind_f32(const void *p, const float32x4_t *sum) {
    __asm__("" : "+r"(p) : "w"(sum[0]), "w"(sum[1]), "w"(sum[2]), "w"(sum[3]));
    return p;
}

/* ---- doors ---- */

static inline float32x4_t admit4(float32x4_t x) {
    const uint32x4_t kept = vcageq_f32(x, vdupq_n_f32(ELSTM_SMALLEST));
    x = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), kept));
    return vminq_f32(vmaxq_f32(x, vdupq_n_f32(-ELSTM_LARGEST)), vdupq_n_f32(ELSTM_LARGEST));
}

static void enter_f32(const float *x, float *value, uint32_t count) {
    for (; count >= 4; count -= 4, x += 4, value += 4) vst1q_f32(value, admit4(vld1q_f32(x)));
    loops_enter_f32(x, value, count);
}

/* To the nearest even, saturated. */
static inline int32x4_t round4(float32x4_t q) {
#if defined(__aarch64__)
    return vcvtnq_s32_f32(q);
#else
    const float32x4_t shifter = vdupq_n_f32(12582912.0f); /* as in kernels_loops.h */
    q = vminq_f32(vmaxq_f32(q, vdupq_n_f32(-32767.0f)), vdupq_n_f32(32767.0f));
    return vcvtq_s32_f32(vsubq_f32(vaddq_f32(q, shifter), shifter));
#endif
}

static void enter_s16(const float *x, float reciprocal, int16_t *value, uint32_t count) {
    for (; count >= 8; count -= 8, x += 8, value += 8) {
        const int32x4_t a = round4(vmulq_n_f32(admit4(vld1q_f32(x)), reciprocal));
        const int32x4_t b = round4(vmulq_n_f32(admit4(vld1q_f32(x + 4)), reciprocal));
        vst1q_s16(value,
                  vmaxq_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)), vdupq_n_s16(-32767)));
    }
    loops_enter_s16(x, reciprocal, value, count);
}

static inline void leave8(int16x8_t value, float scale, float *y) {
    vst1q_f32(y, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(value))), scale));
    vst1q_f32(y + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(value))), scale));
}

static void leave_s8(const int8_t *value, float scale, float *y, uint32_t count) {
    for (; count >= 8; count -= 8, value += 8, y += 8) leave8(vmovl_s8(vld1_s8(value)), scale, y);
    loops_leave_s8(value, scale, y, count);
}

static void leave_s16(const int16_t *value, float scale, float *y, uint32_t count) {
    for (; count >= 8; count -= 8, value += 8, y += 8) leave8(vld1q_s16(value), scale, y);
    loops_leave_s16(value, scale, y, count);
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

/* The next column of 32 rows, lane `lane` of each x. */
#define COLUMN(lane)                                                                               \
    for (int at = 0; at < 8; at += 4) {                                                            \
        const float32x4x4_t own = next16_f32(&w);                                                  \
        for (int j = 0; j < xs; ++j)                                                               \
            for (int k = 0; k < 4; ++k)                                                            \
                sum[j][at + k] = fma_x##lane(sum[j][at + k], own.val[k], v[j]);                    \
        if (xs > 1) w = behind_f32(w, sum[xs - 1] + at);                                           \
    }

/* One group of four gates for `xs` x: eight chains each. Returns where the weights end. */
static inline __attribute__((always_inline)) const float *
group4_f32(const float *w, const float *bias, const float *x, size_t x_stride, uint32_t columns,
           float *y, size_t rows, int xs) {
    float32x4_t sum[2][8];
    four_x v[2];
    for (int j = 0; j < xs; ++j)
        for (int k = 0; k < 8; ++k)
            sum[j][k] = vld1q_f32((bias == NULL ? y + (size_t)j * rows : bias) + 4 * k);
    for (; columns >= 4; columns -= 4, x += 4) {
        for (int j = 0; j < xs; ++j) v[j] = load_x(x + (size_t)j * x_stride);
        COLUMN(0)
        COLUMN(1)
        COLUMN(2)
        COLUMN(3)
    }
    for (; columns > 0; --columns, ++x) {
        for (int j = 0; j < xs; ++j) v[j] = load_one_x(x + (size_t)j * x_stride);
        COLUMN(0)
    }
    for (int j = 0; j < xs; ++j)
        for (int k = 0; k < 8; ++k) vst1q_f32(y + (size_t)j * rows + 4 * k, sum[j][k]);
    return w;
}

#undef COLUMN

/* One group of one row a unit: even and odd columns apart. */
static inline void group1_f32(const float *w, const float *start, const float *x, uint32_t columns,
                              float *y) {
    const float32x4_t zero = vdupq_n_f32(0);
    float32x4_t even[2] = {vld1q_f32(start), vld1q_f32(start + 4)}, odd[2] = {zero, zero};
    uint32_t left = columns;
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

/* One x over rows of one gate, one over rows of four, and two over rows of four: each out of line,
 * with all the registers. */
static __attribute__((noinline)) void dense_f32(const elstm_matrix_f32 *w, const float *bias,
                                                const float *x, float *y) {
    const size_t group_size = (size_t)w->columns * ELSTM_GROUP;
    const float *start = bias == NULL ? y : bias;
    for (uint32_t group = 0; group < w->groups; ++group, y += ELSTM_GROUP, start += ELSTM_GROUP)
        group1_f32(w->weights + group * group_size, start, x, w->columns, y);
}

static __attribute__((noinline)) void one_f32(const elstm_matrix_f32 *w, const float *bias,
                                              const float *x, float *y) {
    const uint32_t columns = w->columns;
    const float *weights = w->weights;
    for (uint32_t group = w->groups; group > 0; --group, y += 4 * ELSTM_GROUP) {
        weights = group4_f32(weights, bias, x, 0, columns, y, 0, 1);
        if (bias != NULL) bias += 4 * ELSTM_GROUP;
    }
}

#if defined(__aarch64__)

static __attribute__((noinline)) void two_f32(const elstm_matrix_f32 *w, const float *bias,
                                              const float *x, size_t x_stride, float *y) {
    const size_t rows = elstm_rows_f32(w);
    const uint32_t columns = w->columns;
    const float *weights = w->weights;
    for (uint32_t group = w->groups; group > 0; --group, y += 4 * ELSTM_GROUP) {
        weights = group4_f32(weights, bias, x, x_stride, columns, y, rows, 2);
        if (bias != NULL) bias += 4 * ELSTM_GROUP;
    }
}

#endif

static void matmul_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const size_t rows = elstm_rows_f32(w);
    if (w->gates != 4) {
        for (; count > 0; --count, x += x_stride, y += rows) dense_f32(w, bias, x, y);
        return;
    }
#if defined(__aarch64__)
    for (; count >= 2; count -= 2, x += 2 * x_stride, y += 2 * rows)
        two_f32(w, bias, x, x_stride, y);
#endif
    for (; count > 0; --count, x += x_stride, y += rows) one_f32(w, bias, x, y);
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

/* An 8-entry int16 table, looked up byte by byte. */
#if defined(__aarch64__)

typedef int8x16_t entries;

static inline entries load_entries(const int16_t *table) {
    return vreinterpretq_s8_s16(vld1q_s16(table));
}

static inline int16x8_t look_up(entries table, uint8x16_t index) {
    return vreinterpretq_s16_s8(vqtbl1q_s8(table, index));
}

#else

typedef int8x8x2_t entries;

static inline entries load_entries(const int16_t *table) {
    const int8x16_t v = vreinterpretq_s8_s16(vld1q_s16(table));
    return (entries){{vget_low_s8(v), vget_high_s8(v)}};
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
    int16x8_t u = mh8(b, b);
    const int16x8_t r = veorq_s16(vshlq_n_s16(u, 4), vdupq_n_s16(-32768));
    __asm__("" : "+w"(u) : "w"(r)); /* u is free from here on, to be changed in place */
    /* bytes 2 k and 2 k + 1: (4096 k + 2047) * 4112 >> 15 is 514 k + 256 */
    u = vbslq_s16(vdupq_n_u16(0x0FFF), vdupq_n_s16(0x07FF), u);
    const uint8x16_t index = vreinterpretq_u8_s16(vqdmulhq_s16(u, vdupq_n_s16(4112)));
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

/* -shift of 8 rows or of each half of 16: a left shift by a negative number rounds down. */
static inline int16x8_t down_of(int8x8_t shift) { return vsubl_s8(vdup_n_s8(0), shift); }

static inline int16x8_t down_low(int8x16_t shift) { return down_of(vget_low_s8(shift)); }

static inline int16x8_t down_high(int8x16_t shift) {
#if defined(__aarch64__)
    return vsubl_high_s8(vdupq_n_s8(0), shift);
#else
    return down_of(vget_high_s8(shift));
#endif
}

/* sh(acc, -down) of 8 rows. */
static inline int32x4x2_t shift8(int32x4x2_t acc, int16x8_t down) {
    acc.val[0] = vshlq_s32(acc.val[0], vmovl_s16(vget_low_s16(down)));
    acc.val[1] = vshlq_s32(acc.val[1], vmovl_s16(vget_high_s16(down)));
    return acc;
}

static inline int32x4x2_t load8(const int32_t *p) {
    return (int32x4x2_t){{vld1q_s32(p), vld1q_s32(p + 4)}};
}

static inline void store8(int32_t *p, int32x4x2_t v) {
    vst1q_s32(p, v.val[0]);
    vst1q_s32(p + 4, v.val[1]);
}

static inline int32x4x2_t add8(int32x4x2_t a, int32x4x2_t b) {
    return (int32x4x2_t){{vaddq_s32(a.val[0], b.val[0]), vaddq_s32(a.val[1], b.val[1])}};
}

/* A copy that no store can change; without a bias where sums are added to y. */
static inline elstm_rescale rescale_of(const elstm_rescale *rescale) {
    return rescale == NULL ? (elstm_rescale){NULL, NULL} : *rescale;
}

/* The sums of 8 rows from row `at` on, on to y. */
static inline void end8(int32x4x2_t sum, elstm_rescale rescale, size_t at, int32_t *y) {
    if (rescale.bias == NULL)
        store8(y + at, add8(load8(y + at), sum));
    else
        store8(y + at,
               add8(shift8(sum, down_of(vld1_s8(rescale.shift + at))), load8(rescale.bias + at)));
}

/* Of 16 rows or 32, four a register, which have started at y where they are added to it. */
static inline __attribute__((always_inline)) void start(int32x4_t *sum, elstm_rescale rescale,
                                                        const int32_t *y, int vectors) {
    if (rescale.bias == NULL)
        for (int k = 0; k < vectors; ++k) sum[k] = vld1q_s32(y + 4 * k);
    else
        for (int k = 0; k < vectors; ++k) sum[k] = vdupq_n_s32(0);
}

static inline __attribute__((always_inline)) void end(const int32x4_t *sum, elstm_rescale rescale,
                                                      size_t at, int32_t *y, int vectors) {
    if (rescale.bias == NULL) {
        for (int k = 0; k < vectors; ++k) vst1q_s32(y + 4 * k, sum[k]);
        return;
    }
    const int8_t *shift = rescale.shift + at;
    const int32_t *bias = rescale.bias + at;
    for (int k = 0; k < vectors; k += 4) {
        const int8x16_t own = vld1q_s8(shift + 4 * k);
        const int32x4x2_t a = {{sum[k], sum[k + 1]}}, b = {{sum[k + 2], sum[k + 3]}};
        store8(y + 4 * k, add8(shift8(a, down_low(own)), load8(bias + 4 * k)));
        store8(y + 4 * k + 8, add8(shift8(b, down_high(own)), load8(bias + 4 * k + 8)));
    }
}

static inline int16x8_t requantize8(int32x4x2_t acc, int16x8_t down, int16x8_t multiplier) {
    acc = shift8(acc, down);
    const int16x8_t t = vcombine_s16(vqmovn_s32(acc.val[0]), vqmovn_s32(acc.val[1]));
    return mh_add8(t, t, multiplier);
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 8)
        vst1q_s16(z + r, requantize8(load8(acc + r), down_of(vld1_s8(q->shift + r)),
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

static inline __attribute__((always_inline)) void cells_s8(const int32_t *acc,
                                                           const elstm_requantize *q,
                                                           const elstm_cell_s8 *cell,
                                                           uint32_t groups, elstm_type type) {
    const segments t = load_segments();
    const int16x8_t kappa = vdupq_n_s16((int16_t)cell->kappa);
    const int16x8_t scale = vdupq_n_s16((int16_t)cell->hidden_multiplier);
    const int16x8_t doublings = vdupq_n_s16((int16_t)cell->doublings);
    const int8_t *shift = q->shift;
    const int16_t *multiplier = q->multiplier;
    int16_t *cells = cell->c;
    unsigned char *h = cell->h, *y = cell->y;
    const size_t size = type == ELSTM_S8 ? 8 : 16; /* bytes of a group */
    for (uint32_t group = 0; group < groups; ++group) {
        const int8x16_t shift_if = vld1q_s8(shift), shift_go = vld1q_s8(shift + 16);
        const int16x8_t i =
            sigmoid8(requantize8(load8(acc), down_low(shift_if), vld1q_s16(multiplier)), &t);
        const int16x8_t f = sigmoid8(
            requantize8(load8(acc + 8), down_high(shift_if), vld1q_s16(multiplier + 8)), &t);
        const int16x8_t g =
            tanh8(requantize8(load8(acc + 16), down_low(shift_go), vld1q_s16(multiplier + 16)), &t);
        const int16x8_t o = sigmoid8(
            requantize8(load8(acc + 24), down_high(shift_go), vld1q_s16(multiplier + 24)), &t);
        const int16x8_t c = mh_add8(mh8(f, vld1q_s16(cells)), mh8(i, g), kappa);
        const int16x8_t p = tanh8(vqshlq_s16(c, doublings), &t);
        const int16x8_t wide = mh8(mh8(o, p), scale);
        vst1q_s16(cells, c);
        if (type == ELSTM_S8) {
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

/* Each type's loop has a function of its own, with all the registers. */
static __attribute__((noinline)) void wide_cells(const int32_t *acc, const elstm_requantize *q,
                                                 const elstm_cell_s8 *cell, uint32_t groups) {
    cells_s8(acc, q, cell, groups, ELSTM_S16);
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    if (cell->type == ELSTM_S8)
        cells_s8(acc, q, cell, groups, ELSTM_S8);
    else
        wide_cells(acc, q, cell, groups);
}

/* What each set defines behind this header: one x over rows of one gate, and one group of four
 * gates for `xs` x, one or two. The latter return where the weights end. */
static void dense_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                     int32_t *y);
static void dense_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                      int32_t *y);
static inline const int8_t *group4_s8(const int8_t *w, elstm_rescale rescale, const int8_t *x,
                                      size_t x_stride, uint32_t quads, size_t at, int32_t *y,
                                      size_t rows, int xs);
static inline const int8_t *group4_s16(const int8_t *w, const int32_t *surplus,
                                       elstm_rescale rescale, const int16_t *x, size_t x_stride,
                                       uint32_t quads, size_t at, int32_t *y, size_t rows, int xs);

/* The products over four gates: of one x, and on 64 bits, whose registers suffice, of two at once.
 * Out of line, with all the registers. */
static __attribute__((noinline)) void one_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale,
                                             const int8_t *x, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += 4 * ELSTM_GROUP)
        weights = group4_s8(weights, own, x, 0, quads, at, y, 0, 1);
}

static __attribute__((noinline)) void
one_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int32_t *surplus = w->surplus;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += 4 * ELSTM_GROUP)
        weights = group4_s16(weights, surplus, own, x, 0, quads, at, y, 0, 1);
}

#if defined(__aarch64__)

static __attribute__((noinline)) void two_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale,
                                             const int8_t *x, size_t x_stride, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += 4 * ELSTM_GROUP)
        weights = group4_s8(weights, own, x, x_stride, quads, at, y, rows, 2);
}

static __attribute__((noinline)) void two_s16(const elstm_matrix_s8 *w,
                                              const elstm_rescale *rescale, const int16_t *x,
                                              size_t x_stride, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int32_t *surplus = w->surplus;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += 4 * ELSTM_GROUP)
        weights = group4_s16(weights, surplus, own, x, x_stride, quads, at, y, rows, 2);
}

#endif

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const size_t rows = elstm_rows_s8(w);
    if (w->gates != 4) {
        for (; count > 0; --count, x += x_stride, y += rows) dense_s8(w, rescale, x, y);
        return;
    }
#if defined(__aarch64__)
    for (; count >= 2; count -= 2, x += 2 * x_stride, y += 2 * rows)
        two_s8(w, rescale, x, x_stride, y);
#endif
    for (; count > 0; --count, x += x_stride, y += rows) one_s8(w, rescale, x, y);
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const size_t rows = elstm_rows_s8(w);
    if (w->gates != 4) {
        for (; count > 0; --count, x += x_stride, y += rows) dense_s16(w, rescale, x, y);
        return;
    }
#if defined(__aarch64__)
    for (; count >= 2; count -= 2, x += 2 * x_stride, y += 2 * rows)
        two_s16(w, rescale, x, x_stride, y);
#endif
    for (; count > 0; --count, x += x_stride, y += rows) one_s16(w, rescale, x, y);
}

#endif
