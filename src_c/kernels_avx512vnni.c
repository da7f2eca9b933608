/* x86-64 with AVX-512 F, BW, DQ, VL and VNNI. */
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))),             \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")
#endif

#include <immintrin.h>

#include "kernels_loops.h"

/* ---- f32 ---- */

static inline __m512 tanh16(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-ELSTM_TANH_CLAMP));
    x = _mm512_min_ps(x, _mm512_set1_ps(ELSTM_TANH_CLAMP));
    const __m512 u = _mm512_mul_ps(x, x);
    __m512 p = _mm512_set1_ps(elstm_tanh_p[6]), q = _mm512_set1_ps(elstm_tanh_q[3]);
    for (int k = 5; k >= 0; --k) p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(elstm_tanh_p[k]));
    for (int k = 2; k >= 0; --k) q = _mm512_fmadd_ps(q, u, _mm512_set1_ps(elstm_tanh_q[k]));
    return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

static inline __m512 sigmoid16(__m512 x) {
    const __m512 half = _mm512_set1_ps(0.5f);
    return _mm512_fmadd_ps(half, tanh16(_mm512_mul_ps(half, x)), half);
}

/* One group of four gates is two registers: i f and g o. Even and odd columns of two column pairs
 * apart. */
static inline void group4(const float *w, const float *start, const float *x, uint32_t columns,
                          float *y) {
    __m512 sum[4][2];
    uint32_t column = 0;
    for (int g = 0; g < 2; ++g) {
        sum[0][g] = start == NULL ? _mm512_setzero_ps() : _mm512_loadu_ps(start + 16 * g);
        for (int k = 1; k < 4; ++k) sum[k][g] = _mm512_setzero_ps();
    }
    for (; column + 4 <= columns; column += 4, w += 128) {
        for (int k = 0; k < 4; ++k) {
            const __m512 a = _mm512_set1_ps(x[column + (uint32_t)k]);
            sum[k][0] = _mm512_fmadd_ps(_mm512_loadu_ps(w + 32 * k), a, sum[k][0]);
            sum[k][1] = _mm512_fmadd_ps(_mm512_loadu_ps(w + 32 * k + 16), a, sum[k][1]);
        }
    }
    for (; column < columns; ++column, w += 32) {
        const __m512 a = _mm512_set1_ps(x[column]);
        sum[0][0] = _mm512_fmadd_ps(_mm512_loadu_ps(w), a, sum[0][0]);
        sum[0][1] = _mm512_fmadd_ps(_mm512_loadu_ps(w + 16), a, sum[0][1]);
    }
    for (int g = 0; g < 2; ++g)
        _mm512_storeu_ps(y + 16 * g, _mm512_add_ps(_mm512_add_ps(sum[0][g], sum[1][g]),
                                                   _mm512_add_ps(sum[2][g], sum[3][g])));
}

/* One group of one row a unit: column pairs fill a register. */
static inline void group1(const float *w, const float *start, const float *x, uint32_t columns,
                          float *y) {
    __m256 sum[4];
    uint32_t column = 0;
    sum[0] = start == NULL ? _mm256_setzero_ps() : _mm256_loadu_ps(start);
    for (int k = 1; k < 4; ++k) sum[k] = _mm256_setzero_ps();
    for (; column + 4 <= columns; column += 4, w += 32)
        for (int k = 0; k < 4; ++k)
            sum[k] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * k),
                                     _mm256_set1_ps(x[column + (uint32_t)k]), sum[k]);
    for (; column < columns; ++column, w += 8)
        sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(w), _mm256_set1_ps(x[column]), sum[0]);
    _mm256_storeu_ps(y,
                     _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

/* Four x at a time over one group of four gates, so that weights are loaded once for four. */
static inline void group4_x4(const float *w, const float *const start[4], const float *x,
                             size_t x_stride, uint32_t columns, float *y, size_t rows) {
    __m512 sum[4][2];
    for (int k = 0; k < 4; ++k)
        for (int g = 0; g < 2; ++g)
            sum[k][g] = start[k] == NULL ? _mm512_setzero_ps() : _mm512_loadu_ps(start[k] + 16 * g);
    for (uint32_t column = 0; column < columns; ++column, w += 32) {
        const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
        for (int k = 0; k < 4; ++k) {
            const __m512 a = _mm512_set1_ps(x[(size_t)k * x_stride + column]);
            sum[k][0] = _mm512_fmadd_ps(w0, a, sum[k][0]);
            sum[k][1] = _mm512_fmadd_ps(w1, a, sum[k][1]);
        }
    }
    for (int k = 0; k < 4; ++k)
        for (int g = 0; g < 2; ++g) _mm512_storeu_ps(y + (size_t)k * rows + 16 * g, sum[k][g]);
}

static void matmul_f32(const elstm_matrix_f32 *w, const float *init, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_f32(w);
    const size_t group_size = (size_t)w->columns * lanes;
    const int in_place = init == y;
    uint32_t k = 0;
    if (w->gates == 4) {
        for (; k + 4 <= count; k += 4, x += 4 * x_stride, y += 4 * (size_t)rows) {
            for (uint32_t group = 0; group < w->groups; ++group) {
                const size_t at = (size_t)group * lanes;
                const float *start[4];
                for (int j = 0; j < 4; ++j)
                    start[j] = in_place       ? y + (size_t)j * rows + at
                               : init == NULL ? NULL
                                              : init + at;
                group4_x4(w->weights + group * group_size, start, x, x_stride, w->columns, y + at,
                          rows);
            }
        }
    }
    for (; k < count; ++k, x += x_stride, y += rows) {
        const float *start = in_place ? y : init;
        const float *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes, weights += group_size) {
            const float *own = start == NULL ? NULL : start + at;
            if (w->gates == 4)
                group4(weights, own, x, w->columns, y + at);
            else
                group1(weights, own, x, w->columns, y + at);
        }
    }
}

static void lstm_f32(const float *z, float *c, float *h, float *y, uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group, z += 32, c += 8, h += 8, y += 8) {
        /* i f in one register, g o in the other; tanh(g) = 2 sigmoid(2 g) - 1 would cost accuracy,
         * so g is scaled in and out instead: sigmoid(x) = 0.5 + 0.5 tanh(x / 2) */
        const __m512 half = _mm512_set1_ps(0.5f);
        const __m512 in_scale = _mm512_insertf32x8(half, _mm256_set1_ps(1.0f), 0);
        const __m512 out_offset = _mm512_insertf32x8(half, _mm256_setzero_ps(), 0);
        const __m512 i_f = sigmoid16(_mm512_loadu_ps(z));
        const __m512 g_o = _mm512_fmadd_ps(
            in_scale, tanh16(_mm512_mul_ps(in_scale, _mm512_loadu_ps(z + 16))), out_offset);
        const __m256 i = _mm512_castps512_ps256(i_f), f = _mm512_extractf32x8_ps(i_f, 1);
        const __m256 g = _mm512_castps512_ps256(g_o), o = _mm512_extractf32x8_ps(g_o, 1);
        __m256 next = _mm256_fmadd_ps(f, _mm256_loadu_ps(c), _mm256_mul_ps(i, g));
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), next);
        next = _mm256_maskz_mov_ps(_mm256_cmp_ps_mask(size, _mm256_set1_ps(ELSTM_TINY), _CMP_GE_OQ),
                                   next);
        const __m256 out =
            _mm256_mul_ps(o, _mm512_castps512_ps256(tanh16(_mm512_castps256_ps512(next))));
        _mm256_storeu_ps(c, next);
        _mm256_storeu_ps(h, out);
        _mm256_storeu_ps(y, out);
    }
}

static void tanh_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = (__mmask16)(count - k < 16 ? (1u << (count - k)) - 1 : 0xFFFFu);
        _mm512_mask_storeu_ps(v + k, mask, tanh16(_mm512_maskz_loadu_ps(mask, v + k)));
    }
}

static void sigmoid_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = (__mmask16)(count - k < 16 ? (1u << (count - k)) - 1 : 0xFFFFu);
        _mm512_mask_storeu_ps(v + k, mask, sigmoid16(_mm512_maskz_loadu_ps(mask, v + k)));
    }
}

/* ---- s8 ---- */

/* vpdpbusd wants an unsigned operand: x + 128, whose surplus of 128 * (sum of the row) leaves the
 * first sums here. */
static void prepare_s8(const elstm_matrix_s8 *w, const int32_t *bias, int32_t *prepared) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    const int8_t *weights = w->weights;
    for (uint32_t at = 0; at < rows; at += lanes) {
        for (uint32_t r = 0; r < lanes; ++r) prepared[at + r] = bias == NULL ? 0 : bias[at + r];
        for (uint32_t quad = 0; quad < w->quads; ++quad)
            for (uint32_t r = 0; r < lanes; ++r, weights += 4)
                prepared[at + r] -= 128 * (weights[0] + weights[1] + weights[2] + weights[3]);
    }
}

static inline __m512i four_plus_128(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_set1_epi32(bytes ^ (int32_t)0x80808080u);
}

static inline __m512i load512(const void *p) { return _mm512_loadu_si512(p); }

/* One group of four gates, four quads unrolled: addresses run through the whole matrix in order,
 * which above L1 decides (docs/design.md). */
static inline void group4_s8(const int8_t *w, const int32_t *start, const int8_t *x, uint32_t quads,
                             int32_t *y) {
    __m512i sum[4][2];
    uint32_t quad = 0;
    for (int g = 0; g < 2; ++g) {
        sum[0][g] = start == NULL ? _mm512_setzero_si512() : load512(start + 16 * g);
        for (int k = 1; k < 4; ++k) sum[k][g] = _mm512_setzero_si512();
    }
    for (; quad + 4 <= quads; quad += 4, x += 16, w += 512) {
        for (int k = 0; k < 4; ++k) {
            const __m512i v = four_plus_128(x + 4 * k);
            sum[k][0] = _mm512_dpbusd_epi32(sum[k][0], v, load512(w + 128 * k));
            sum[k][1] = _mm512_dpbusd_epi32(sum[k][1], v, load512(w + 128 * k + 64));
        }
    }
    for (; quad < quads; ++quad, x += 4, w += 128) {
        const __m512i v = four_plus_128(x);
        sum[0][0] = _mm512_dpbusd_epi32(sum[0][0], v, load512(w));
        sum[0][1] = _mm512_dpbusd_epi32(sum[0][1], v, load512(w + 64));
    }
    for (int g = 0; g < 2; ++g)
        _mm512_storeu_si512(y + 16 * g, _mm512_add_epi32(_mm512_add_epi32(sum[0][g], sum[1][g]),
                                                         _mm512_add_epi32(sum[2][g], sum[3][g])));
}

/* Four x at a time. */
static inline void group4_s8_x4(const int8_t *w, const int32_t *const start[4], const int8_t *x,
                                size_t x_stride, uint32_t quads, int32_t *y, size_t rows) {
    __m512i sum[4][2];
    for (int k = 0; k < 4; ++k)
        for (int g = 0; g < 2; ++g)
            sum[k][g] = start[k] == NULL ? _mm512_setzero_si512() : load512(start[k] + 16 * g);
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += 128) {
        const __m512i w0 = load512(w), w1 = load512(w + 64);
        for (int k = 0; k < 4; ++k) {
            const __m512i v = four_plus_128(x + (size_t)k * x_stride);
            sum[k][0] = _mm512_dpbusd_epi32(sum[k][0], v, w0);
            sum[k][1] = _mm512_dpbusd_epi32(sum[k][1], v, w1);
        }
    }
    for (int k = 0; k < 4; ++k)
        for (int g = 0; g < 2; ++g) _mm512_storeu_si512(y + (size_t)k * rows + 16 * g, sum[k][g]);
}

static inline void group1_s8(const int8_t *w, const int32_t *start, const int8_t *x, uint32_t quads,
                             int32_t *y) {
    __m256i even =
        start == NULL ? _mm256_setzero_si256() : _mm256_loadu_si256((const __m256i *)start);
    __m256i odd = _mm256_setzero_si256();
    uint32_t quad = 0;
    for (; quad + 2 <= quads; quad += 2, x += 8, w += 64) {
        const __m256i a = _mm512_castsi512_si256(four_plus_128(x));
        const __m256i b = _mm512_castsi512_si256(four_plus_128(x + 4));
        even = _mm256_dpbusd_epi32(even, a, _mm256_loadu_si256((const __m256i *)w));
        odd = _mm256_dpbusd_epi32(odd, b, _mm256_loadu_si256((const __m256i *)(w + 32)));
    }
    if (quad < quads)
        even = _mm256_dpbusd_epi32(even, _mm512_castsi512_si256(four_plus_128(x)),
                                   _mm256_loadu_si256((const __m256i *)w));
    _mm256_storeu_si256((__m256i *)y, _mm256_add_epi32(even, odd));
}

static void matmul_s8(const elstm_matrix_s8 *w, const int32_t *init, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    const size_t group_size = (size_t)w->quads * lanes * 4;
    const int in_place = init == y;
    uint32_t k = 0;
    if (w->gates == 4) {
        for (; k + 4 <= count; k += 4, x += 4 * x_stride, y += 4 * (size_t)rows) {
            for (uint32_t group = 0; group < w->groups; ++group) {
                const size_t at = (size_t)group * lanes;
                const int32_t *start[4];
                for (int j = 0; j < 4; ++j)
                    start[j] = in_place       ? y + (size_t)j * rows + at
                               : init == NULL ? NULL
                                              : init + at;
                group4_s8_x4(w->weights + group * group_size, start, x, x_stride, w->quads, y + at,
                             rows);
            }
        }
    }
    for (; k < count; ++k, x += x_stride, y += rows) {
        const int32_t *start = in_place ? y : init;
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes, weights += group_size) {
            const int32_t *own = start == NULL ? NULL : start + at;
            if (w->gates == 4)
                group4_s8(weights, own, x, w->quads, y + at);
            else
                group1_s8(weights, own, x, w->quads, y + at);
        }
    }
}

/* Weights widened to int16: each row is two neighbouring sums, joined at the end. `vectors`
 * registers of 8 rows. */
static inline __attribute__((always_inline)) void chains_s16(const int8_t *w, size_t step,
                                                             const int32_t *start, const int16_t *x,
                                                             uint32_t quads, int32_t *y,
                                                             int vectors) {
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i sum[4];
    for (int g = 0; g < vectors; ++g) sum[g] = _mm512_setzero_si512();
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += step) {
        int64_t bytes;
        memcpy(&bytes, x, sizeof bytes);
        const __m512i v = _mm512_set1_epi64(bytes);
        for (int g = 0; g < vectors; ++g)
            sum[g] = _mm512_dpwssd_epi32(
                sum[g], _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(w + 32 * g))), v);
    }
    for (int g = 0; g < vectors; ++g) {
        const __m512i both = _mm512_add_epi32(sum[g], _mm512_srli_epi64(sum[g], 32));
        const __m256i from = start == NULL ? _mm256_setzero_si256()
                                           : _mm256_loadu_si256((const __m256i *)(start + 8 * g));
        const __m256i rows = _mm512_castsi512_si256(_mm512_permutexvar_epi32(evens, both));
        _mm256_storeu_si256((__m256i *)(y + 8 * g), _mm256_add_epi32(rows, from));
    }
}

static void matmul_s16(const elstm_matrix_s8 *w, const int32_t *init, const int16_t *x,
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
                chains_s16(weights, 128, own, x, w->quads, y + at, 4);
            else
                chains_s16(weights, 32, own, x, w->quads, y + at, 1);
        }
    }
}

/* sh(v, k): left by max(-k, 0), then right by max(k, 0). */
static inline __m512i shift16(__m512i v, const int8_t *shift) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i k = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)shift));
    const __m512i left = _mm512_max_epi32(_mm512_sub_epi32(zero, k), zero);
    return _mm512_srav_epi32(_mm512_sllv_epi32(v, left), _mm512_max_epi32(k, zero));
}

static void rescale_s8(int32_t *acc, const int8_t *shift, const int32_t *bias, uint32_t rows) {
    uint32_t r = 0;
    for (; r + 16 <= rows; r += 16)
        _mm512_storeu_si512(
            acc + r, _mm512_add_epi32(shift16(load512(acc + r), shift + r), load512(bias + r)));
    loops_rescale_s8(acc + r, shift + r, bias + r, rows - r);
}

/* 32 rows: z = sat16(t + mh(t, m)). Packing leaves 64-bit pieces a0 b0 a1 b1 ...; the permutation
 * sorts them. */
static inline __m512i requantize32(const int32_t *acc, const int8_t *shift,
                                   const int16_t *multiplier) {
    const __m512i sorted = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const __m512i a = shift16(load512(acc), shift), b = shift16(load512(acc + 16), shift + 16);
    const __m512i t = _mm512_permutexvar_epi64(sorted, _mm512_packs_epi32(a, b));
    return _mm512_adds_epi16(t, _mm512_mulhrs_epi16(t, load512(multiplier)));
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    uint32_t r = 0;
    for (; r + 32 <= rows; r += 32)
        _mm512_storeu_si512(z + r, requantize32(acc + r, q->shift + r, q->multiplier + r));
    const elstm_requantize rest = {q->shift + r, q->multiplier + r};
    loops_requantize_s8(acc + r, &rest, z + r, rows - r);
}

typedef struct {
    __m512i c0, c1, c2, c3;
} segments;

static inline __m512i entries(const int16_t *table) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
}

static inline segments load_segments(void) {
    return (segments){entries(elstm_tanh_c0), entries(elstm_tanh_c1), entries(elstm_tanh_c2),
                      entries(elstm_tanh_c3)};
}

/* raw of docs/numerics.md for 32 values. */
static inline __m512i tanh_raw(__m512i v, const segments *t) {
    const __m512i n = _mm512_xor_si512(_mm512_srai_epi16(v, 15), _mm512_set1_epi16(0x7FFF));
    const __m512i b = _mm512_xor_si512(v, n);
    const __m512i u = _mm512_mulhrs_epi16(b, b);
    const __m512i k = _mm512_srli_epi16(u, 12);
    const __m512i r = _mm512_xor_si512(_mm512_slli_epi16(u, 4), _mm512_set1_epi16((short)0x8000));
    __m512i q = _mm512_permutexvar_epi16(k, t->c3);
    q = _mm512_add_epi16(_mm512_permutexvar_epi16(k, t->c2), _mm512_mulhrs_epi16(q, r));
    q = _mm512_add_epi16(_mm512_permutexvar_epi16(k, t->c1), _mm512_mulhrs_epi16(q, r));
    q = _mm512_add_epi16(_mm512_permutexvar_epi16(k, t->c0), _mm512_mulhrs_epi16(q, r));
    return _mm512_xor_si512(q, n);
}

static inline __m512i tanh32(__m512i v, const segments *t) {
    return _mm512_sub_epi16(tanh_raw(v, t), _mm512_srai_epi16(v, 15));
}

static inline __m512i sigmoid_of_raw(__m512i raw) {
    /* raw is never 32767, so the sum stays within 16 bits */
    return _mm512_add_epi16(_mm512_srai_epi16(_mm512_add_epi16(raw, _mm512_set1_epi16(1)), 1),
                            _mm512_set1_epi16(16384));
}

static inline __m512i sigmoid32(__m512i v, const segments *t) {
    return sigmoid_of_raw(tanh_raw(v, t));
}

static void tanh_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (uint32_t k = 0; k < count; k += 32) {
        const __mmask32 mask = count - k < 32 ? (__mmask32)((1u << (count - k)) - 1) : 0xFFFFFFFFu;
        _mm512_mask_storeu_epi16(v + k, mask, tanh32(_mm512_maskz_loadu_epi16(mask, v + k), &t));
    }
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (uint32_t k = 0; k < count; k += 32) {
        const __mmask32 mask = count - k < 32 ? (__mmask32)((1u << (count - k)) - 1) : 0xFFFFFFFFu;
        _mm512_mask_storeu_epi16(v + k, mask, sigmoid32(_mm512_maskz_loadu_epi16(mask, v + k), &t));
    }
}

/* Four groups: each register of requantized rows is one group, i f g o of 8 units; unpacking turns
 * four of them into one register a gate, 32 units wide. Fewer groups leave the rest of the lanes
 * idle. */
static inline void cell32(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                          uint32_t at, uint32_t groups, const segments *t) {
    __m512i row[4];
    for (uint32_t g = 0; g < 4; ++g)
        row[g] = g < groups ? requantize32(acc + 32 * g, q->shift + 32 * g, q->multiplier + 32 * g)
                            : _mm512_setzero_si512();
    /* 128-bit pieces: a 4 x 4 transposition of (group, gate) to (gate, group) */
    const __m512i ab_low = _mm512_shuffle_i32x4(row[0], row[1], 0x44); /* a.i a.f b.i b.f */
    const __m512i ab_high = _mm512_shuffle_i32x4(row[0], row[1], 0xEE);
    const __m512i cd_low = _mm512_shuffle_i32x4(row[2], row[3], 0x44);
    const __m512i cd_high = _mm512_shuffle_i32x4(row[2], row[3], 0xEE);
    const __m512i i = sigmoid32(_mm512_shuffle_i32x4(ab_low, cd_low, 0x88), t);
    const __m512i f = sigmoid32(_mm512_shuffle_i32x4(ab_low, cd_low, 0xDD), t);
    const __m512i g = tanh32(_mm512_shuffle_i32x4(ab_high, cd_high, 0x88), t);
    const __m512i o = sigmoid32(_mm512_shuffle_i32x4(ab_high, cd_high, 0xDD), t);
    const __mmask32 mask = groups < 4 ? (__mmask32)((1u << (8 * groups)) - 1) : 0xFFFFFFFFu;
    const __m512i gained =
        _mm512_mulhrs_epi16(_mm512_mulhrs_epi16(i, g), _mm512_set1_epi16((short)cell->kappa));
    const __m512i c = _mm512_adds_epi16(
        _mm512_mulhrs_epi16(f, _mm512_maskz_loadu_epi16(mask, cell->c + at)), gained);
    __m512i v = c;
    for (uint32_t k = 0; k < cell->doublings; ++k) v = _mm512_adds_epi16(v, v);
    const __m512i h16 = _mm512_mulhrs_epi16(_mm512_mulhrs_epi16(o, tanh32(v, t)),
                                            _mm512_set1_epi16((short)cell->hidden_multiplier));
    const __m256i h = _mm256_max_epi8(_mm512_cvtsepi16_epi8(h16), _mm256_set1_epi8(-127));
    _mm512_mask_storeu_epi16(cell->c + at, mask, c);
    _mm256_mask_storeu_epi8(cell->h + at, mask, h);
    _mm256_mask_storeu_epi8(cell->y + at, mask, h);
}

/* One or two groups: the four gates of a group stay in one register, i f g o. */
static inline void cell8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                         uint32_t at, const segments *t) {
    const __m512i z = requantize32(acc, q->shift, q->multiplier);
    const __m512i raw = tanh_raw(z, t);
    const __m512i gates = _mm512_mask_blend_epi32(0x0F00, sigmoid_of_raw(raw),
                                                  _mm512_sub_epi16(raw, _mm512_srai_epi16(z, 15)));
    const __m128i i = _mm512_castsi512_si128(gates), f = _mm512_extracti32x4_epi32(gates, 1);
    const __m128i g = _mm512_extracti32x4_epi32(gates, 2), o = _mm512_extracti32x4_epi32(gates, 3);
    const __m128i gained =
        _mm_mulhrs_epi16(_mm_mulhrs_epi16(i, g), _mm_set1_epi16((short)cell->kappa));
    const __m128i c = _mm_adds_epi16(
        _mm_mulhrs_epi16(f, _mm_loadu_si128((const __m128i *)(cell->c + at))), gained);
    __m128i v = c;
    for (uint32_t k = 0; k < cell->doublings; ++k) v = _mm_adds_epi16(v, v);
    const __m128i squashed = _mm512_castsi512_si128(tanh32(_mm512_castsi128_si512(v), t));
    const __m128i h16 = _mm_mulhrs_epi16(_mm_mulhrs_epi16(o, squashed),
                                         _mm_set1_epi16((short)cell->hidden_multiplier));
    const __m128i h = _mm_max_epi8(_mm_packs_epi16(h16, h16), _mm_set1_epi8(-127));
    _mm_storeu_si128((__m128i *)(cell->c + at), c);
    _mm_storel_epi64((__m128i *)(cell->h + at), h);
    _mm_storel_epi64((__m128i *)(cell->y + at), h);
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const segments t = load_segments();
    uint32_t group = 0;
    for (; group + 3 <= groups; group += 4) {
        const elstm_requantize rows = {q->shift + 32 * group, q->multiplier + 32 * group};
        cell32(acc + 32 * group, &rows, cell, 8 * group, groups - group < 4 ? groups - group : 4,
               &t);
    }
    for (; group < groups; ++group) {
        const elstm_requantize rows = {q->shift + 32 * group, q->multiplier + 32 * group};
        cell8(acc + 32 * group, &rows, cell, 8 * group, &t);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_avx512vnni = {
    .name = "avx512vnni",
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = prepare_s8,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .rescale_s8 = rescale_s8,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_avx512vnni_not_built;
#endif
