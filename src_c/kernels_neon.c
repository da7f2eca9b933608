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
#include "kernels_neon_tfl8.h"

/* A quad of x: its pairs, each again and again. */
typedef struct {
#if defined(__aarch64__)
    int8x16_t first, second;
#else
    int8x8_t first, second;
#endif
} quad_x;

#if defined(__aarch64__)

static inline quad_x quad_of(int16x8_t first, int16x8_t second) {
    return (quad_x){vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(second)};
}

static inline quad_x load_quad(const int8_t *x) {
    const int16x8x2_t v = vld2q_dup_s16((const void *)x);
    return quad_of(v.val[0], v.val[1]);
}

static inline void load_two_quads(const int8_t *x, quad_x *quad) {
    const int16x8x4_t v = vld4q_dup_s16((const void *)x);
    quad[0] = quad_of(v.val[0], v.val[1]);
    quad[1] = quad_of(v.val[2], v.val[3]);
}

static inline int8x8_t first_of(quad_x x) { return vget_low_s8(x.first); }

static inline int8x8_t second_of(quad_x x) { return vget_low_s8(x.second); }

static inline void load_two_quads_s16(const int16_t *x, int16x4_t *quad) {
    const int16x4x2_t v = vld1_s16_x2(x);
    quad[0] = v.val[0];
    quad[1] = v.val[1];
}

/* Eight rows in order. */
static inline int32x4x2_t in_order(int32x4_t even, int32x4_t odd) {
    return (int32x4x2_t){{vzip1q_s32(even, odd), vzip2q_s32(even, odd)}};
}

#else

static inline quad_x quad_of(int16x4_t first, int16x4_t second) {
    return (quad_x){vreinterpret_s8_s16(first), vreinterpret_s8_s16(second)};
}

static inline quad_x load_quad(const int8_t *x) {
    const int16x4x2_t v = vld2_dup_s16((const void *)x);
    return quad_of(v.val[0], v.val[1]);
}

static inline void load_two_quads(const int8_t *x, quad_x *quad) {
    const int16x4x4_t v = vld4_dup_s16((const void *)x);
    quad[0] = quad_of(v.val[0], v.val[1]);
    quad[1] = quad_of(v.val[2], v.val[3]);
}

static inline int8x8_t first_of(quad_x x) { return x.first; }

static inline int8x8_t second_of(quad_x x) { return x.second; }

static inline void load_two_quads_s16(const int16_t *x, int16x4_t *quad) {
    const int16x8_t v = vld1q_s16(x);
    quad[0] = vget_low_s16(v);
    quad[1] = vget_high_s16(v);
}

static inline int32x4x2_t in_order(int32x4_t even, int32x4_t odd) { return vzipq_s32(even, odd); }

#endif

/* A quad of 8 rows' weights is read as pairs of columns: the first pair and the second pair of the
 * rows 0 2 4 6, then of the rows 1 3 5 7. A row's two products of bytes meet in 16 bits, where
 * 2 * 128 * 127 fits, and pairs of these in 32: a register of even rows, one of odd ones. */

/* The next quad of 8 rows. */
static inline void rows8_s8(int32x4_t *sum, const int8_t **w, quad_x x) {
    const int16x4x4_t own = vld4_s16((const void *)*w);
    const int8x8_t even0 = vreinterpret_s8_s16(own.val[0]);
    const int8x8_t even1 = vreinterpret_s8_s16(own.val[1]);
    const int8x8_t odd0 = vreinterpret_s8_s16(own.val[2]);
    const int8x8_t odd1 = vreinterpret_s8_s16(own.val[3]);
    const int8x8_t a = first_of(x), b = second_of(x);
    *w = opaque(*w + 32);
    sum[0] = vpadalq_s16(sum[0], vmlal_s8(vmull_s8(even0, a), even1, b));
    sum[1] = vpadalq_s16(sum[1], vmlal_s8(vmull_s8(odd0, a), odd1, b));
}

/* The next quad of 16 rows for `xs` x; sum [xs][8], of which these are four. */
#if defined(__aarch64__)

static inline __attribute__((always_inline)) void rows16_s8(int32x4_t *sum, const int8_t **w,
                                                            const quad_x *x, int xs) {
    const int16x8x4_t own = vld4q_s16((const void *)*w);
    const int8x16_t even0 = vreinterpretq_s8_s16(own.val[0]);
    const int8x16_t even1 = vreinterpretq_s8_s16(own.val[1]);
    const int8x16_t odd0 = vreinterpretq_s8_s16(own.val[2]);
    const int8x16_t odd1 = vreinterpretq_s8_s16(own.val[3]);
    *w = opaque(*w + 64);
    for (int j = 0; j < xs; ++j, sum += 8) {
        const int8x8_t a = first_of(x[j]), b = second_of(x[j]);
        sum[0] =
            vpadalq_s16(sum[0], vmlal_s8(vmull_s8(vget_low_s8(even0), a), vget_low_s8(even1), b));
        sum[1] =
            vpadalq_s16(sum[1], vmlal_s8(vmull_s8(vget_low_s8(odd0), a), vget_low_s8(odd1), b));
        sum[2] = vpadalq_s16(sum[2],
                             vmlal_high_s8(vmull_high_s8(even0, x[j].first), even1, x[j].second));
        sum[3] =
            vpadalq_s16(sum[3], vmlal_high_s8(vmull_high_s8(odd0, x[j].first), odd1, x[j].second));
        *w = behind_s32(*w, sum);
    }
}

#else

static inline void rows16_s8(int32x4_t *sum, const int8_t **w, const quad_x *x, int xs) {
    (void)xs; /* 1 */
    rows8_s8(sum, w, *x);
    rows8_s8(sum + 2, w, *x);
}

#endif

static __attribute__((noinline)) void
dense_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += ELSTM_GROUP) {
        int32x4_t sum[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        for (uint32_t quad = 0; quad < quads; ++quad)
            rows8_s8(sum, &weights, load_quad(x + 4 * (size_t)quad));
        end8(in_order(sum[0], sum[1]), own, at, y);
    }
}

static inline __attribute__((always_inline)) void end_s8(int32x4_t *sum, elstm_rescale rescale,
                                                         size_t at, int32_t *y) {
    for (int k = 0; k < 8; k += 2) {
        const int32x4x2_t gate = in_order(sum[k], sum[k + 1]);
        sum[k] = gate.val[0];
        sum[k + 1] = gate.val[1];
    }
    if (rescale.bias == NULL)
        for (int k = 0; k < 8; ++k) sum[k] = vaddq_s32(sum[k], vld1q_s32(y + 4 * k));
    end(sum, rescale, at, y, 8);
}

static inline __attribute__((always_inline)) const int8_t *
group4_s8(const int8_t *w, elstm_rescale rescale, const int8_t *x, size_t x_stride, uint32_t quads,
          size_t at, int32_t *y, size_t rows, int xs) {
    int32x4_t sum[16];
    for (int k = 0; k < 8 * xs; ++k) sum[k] = vdupq_n_s32(0);
    for (; xs == 1 && quads >= 2; quads -= 2, x += 8) {
        quad_x v[2];
        load_two_quads(x, v);
        for (int q = 0; q < 2; ++q) {
            rows16_s8(sum, &w, v + q, 1);
            rows16_s8(sum + 4, &w, v + q, 1);
        }
    }
    for (; quads > 0; --quads, x += 4) {
        quad_x v[2];
        for (int j = 0; j < xs; ++j) v[j] = load_quad(x + (size_t)j * x_stride);
        rows16_s8(sum, &w, v, xs);
        rows16_s8(sum + 4, &w, v, xs);
    }
    end_s8(sum, rescale, at, y + at);
    if (xs == 2) end_s8(sum + 8, rescale, at, y + rows + at);
    return w;
}

/* 16-bit x: the weights of one column of 8 rows, widened, times one lane. */
#define COLUMN(lane)                                                                               \
    {                                                                                              \
        const int16x8_t wide = vmovl_s8(own.val[lane]);                                            \
        sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(wide), x, lane);                              \
        sum[1] = vmlal_lane_s16(sum[1], vget_high_s16(wide), x, lane);                             \
    }

/* The next quad of 8 rows. */
static inline void rows8_s16(int32x4_t *sum, const int8_t **w, int16x4_t x) {
    const int8x8x4_t own = vld4_s8(*w);
    *w = opaque(*w + 32);
    COLUMN(0)
    COLUMN(1)
    COLUMN(2)
    COLUMN(3)
}

#undef COLUMN

/* The next quad of 16 rows for `xs` x; sum [xs][8], of which these are four. */
#if defined(__aarch64__)

#define COLUMN(lane)                                                                               \
    {                                                                                              \
        const int16x8_t low = vmovl_s8(vget_low_s8(own.val[lane]));                                \
        const int16x8_t high = vmovl_high_s8(own.val[lane]);                                       \
        for (int j = 0; j < xs; ++j) {                                                             \
            int32x4_t *mine = sum + 8 * j;                                                         \
            mine[0] = vmlal_lane_s16(mine[0], vget_low_s16(low), x[j], lane);                      \
            mine[1] = vmlal_high_lane_s16(mine[1], low, x[j], lane);                               \
            mine[2] = vmlal_lane_s16(mine[2], vget_low_s16(high), x[j], lane);                     \
            mine[3] = vmlal_high_lane_s16(mine[3], high, x[j], lane);                              \
        }                                                                                          \
    }

static inline __attribute__((always_inline)) void rows16_s16(int32x4_t *sum, const int8_t **w,
                                                             const int16x4_t *x, int xs) {
    const int8x16x4_t own = vld4q_s8(*w);
    *w = opaque(*w + 64);
    COLUMN(0)
    COLUMN(1)
    COLUMN(2)
    COLUMN(3)
    *w = behind_s32(*w, sum + 8 * (xs - 1));
}

#undef COLUMN

#else

static inline void rows16_s16(int32x4_t *sum, const int8_t **w, const int16x4_t *x, int xs) {
    (void)xs; /* 1 */
    rows8_s16(sum, w, *x);
    rows8_s16(sum + 2, w, *x);
}

#endif

static __attribute__((noinline)) void
dense_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x, int32_t *y) {
    const elstm_rescale own = rescale_of(rescale);
    const size_t rows = elstm_rows_s8(w);
    const uint32_t quads = w->quads;
    const int8_t *weights = w->weights;
    for (size_t at = 0; at < rows; at += ELSTM_GROUP) {
        int32x4_t sum[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        for (uint32_t quad = 0; quad < quads; ++quad)
            rows8_s16(sum, &weights, vld1_s16(x + 4 * (size_t)quad));
        end8((int32x4x2_t){{sum[0], sum[1]}}, own, at, y);
    }
}

static inline __attribute__((always_inline)) const int8_t *
group4_s16(const int8_t *w, const int32_t *surplus, elstm_rescale rescale, const int16_t *x,
           size_t x_stride, uint32_t quads, size_t at, int32_t *y, size_t rows, int xs) {
    int32x4_t sum[16];
    (void)surplus; /* none */
    for (int j = 0; j < xs; ++j) start(sum + 8 * j, rescale, y + (size_t)j * rows + at, 8);
    for (; xs == 1 && quads >= 2; quads -= 2, x += 8) {
        int16x4_t v[2];
        load_two_quads_s16(x, v);
        for (int q = 0; q < 2; ++q) {
            rows16_s16(sum, &w, v + q, 1);
            rows16_s16(sum + 4, &w, v + q, 1);
        }
    }
    for (; quads > 0; --quads, x += 4) {
        int16x4_t v[2];
        for (int j = 0; j < xs; ++j) v[j] = vld1_s16(x + (size_t)j * x_stride);
        rows16_s16(sum, &w, v, xs);
        rows16_s16(sum + 4, &w, v, xs);
    }
    for (int j = 0; j < xs; ++j) end(sum + 8 * j, rescale, at, y + (size_t)j * rows + at, 8);
    return w;
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_neon = {
    .name = "neon",
    .align = 16,
    .enter_f32 = enter_f32,
    .enter_s16 = enter_s16,
    .leave_s8 = leave_s8,
    .leave_s16 = leave_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = NULL,
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
typedef int elstm_kernels_neon_not_built;
#endif
