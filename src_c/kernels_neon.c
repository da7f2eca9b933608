/* 64-bit and 32-bit ARM with NEON (Advanced SIMD). */
#include "kernels.h"

#if defined(ELSTM_BUILDS_NEON)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("neon"))), apply_to = function)
#else
#pragma GCC push_options
#if defined(__arm__) && !defined(__ARM_NEON)
#pragma GCC target("arch=armv7-a+simd")
#endif
#endif

#include <arm_neon.h>

#define ELSTM_NEON_RDMA 0
#include "kernels_neon.h"

/* Pairs of columns: products of two quads meet in 16 bits (2 * 128 * 127 fits), then pairs of them
 * in 32. `gates` chains of 8 rows. */
static inline __attribute__((always_inline)) void chains_s8(const int8_t *w, size_t step,
                                                            const int32_t *start, const int8_t *x,
                                                            uint32_t quads, int32_t *y, int gates) {
    int32x4_t sum[16];
    uint32_t quad = 0;
    for (int k = 0; k < 4 * gates; ++k) sum[k] = vdupq_n_s32(0);
    for (; quad + 2 <= quads; quad += 2, x += 8, w += 2 * step) {
        const int32x2_t both = vreinterpret_s32_s8(vld1_s8(x));
        const int8x8_t a = vreinterpret_s8_s32(vdup_lane_s32(both, 0));
        const int8x8_t b = vreinterpret_s8_s32(vdup_lane_s32(both, 1));
        for (int k = 0; k < 4 * gates; ++k) {
            const int16x8_t product = vmull_s8(vld1_s8(w + 8 * k), a);
            sum[k] = vpadalq_s16(sum[k], vmlal_s8(product, vld1_s8(w + step + 8 * k), b));
        }
    }
    if (quad < quads) {
        int32_t bytes;
        memcpy(&bytes, x, sizeof bytes);
        const int8x8_t a = vreinterpret_s8_s32(vdup_n_s32(bytes));
        for (int k = 0; k < 4 * gates; ++k)
            sum[k] = vpadalq_s16(sum[k], vmull_s8(vld1_s8(w + 8 * k), a));
    }
    for (int k = 0; k < 2 * gates; ++k) {
        const int32x4_t a = sum[2 * k], b = sum[2 * k + 1];
        const int32x4_t rows = vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)),
                                            vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
        vst1q_s32(y + 4 * k, start == NULL ? rows : vaddq_s32(rows, vld1q_s32(start + 4 * k)));
    }
}

static void matmul_s8(const elstm_matrix_s8 *w, const int32_t *init, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    const size_t group_size = (size_t)w->quads * lanes * 4;
    const int in_place = init == y;
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int32_t *start = in_place ? y : init;
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes, weights += group_size) {
            const int32_t *own = start == NULL ? NULL : start + at;
            if (w->gates == 4)
                chains_s8(weights, 128, own, x, w->quads, y + at, 4);
            else
                chains_s8(weights, 32, own, x, w->quads, y + at, 1);
        }
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_neon = {
    .name = "neon",
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = NULL,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .rescale_s8 = rescale_s8,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_neon_not_built;
#endif
