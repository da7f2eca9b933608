/* 64-bit ARM with the dot product instructions (ARMv8.2 and later). */
#include "kernels.h"

#if defined(ELSTM_BUILDS_NEON_DOTPROD)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=armv8.2-a+dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include <arm_neon.h>

#define ELSTM_NEON_RDMA 1 /* part of ARMv8.1, which the dot product needs */
#include "kernels_neon.h"

static inline int8x16_t four(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
}

static inline int8x16x4_t next64(const int8_t **w) {
    const int8x16x4_t weights = vld1q_s8_x4(*w);
    *w = opaque(*w + 64);
    return weights;
}

/* One group of four gates: eight chains of four rows, four quads of x in one register. */
static inline const int8_t *group4_s8(const int8_t *w, const int32_t *start, const int8_t *x,
                                      uint32_t quads, int32_t *y) {
    int32x4_t sum[8];
    for (int k = 0; k < 8; ++k) sum[k] = start == NULL ? vdupq_n_s32(0) : vld1q_s32(start + 4 * k);
    for (; quads >= 4; quads -= 4, x += 16) {
        const int8x16_t v = vld1q_s8(x);
        for (int half = 0; half < 2; ++half) {
            const int8x16x4_t own = next64(&w);
            for (int k = 0; k < 4; ++k)
                sum[4 * half + k] = vdotq_laneq_s32(sum[4 * half + k], own.val[k], v, 0);
        }
        for (int half = 0; half < 2; ++half) {
            const int8x16x4_t own = next64(&w);
            for (int k = 0; k < 4; ++k)
                sum[4 * half + k] = vdotq_laneq_s32(sum[4 * half + k], own.val[k], v, 1);
        }
        for (int half = 0; half < 2; ++half) {
            const int8x16x4_t own = next64(&w);
            for (int k = 0; k < 4; ++k)
                sum[4 * half + k] = vdotq_laneq_s32(sum[4 * half + k], own.val[k], v, 2);
        }
        for (int half = 0; half < 2; ++half) {
            const int8x16x4_t own = next64(&w);
            for (int k = 0; k < 4; ++k)
                sum[4 * half + k] = vdotq_laneq_s32(sum[4 * half + k], own.val[k], v, 3);
        }
    }
    for (; quads > 0; --quads, x += 4) {
        const int8x16_t v = four(x);
        for (int half = 0; half < 2; ++half) {
            const int8x16x4_t own = next64(&w);
            for (int k = 0; k < 4; ++k)
                sum[4 * half + k] = vdotq_s32(sum[4 * half + k], own.val[k], v);
        }
    }
    for (int k = 0; k < 8; ++k) vst1q_s32(y + 4 * k, sum[k]);
    return w;
}

/* One group of one row a unit: even and odd quads apart. */
static inline void group1_s8(const int8_t *w, const int32_t *start, const int8_t *x, uint32_t quads,
                             int32_t *y) {
    const int32x4_t zero = vdupq_n_s32(0);
    int32x4_t even[2] = {zero, zero}, odd[2] = {zero, zero};
    if (start != NULL) {
        even[0] = vld1q_s32(start);
        even[1] = vld1q_s32(start + 4);
    }
    for (; quads >= 4; quads -= 4, x += 16, w += 128) {
        const int8x16_t v = vld1q_s8(x);
        const int8x16x4_t a = vld1q_s8_x4(w), b = vld1q_s8_x4(w + 64);
        for (int k = 0; k < 2; ++k) {
            even[k] = vdotq_laneq_s32(even[k], a.val[k], v, 0);
            odd[k] = vdotq_laneq_s32(odd[k], a.val[2 + k], v, 1);
            even[k] = vdotq_laneq_s32(even[k], b.val[k], v, 2);
            odd[k] = vdotq_laneq_s32(odd[k], b.val[2 + k], v, 3);
        }
    }
    for (; quads > 0; --quads, x += 4, w += 32)
        for (int k = 0; k < 2; ++k) even[k] = vdotq_s32(even[k], vld1q_s8(w + 16 * k), four(x));
    for (int k = 0; k < 2; ++k) vst1q_s32(y + 4 * k, vaddq_s32(even[k], odd[k]));
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

/* A 16-bit x as 256 high + low, both signed bytes: high = (x + 128) >> 8 leaves its byte from 32640
 * up. */
static int splits(const int16_t *x, uint32_t quads) {
    int16x8_t most = vdupq_n_s16(-32768);
    for (; quads >= 2; quads -= 2, x += 8) most = vmaxq_s16(most, vld1q_s16(x));
    if (quads != 0) most = vmaxq_s16(most, vcombine_s16(vld1_s16(x), vld1_s16(x)));
    return vmaxvq_s16(most) < 32640;
}

/* Low bytes of two quads, then their high ones. */
static inline int8x16_t split(int16x8_t x) { return vrshrn_high_n_s16(vmovn_s16(x), x, 8); }

/* The sums of two gates over low and over high bytes. */
typedef struct {
    int32x4x4_t low, high;
} split_sums;

static inline split_sums split_start(const int32_t *start) {
    const int32x4_t zero = vdupq_n_s32(0);
    split_sums s = {{{zero, zero, zero, zero}}, {{zero, zero, zero, zero}}};
    if (start != NULL)
        for (int k = 0; k < 4; ++k) s.low.val[k] = vld1q_s32(start + 4 * k);
    return s;
}

static inline split_sums split_first(split_sums s, int8x16x4_t w, int8x16_t x) {
    for (int k = 0; k < 4; ++k) {
        s.low.val[k] = vdotq_laneq_s32(s.low.val[k], w.val[k], x, 0);
        s.high.val[k] = vdotq_laneq_s32(s.high.val[k], w.val[k], x, 2);
    }
    return s;
}

static inline split_sums split_second(split_sums s, int8x16x4_t w, int8x16_t x) {
    for (int k = 0; k < 4; ++k) {
        s.low.val[k] = vdotq_laneq_s32(s.low.val[k], w.val[k], x, 1);
        s.high.val[k] = vdotq_laneq_s32(s.high.val[k], w.val[k], x, 3);
    }
    return s;
}

static inline void split_end(split_sums s, int32_t *y) {
    for (int k = 0; k < 4; ++k)
        vst1q_s32(y + 4 * k, vaddq_s32(s.low.val[k], vshlq_n_s32(s.high.val[k], 8)));
}

static inline const int8_t *group4_s16(const int8_t *w, const int32_t *start, const int16_t *x,
                                       uint32_t quads, int32_t *y) {
    split_sums i_f = split_start(start), g_o = split_start(start == NULL ? NULL : start + 16);
    for (; quads >= 2; quads -= 2, x += 8) {
        const int8x16_t v = split(vld1q_s16(x));
        i_f = split_first(i_f, next64(&w), v);
        g_o = split_first(g_o, next64(&w), v);
        i_f = split_second(i_f, next64(&w), v);
        g_o = split_second(g_o, next64(&w), v);
    }
    if (quads != 0) {
        const int8x16_t v = split(vcombine_s16(vld1_s16(x), vdup_n_s16(0)));
        i_f = split_first(i_f, next64(&w), v);
        g_o = split_first(g_o, next64(&w), v);
    }
    split_end(i_f, y);
    split_end(g_o, y + 16);
    return w;
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int32_t *start = rescale == NULL ? y : NULL;
        if (w->gates != 4 || !splits(x, w->quads)) {
            single_s16(w, start, x, y);
        } else {
            const int8_t *weights = w->weights;
            for (uint32_t at = 0; at < rows; at += 4 * ELSTM_GROUP) {
                weights = group4_s16(weights, start, x, w->quads, y + at);
                if (start != NULL) start += 4 * ELSTM_GROUP;
            }
        }
        if (rescale != NULL) rescale_s8(y, rescale->shift, rescale->bias, rows);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_neon_dotprod = {
    .name = "neon_dotprod",
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
typedef int elstm_kernels_neon_dotprod_not_built;
#endif
