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

/* `gates` chains of 8 rows. */
static inline __attribute__((always_inline)) void chains_s8(const int8_t *w, size_t step,
                                                            const int32_t *start, const int8_t *x,
                                                            uint32_t quads, int32_t *y, int gates) {
    int32x4_t sum[8];
    for (int k = 0; k < 2 * gates; ++k)
        sum[k] = start == NULL ? vdupq_n_s32(0) : vld1q_s32(start + 4 * k);
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += step) {
        int32_t bytes;
        memcpy(&bytes, x, sizeof bytes);
        const int8x16_t v = vreinterpretq_s8_s32(vdupq_n_s32(bytes));
        for (int k = 0; k < 2 * gates; ++k) sum[k] = vdotq_s32(sum[k], vld1q_s8(w + 16 * k), v);
    }
    for (int k = 0; k < 2 * gates; ++k) vst1q_s32(y + 4 * k, sum[k]);
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

const elstm_kernels elstm_kernels_neon_dotprod = {
    .name = "neon_dotprod",
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
typedef int elstm_kernels_neon_dotprod_not_built;
#endif
