/* 64-bit and 32-bit ARM with NEON (Advanced SIMD). */
#include "kernels.h"

#if defined(ELSTM_BUILDS_NEON)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("neon"))), apply_to = function)
#else
#pragma GCC push_options
#if defined(__arm__) && !defined(__ARM_NEON)
#pragma GCC target("fpu=neon")
#endif
#endif

#include <arm_neon.h>

#define ELSTM_NEON_RDMA 0
#include "kernels_neon.h"

/* Four x, as often as a multiplication takes them. */
#if defined(__aarch64__)

typedef int8x16_t four_x8;

static inline four_x8 low_four(int8x8_t x) {
    return vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(x), 0));
}

static inline four_x8 high_four(int8x8_t x) {
    return vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(x), 1));
}

static inline int16x8_t multiply_low(int8x16_t w, four_x8 x) {
    return vmull_s8(vget_low_s8(w), vget_low_s8(x));
}

static inline int16x8_t multiply_high(int8x16_t w, four_x8 x) { return vmull_high_s8(w, x); }

static inline int16x8_t add_low(int16x8_t sum, int8x16_t w, four_x8 x) {
    return vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x));
}

static inline int16x8_t add_high(int16x8_t sum, int8x16_t w, four_x8 x) {
    return vmlal_high_s8(sum, w, x);
}

#else

typedef int8x8_t four_x8;

static inline four_x8 low_four(int8x8_t x) {
    return vreinterpret_s8_s32(vdup_lane_s32(vreinterpret_s32_s8(x), 0));
}

static inline four_x8 high_four(int8x8_t x) {
    return vreinterpret_s8_s32(vdup_lane_s32(vreinterpret_s32_s8(x), 1));
}

static inline int16x8_t multiply_low(int8x16_t w, four_x8 x) { return vmull_s8(vget_low_s8(w), x); }

static inline int16x8_t multiply_high(int8x16_t w, four_x8 x) {
    return vmull_s8(vget_high_s8(w), x);
}

static inline int16x8_t add_low(int16x8_t sum, int8x16_t w, four_x8 x) {
    return vmlal_s8(sum, vget_low_s8(w), x);
}

static inline int16x8_t add_high(int16x8_t sum, int8x16_t w, four_x8 x) {
    return vmlal_s8(sum, vget_high_s8(w), x);
}

#endif

/* The last four x, where no more may be read. */
static inline four_x8 lone_four(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return low_four(vreinterpret_s8_s32(vdup_n_s32(bytes)));
}

/* The sums of one gate, two rows a register, each row in two halves. */
typedef struct {
    int32x4_t a, b, c, d;
} gate_sums;

/* First sums, each beside a 0. */
static inline int32x4_t spread(int32x2_t start) {
    return vreinterpretq_s32_u64(vmovl_u32(vreinterpret_u32_s32(start)));
}

static inline gate_sums gate_start(const int32_t *start) {
    const int32x4_t zero = vdupq_n_s32(0);
    if (start == NULL) return (gate_sums){zero, zero, zero, zero};
    const int32x4_t low = vld1q_s32(start), high = vld1q_s32(start + 4);
    return (gate_sums){spread(vget_low_s32(low)), spread(vget_high_s32(low)),
                       spread(vget_low_s32(high)), spread(vget_high_s32(high))};
}

/* Two quads: products meet in 16 bits, where 2 * 128 * 127 fits, then pairs of them in 32. Behind
 * it the weights' pointer counts as made from the sums: free to, gcc moves loads and products of
 * all gates up until registers run out. */
static inline gate_sums gate_two(gate_sums s, int8x16_t u0, int8x16_t v0, int8x16_t u1,
                                 int8x16_t v1, four_x8 x0, four_x8 x1, const int8_t **w) {
    s.a = vpadalq_s16(s.a, add_low(multiply_low(u0, x0), u1, x1));
    s.b = vpadalq_s16(s.b, add_high(multiply_high(u0, x0), u1, x1));
    s.c = vpadalq_s16(s.c, add_low(multiply_low(v0, x0), v1, x1));
    s.d = vpadalq_s16(s.d, add_high(multiply_high(v0, x0), v1, x1));
    __asm__("" : "+r"(*w) : "w"(s.a), "w"(s.b), "w"(s.c), "w"(s.d));
    return s;
}

/* One quad. */
static inline gate_sums gate_one(gate_sums s, const int8_t *w, four_x8 x) {
    const int8x16_t u = vld1q_s8(w), v = vld1q_s8(w + 16);
    s.a = vpadalq_s16(s.a, multiply_low(u, x));
    s.b = vpadalq_s16(s.b, multiply_high(u, x));
    s.c = vpadalq_s16(s.c, multiply_low(v, x));
    s.d = vpadalq_s16(s.d, multiply_high(v, x));
    return s;
}

/* Four rows from two registers of pairs. */
static inline int32x4_t join(int32x4_t a, int32x4_t b) {
#if defined(__aarch64__)
    return vpaddq_s32(a, b);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)),
                        vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

static inline void gate_end(gate_sums s, int32_t *y) {
    vst1q_s32(y, join(s.a, s.b));
    vst1q_s32(y + 4, join(s.c, s.d));
}

#if defined(__aarch64__)

static inline gate_sums gate_at(gate_sums s, const int8_t **w, size_t at, four_x8 x0, four_x8 x1) {
    const int8_t *own = *w + at;
    return gate_two(s, vld1q_s8(own), vld1q_s8(own + 16), vld1q_s8(own + 128), vld1q_s8(own + 144),
                    x0, x1, w);
}

/* One group of four gates, two of them on their way at a time. Returns where the weights end. */
static inline const int8_t *group4_s8(const int8_t *w, const int32_t *start, const int8_t *x,
                                      uint32_t quads, int32_t *y) {
    gate_sums i = gate_start(start), f = gate_start(start == NULL ? NULL : start + 8);
    gate_sums g = gate_start(start == NULL ? NULL : start + 16);
    gate_sums o = gate_start(start == NULL ? NULL : start + 24);
    const int8_t *w_ig = w, *w_fo = w;
    for (; quads >= 2; quads -= 2, x += 8, w_ig += 256, w_fo += 256) {
        const int8x8_t eight = vld1_s8(x);
        const four_x8 a = low_four(eight), b = high_four(eight);
        i = gate_at(i, &w_ig, 0, a, b);
        f = gate_at(f, &w_fo, 32, a, b);
        g = gate_at(g, &w_ig, 64, a, b);
        o = gate_at(o, &w_fo, 96, a, b);
    }
    if (quads != 0) {
        const four_x8 a = lone_four(x);
        i = gate_one(i, w_ig, a);
        f = gate_one(f, w_fo + 32, a);
        g = gate_one(g, w_ig + 64, a);
        o = gate_one(o, w_fo + 96, a);
        w_ig += 128;
    }
    gate_end(i, y);
    gate_end(f, y + 8);
    gate_end(g, y + 16);
    gate_end(o, y + 24);
    return w_ig;
}

#else

/* The next 16 weights. */
static inline int8x16_t next16_s8(const int8_t **w) {
    const int8x16_t weights = vld1q_s8(*w);
    *w = opaque(*w + 16);
    return weights;
}

static inline gate_sums gate_next(gate_sums s, const int8_t **w0, const int8_t **w1, four_x8 x0,
                                  four_x8 x1) {
    const int8x16_t u0 = next16_s8(w0), v0 = next16_s8(w0), u1 = next16_s8(w1), v1 = next16_s8(w1);
    return gate_two(s, u0, v0, u1, v1, x0, x1, w0);
}

/* One group of four gates; the registers suffice for two at a time. Returns where the weights end.
 */
static inline const int8_t *group4_s8(const int8_t *w, const int32_t *start, const int8_t *x,
                                      uint32_t quads, int32_t *y) {
    for (int pair = 0; pair < 2; ++pair, y += 16) {
        const int8_t *own = w + 64 * pair, *second = own + 128, *v = x;
        gate_sums i = gate_start(start), f = gate_start(start == NULL ? NULL : start + 8);
        uint32_t left = quads;
        for (; left >= 2; left -= 2, v += 8, own += 192, second += 192) {
            const int8x8_t eight = vld1_s8(v);
            const four_x8 a = low_four(eight), b = high_four(eight);
            i = gate_next(i, &own, &second, a, b);
            f = gate_next(f, &own, &second, a, b);
        }
        if (left != 0) {
            const four_x8 a = lone_four(v);
            i = gate_one(i, own, a);
            f = gate_one(f, own + 32, a);
        }
        gate_end(i, y);
        gate_end(f, y + 8);
        if (start != NULL) start += 16;
    }
    return w + (size_t)quads * 128;
}

#endif

/* One group of one row a unit. */
static inline void group1_s8(const int8_t *w, const int32_t *start, const int8_t *x, uint32_t quads,
                             int32_t *y) {
    gate_sums s = gate_start(start);
    for (; quads >= 2; quads -= 2, x += 8, w += 64) {
        const int8x8_t eight = vld1_s8(x);
        s = gate_two(s, vld1q_s8(w), vld1q_s8(w + 16), vld1q_s8(w + 32), vld1q_s8(w + 48),
                     low_four(eight), high_four(eight), &w);
    }
    if (quads != 0) s = gate_one(s, w, lone_four(x));
    gate_end(s, y);
}

/* One x over rows of one gate; out of line, where it may use registers that the loops over four
 * gates do without. */
static __attribute__((noinline)) void single_s8(const elstm_matrix_s8 *w, const int32_t *start,
                                                const int8_t *x, int32_t *y) {
    const size_t group_size = (size_t)w->quads * ELSTM_GROUP * 4;
    for (uint32_t group = 0; group < w->groups; ++group, y += ELSTM_GROUP) {
        group1_s8(w->weights + group * group_size, start, x, w->quads, y);
        if (start != NULL) start += ELSTM_GROUP;
    }
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int32_t *start = rescale == NULL ? y : NULL;
        if (w->gates != 4) {
            single_s8(w, start, x, y);
        } else {
            const int8_t *weights = w->weights;
            for (uint32_t at = 0; at < rows; at += 4 * ELSTM_GROUP) {
                weights = group4_s8(weights, start, x, w->quads, y + at);
                if (start != NULL) start += 4 * ELSTM_GROUP;
            }
        }
        if (rescale != NULL) rescale_s8(y, rescale->shift, rescale->bias, rows);
    }
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        single_s16(w, rescale == NULL ? y : NULL, x, y);
        if (rescale != NULL) rescale_s8(y, rescale->shift, rescale->bias, rows);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_neon = {
    .name = "neon",
    .align = 16,
    .enter_f32 = loops_enter_f32,
    .enter_s16 = loops_enter_s16,
    .leave_s8 = loops_leave_s8,
    .leave_s16 = loops_leave_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = NULL,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_neon_not_built;
#endif
