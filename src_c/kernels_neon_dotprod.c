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
#include "kernels_neon_tfl8.h"

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

/* The next column quad of 32 rows, `lane` of each x's four. */
#define QUAD(lane)                                                                                 \
    for (int v = 0; v < 8; v += 4) {                                                               \
        const int8x16x4_t own = next64(&w);                                                        \
        for (int j = 0; j < xs; ++j)                                                               \
            for (int k = 0; k < 4; ++k)                                                            \
                sum[j][v + k] = vdotq_laneq_s32(sum[j][v + k], own.val[k], a[j], lane);            \
        w = behind_s32(w, sum[xs - 1] + v);                                                        \
    }

static inline __attribute__((always_inline)) const int8_t *
group4_s8(const int8_t *w, elstm_rescale rescale, const int8_t *x, size_t x_stride, uint32_t quads,
          size_t at, int32_t *y, size_t rows, int xs) {
    int32x4_t sum[2][8];
    for (int j = 0; j < xs; ++j) start(sum[j], rescale, y + (size_t)j * rows + at, 8);
    int8x16_t a[2];
    if (xs == 1) {
        for (; quads >= 8; quads -= 8, x += 32) {
            const int8x16x2_t both = vld1q_s8_x2(x);
            a[0] = both.val[0];
            QUAD(0)
            QUAD(1)
            QUAD(2)
            QUAD(3)
            a[0] = both.val[1];
            QUAD(0)
            QUAD(1)
            QUAD(2)
            QUAD(3)
        }
    }
    for (; quads >= 4; quads -= 4, x += 16) {
        for (int j = 0; j < xs; ++j) a[j] = vld1q_s8(x + (size_t)j * x_stride);
        QUAD(0)
        QUAD(1)
        QUAD(2)
        QUAD(3)
    }
    for (; quads > 0; --quads, x += 4) {
        for (int j = 0; j < xs; ++j) a[j] = four(x + (size_t)j * x_stride);
        QUAD(0)
    }
    for (int j = 0; j < xs; ++j) end(sum[j], rescale, at, y + (size_t)j * rows + at, 8);
    return w;
}

#undef QUAD

/* Even and odd quads apart. */
static __attribute__((noinline)) void
dense_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x, int32_t *y) {
    const elstm_rescale ending = rescale_of(rescale);
    const int32x4_t zero = vdupq_n_s32(0);
    const size_t rows = elstm_rows_s8(w);
    const int8_t *own = w->weights;
    for (size_t at = 0; at < rows; at += ELSTM_GROUP) {
        int32x4x2_t even = {{zero, zero}}, odd = even;
        const int8_t *v = x;
        uint32_t quads = w->quads;
        for (; quads >= 4; quads -= 4, v += 16) {
            const int8x16_t a = vld1q_s8(v);
            const int8x16x4_t first = next64(&own), second = next64(&own);
            for (int k = 0; k < 2; ++k) {
                even.val[k] = vdotq_laneq_s32(even.val[k], first.val[k], a, 0);
                odd.val[k] = vdotq_laneq_s32(odd.val[k], first.val[2 + k], a, 1);
                even.val[k] = vdotq_laneq_s32(even.val[k], second.val[k], a, 2);
                odd.val[k] = vdotq_laneq_s32(odd.val[k], second.val[2 + k], a, 3);
            }
        }
        for (; quads > 0; --quads, v += 4, own += 32)
            for (int k = 0; k < 2; ++k)
                even.val[k] = vdotq_s32(even.val[k], vld1q_s8(own + 16 * k), four(v));
        end8(add8(even, odd), ending, at, y);
    }
}

/* A 16-bit x as 256 high + low + 128, both signed bytes; the last part is `surplus`. */
static void prepare_s8(const elstm_matrix_s8 *w, int32_t *surplus) {
    const uint32_t lanes = w->gates * ELSTM_GROUP;
    const int8_t *own = w->weights;
    for (uint32_t group = 0; group < w->groups; ++group, surplus += lanes) {
        for (uint32_t r = 0; r < lanes; ++r) surplus[r] = 0;
        for (uint32_t quad = 0; quad < w->quads; ++quad)
            for (uint32_t r = 0; r < lanes; ++r, own += 4)
                surplus[r] += 128 * (own[0] + own[1] + own[2] + own[3]);
    }
}

typedef struct {
    int8x16_t low, high;
} split_x;

static inline split_x split(int16x8_t a, int16x8_t b) {
    const int8x16_t u = vreinterpretq_s8_s16(a), v = vreinterpretq_s8_s16(b);
    return (split_x){veorq_s8(vuzp1q_s8(u, v), vdupq_n_s8(-128)), vuzp2q_s8(u, v)};
}

/* Four quads. */
static inline split_x split16(const int16_t *x) {
    const int16x8x2_t v = vld1q_s16_x2(x);
    return split(v.val[0], v.val[1]);
}

/* One. */
static inline split_x split4(const int16_t *x) {
    const int16x8_t v = vcombine_s16(vld1_s16(x), vdup_n_s16(0));
    return split(v, v);
}

/* The next column quad of 32 rows, `lane` of x's four. */
#define QUAD(lane)                                                                                 \
    for (int v = 0; v < 8; v += 4) {                                                               \
        const int8x16x4_t own = next64(&w);                                                        \
        for (int k = 0; k < 4; ++k) {                                                              \
            low[v + k] = vdotq_laneq_s32(low[v + k], own.val[k], a.low, lane);                     \
            high[v + k] = vdotq_laneq_s32(high[v + k], own.val[k], a.high, lane);                  \
        }                                                                                          \
        w = behind_s32(behind_s32(w, low + v), high + v);                                          \
    }

/* All registers serve one x: sixteen chains. */
static inline __attribute__((always_inline)) const int8_t *
lone4_s16(const int8_t *w, const int32_t *surplus, elstm_rescale rescale, const int16_t *x,
          uint32_t quads, size_t at, int32_t *y) {
    int32x4_t low[8], high[8];
    for (int k = 0; k < 8; ++k) {
        low[k] = vld1q_s32(surplus + at + 4 * (size_t)k);
        high[k] = vdupq_n_s32(0);
    }
    for (; quads >= 4; quads -= 4, x += 16) {
        const split_x a = split16(x);
        QUAD(0)
        QUAD(1)
        QUAD(2)
        QUAD(3)
    }
    for (; quads > 0; --quads, x += 4) {
        const split_x a = split4(x);
        QUAD(0)
    }
    const int32x4_t unit = vdupq_n_s32(256);
    for (int k = 0; k < 8; ++k) low[k] = vmlaq_s32(low[k], high[k], unit);
    if (rescale.bias == NULL)
        for (int k = 0; k < 8; ++k) low[k] = vaddq_s32(low[k], vld1q_s32(y + 4 * k));
    end(low, rescale, at, y, 8);
    return w;
}

#undef QUAD

/* The second x finds the group's weights in the first cache. */
static inline __attribute__((always_inline)) const int8_t *
group4_s16(const int8_t *w, const int32_t *surplus, elstm_rescale rescale, const int16_t *x,
           size_t x_stride, uint32_t quads, size_t at, int32_t *y, size_t rows, int xs) {
    if (xs == 2) lone4_s16(w, surplus, rescale, x + x_stride, quads, at, y + rows + at);
    return lone4_s16(w, surplus, rescale, x, quads, at, y + at);
}

static __attribute__((noinline)) void
dense_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x, int32_t *y) {
    const elstm_rescale ending = rescale_of(rescale);
    const int32x4_t zero = vdupq_n_s32(0), unit = vdupq_n_s32(256);
    const size_t rows = elstm_rows_s8(w);
    const int8_t *own = w->weights;
    for (size_t at = 0; at < rows; at += ELSTM_GROUP) {
        int32x4x2_t low = load8(w->surplus + at), high = {{zero, zero}};
        const int16_t *v = x;
        uint32_t quads = w->quads;
        for (; quads >= 4; quads -= 4, v += 16) {
            const split_x a = split16(v);
            const int8x16x4_t first = next64(&own), second = next64(&own);
            for (int k = 0; k < 2; ++k) {
                low.val[k] = vdotq_laneq_s32(low.val[k], first.val[k], a.low, 0);
                high.val[k] = vdotq_laneq_s32(high.val[k], first.val[k], a.high, 0);
                low.val[k] = vdotq_laneq_s32(low.val[k], first.val[2 + k], a.low, 1);
                high.val[k] = vdotq_laneq_s32(high.val[k], first.val[2 + k], a.high, 1);
                low.val[k] = vdotq_laneq_s32(low.val[k], second.val[k], a.low, 2);
                high.val[k] = vdotq_laneq_s32(high.val[k], second.val[k], a.high, 2);
                low.val[k] = vdotq_laneq_s32(low.val[k], second.val[2 + k], a.low, 3);
                high.val[k] = vdotq_laneq_s32(high.val[k], second.val[2 + k], a.high, 3);
            }
        }
        for (; quads > 0; --quads, v += 4, own += 32) {
            const split_x a = split4(v);
            for (int k = 0; k < 2; ++k) {
                const int8x16_t weights = vld1q_s8(own + 16 * k);
                low.val[k] = vdotq_laneq_s32(low.val[k], weights, a.low, 0);
                high.val[k] = vdotq_laneq_s32(high.val[k], weights, a.high, 0);
            }
        }
        for (int k = 0; k < 2; ++k) low.val[k] = vmlaq_s32(low.val[k], high.val[k], unit);
        end8(low, ending, at, y);
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
    .enter_f32 = enter_f32,
    .enter_s16 = enter_s16,
    .leave_s8 = leave_s8,
    .leave_s16 = leave_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = prepare_s8,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .lstm_tfl8 = tfl8_lstm,
    .tanh_s16 = tanh_s16,
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_neon_dotprod_not_built;
#endif
