/* Private: what the x86 sets share, compiled inside each with that set's instructions: the includer
 * has chosen its target and included <immintrin.h>. */
#ifndef ELSTM_KERNELS_X86_H
#define ELSTM_KERNELS_X86_H

#include "activations.h"
#include "kernels.h"

/* For functions whose last arguments are constants: each call is a loop of its own. */
#define ELSTM_INLINE static inline __attribute__((always_inline))

/* Before every loop over registers: left to itself gcc 12 keeps arrays of them in memory. */
#if defined(__clang__)
#define ELSTM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ELSTM_UNROLL _Pragma("GCC unroll 32")
#endif

/* What the cell of two groups wants beside it, as they pack 32-bit rows of both to 16 bits without
 * sorting: a register of one gate is units 0 ... 3 of the first group, of the second, units 4 ... 7
 * of the first, of the second. */
typedef struct {
    int32_t shift[2][4 * ELSTM_GROUP];            /* in row order, counted from q->up */
    int16_t multiplier[4][2][2][ELSTM_GROUP / 2]; /* [gate][half][group][unit of the half] */
} elstm_cell_x86;

/* A lone last group stands in for the second of its pair. */
static inline void elstm_prepare_lstm_x86(elstm_requantize *q, uint32_t groups, int32_t *prepared) {
    elstm_cell_x86 *cells = (elstm_cell_x86 *)(void *)prepared;
    q->up = 0;
    for (uint32_t r = 0; r < groups * 4 * ELSTM_GROUP; ++r)
        if (q->shift[r] < 0) q->up = 4;
    for (uint32_t k = 0; k < groups; k += 2) {
        for (uint32_t j = 0; j < 2; ++j) {
            const uint32_t first = (k + j < groups ? k + j : k) * 4 * ELSTM_GROUP;
            for (uint32_t r = 0; r < 4 * ELSTM_GROUP; ++r) {
                const uint32_t gate = r / 8, half = r / 4 % 2;
                cells[k / 2].shift[j][r] = q->shift[first + r] + (int32_t)q->up;
                cells[k / 2].multiplier[gate][half][j][r % 4] = q->multiplier[first + r];
            }
        }
    }
    q->prepared = prepared;
}

/* c[0] + c[1] u */
static inline __m256 linear8(const float *c, __m256 u) {
    return _mm256_fmadd_ps(_mm256_set1_ps(c[1]), u, _mm256_set1_ps(c[0]));
}

/* tanh of registers side by side: each alone is one chain of latencies. Pairs of coefficients
 * first, for chains half as long as Horner's. */
ELSTM_INLINE void tanh_8(__m256 *x, int count) {
    const float *p = elstm_tanh_p, *q = elstm_tanh_q;
    __m256 u[2], u2[2], over[2], under[2];
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        x[j] = _mm256_max_ps(x[j], _mm256_set1_ps(-ELSTM_TANH_CLAMP));
        x[j] = _mm256_min_ps(x[j], _mm256_set1_ps(ELSTM_TANH_CLAMP));
        u[j] = _mm256_mul_ps(x[j], x[j]);
        u2[j] = _mm256_mul_ps(u[j], u[j]);
    }
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        over[j] = linear8(p + 4, u[j]);
        over[j] = _mm256_fmadd_ps(_mm256_set1_ps(p[6]), u2[j], over[j]);
        over[j] = _mm256_fmadd_ps(over[j], u2[j], linear8(p + 2, u[j]));
        over[j] = _mm256_fmadd_ps(over[j], u2[j], linear8(p, u[j]));
        under[j] = _mm256_fmadd_ps(linear8(q + 2, u[j]), u2[j], linear8(q, u[j]));
    }
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) x[j] = _mm256_div_ps(_mm256_mul_ps(x[j], over[j]), under[j]);
}

/* How sums of 8 rows go on to y: sh(sum, k) is left by max(-k, 0), then right by max(k, 0). */
static inline void end8(__m256i sum, const elstm_rescale *rescale, size_t at, int32_t *y) {
    if (rescale == NULL) {
        sum = _mm256_add_epi32(sum, _mm256_loadu_si256((const __m256i *)y));
    } else {
        const __m256i zero = _mm256_setzero_si256();
        const __m256i k =
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(rescale->shift + at)));
        sum = _mm256_sllv_epi32(sum, _mm256_max_epi32(_mm256_sub_epi32(zero, k), zero));
        sum = _mm256_add_epi32(_mm256_srav_epi32(sum, _mm256_max_epi32(k, zero)),
                               _mm256_loadu_si256((const __m256i *)(rescale->bias + at)));
    }
    _mm256_storeu_si256((__m256i *)y, sum);
}

/* Two groups of int16, or the first alone. */
static inline void store16(int16_t *p, __m256i v, int lone) {
    if (lone)
        _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(v));
    else
        _mm256_storeu_si256((__m256i *)p, v);
}

#endif
