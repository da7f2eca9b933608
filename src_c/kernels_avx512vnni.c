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

/* ---- doors ---- */

static inline __mmask16 first16(uint32_t count) {
    return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xFFFFu);
}

static inline __m512 admit16(__m512 x) {
    x = _mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(ELSTM_SMALLEST), _CMP_GE_OQ), x);
    x = _mm512_max_ps(x, _mm512_set1_ps(-ELSTM_LARGEST));
    return _mm512_min_ps(x, _mm512_set1_ps(ELSTM_LARGEST));
}

static void enter_f32(const float *x, float *value, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        _mm512_mask_storeu_ps(value + k, mask, admit16(_mm512_maskz_loadu_ps(mask, x + k)));
    }
}

/* The conversion rounds to nearest even and, of what lies within int16's range, is exact. */
static void enter_s16(const float *x, float reciprocal, int16_t *value, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        __m512 q =
            _mm512_mul_ps(admit16(_mm512_maskz_loadu_ps(mask, x + k)), _mm512_set1_ps(reciprocal));
        q = _mm512_max_ps(q, _mm512_set1_ps(-32767.0f));
        q = _mm512_min_ps(q, _mm512_set1_ps(32767.0f));
        const __m512i whole =
            _mm512_cvt_roundps_epi32(q, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm512_mask_cvtepi32_storeu_epi16(value + k, mask, whole);
    }
}

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

/* Groups of four gates, two registers each: i f and g o. `xs` products at once over `groups` groups
 * side by side, each sum in `chains` chains of columns. */
static inline __attribute__((always_inline)) void
tile_f32(const float *w, size_t group_size, const float *bias, const float *x, size_t x_stride,
         uint32_t columns, float *y, size_t rows, int groups, int xs, int chains, int ahead) {
    __m512 sum[16][2];
    const int tiles = groups * xs;
    for (int t = 0; t < tiles; ++t) {
        const float *start = bias == NULL ? y + (size_t)(t / groups) * rows : bias;
        for (int v = 0; v < 2; ++v) sum[t][v] = _mm512_loadu_ps(start + 32 * (t % groups) + 16 * v);
    }
    for (int t = tiles; t < tiles * chains; ++t) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    uint32_t column = 0;
    for (; column + (uint32_t)chains <= columns; column += (uint32_t)chains) {
        for (int k = 0; k < chains; ++k, w += 32) {
            for (int g = 0; g < groups; ++g) {
                const float *own = w + (size_t)g * group_size;
                const __m512 w0 = _mm512_loadu_ps(own), w1 = _mm512_loadu_ps(own + 16);
                if (ahead != 0) {
                    _mm_prefetch((const char *)own + ahead, _MM_HINT_T0);
                    _mm_prefetch((const char *)own + ahead + 64, _MM_HINT_T0);
                }
                for (int j = 0; j < xs; ++j) {
                    const __m512 a = _mm512_set1_ps(x[(size_t)j * x_stride + column + (uint32_t)k]);
                    const int t = k * tiles + j * groups + g;
                    sum[t][0] = _mm512_fmadd_ps(w0, a, sum[t][0]);
                    sum[t][1] = _mm512_fmadd_ps(w1, a, sum[t][1]);
                }
            }
        }
    }
    for (; column < columns; ++column, w += 32) {
        for (int t = 0; t < tiles; ++t) {
            const float *own = w + (size_t)(t % groups) * group_size;
            const __m512 a = _mm512_set1_ps(x[(size_t)(t / groups) * x_stride + column]);
            sum[t][0] = _mm512_fmadd_ps(_mm512_loadu_ps(own), a, sum[t][0]);
            sum[t][1] = _mm512_fmadd_ps(_mm512_loadu_ps(own + 16), a, sum[t][1]);
        }
    }
    for (int t = 0; t < tiles; ++t) {
        float *out = y + (size_t)(t / groups) * rows + 32 * (t % groups);
        for (int v = 0; v < 2; ++v) {
            __m512 total = sum[t][v];
            if (chains == 2) total = _mm512_add_ps(total, sum[tiles + t][v]);
            if (chains == 4)
                total = _mm512_add_ps(_mm512_add_ps(total, sum[tiles + t][v]),
                                      _mm512_add_ps(sum[2 * tiles + t][v], sum[3 * tiles + t][v]));
            _mm512_storeu_ps(out + 16 * v, total);
        }
    }
}

/* One group of one row a unit. */
static inline void group1_f32(const float *w, const float *start, const float *x, uint32_t columns,
                              float *y) {
    __m256 sum[4];
    uint32_t column = 0;
    sum[0] = _mm256_loadu_ps(start);
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

/* Larger than the first cache: one stream of addresses is faster than several. Larger than most of
 * the second: so is asking for weights ahead. Bytes; docs/kernels.md has the measurements. */
#define SIDE_BY_SIDE 32768
#define FAR 700000

/* One x over groups of four gates. */
static inline void single_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                              float *y) {
    const size_t group_size = (size_t)w->columns * 32, size = 4 * group_size * w->groups;
    const float *weights = w->weights;
    uint32_t left = w->groups;
    if (size <= SIDE_BY_SIDE) {
        for (; left >= 2; left -= 2, weights += 2 * group_size, y += 64) {
            tile_f32(weights, group_size, bias, x, 0, w->columns, y, 0, 2, 1, 2, 0);
            if (bias != NULL) bias += 64;
        }
    }
    for (; left > 0; --left, weights += group_size, y += 32) {
        if (size < FAR)
            tile_f32(weights, group_size, bias, x, 0, w->columns, y, 0, 1, 1, 4, 0);
        else
            tile_f32(weights, group_size, bias, x, 0, w->columns, y, 0, 1, 1, 4, 1024);
        if (bias != NULL) bias += 32;
    }
}

static void matmul_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const uint32_t rows = elstm_rows_f32(w);
    const size_t group_size = (size_t)w->columns * w->gates * ELSTM_GROUP;
    if (w->gates == 4) {
        for (; count >= 8; count -= 8, x += 8 * x_stride, y += 8 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_f32(w->weights + group * group_size, group_size,
                         bias == NULL ? NULL : bias + 32 * group, x, x_stride, w->columns,
                         y + 32 * group, rows, 1, 8, 1, 0);
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_f32(w->weights + group * group_size, group_size,
                         bias == NULL ? NULL : bias + 32 * group, x, x_stride, w->columns,
                         y + 32 * group, rows, 1, 4, 1, 0);
    }
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_f32(w, bias, x, y);
            continue;
        }
        const float *start = bias == NULL ? y : bias;
        for (uint32_t group = 0; group < w->groups; ++group)
            group1_f32(w->weights + group * group_size, start + 8 * group, x, w->columns,
                       y + 8 * group);
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
        const __mmask16 mask = first16(count - k);
        _mm512_mask_storeu_ps(v + k, mask, tanh16(_mm512_maskz_loadu_ps(mask, v + k)));
    }
}

static void sigmoid_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        _mm512_mask_storeu_ps(v + k, mask, sigmoid16(_mm512_maskz_loadu_ps(mask, v + k)));
    }
}

/* ---- s8 ---- */

static inline __m512i load512(const void *p) { return _mm512_loadu_si512(p); }

/* vpdpbusd wants an unsigned operand, x + 128: what that adds to a row's sum is 128 times the sum
 * of its weights. */
static void prepare_s8(const elstm_matrix_s8 *w, int32_t *surplus) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    const int8_t *weights = w->weights;
    for (uint32_t at = 0; at < rows; at += lanes) {
        for (uint32_t r = 0; r < lanes; ++r) surplus[at + r] = 0;
        for (uint32_t quad = 0; quad < w->quads; ++quad)
            for (uint32_t r = 0; r < lanes; ++r, weights += 4)
                surplus[at + r] -= 128 * (weights[0] + weights[1] + weights[2] + weights[3]);
    }
}

/* Four x + 128, as often as a register holds them. */
static inline __m512i four_plus_128(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_xor_si512(_mm512_set1_epi32(bytes), _mm512_set1_epi8(-128));
}

/* sh(v, k), without bounds on v for k >= 0. */
static inline __m512i shift16(__m512i v, const int8_t *shift) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i k = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)shift));
    const __m512i left = _mm512_max_epi32(_mm512_sub_epi32(zero, k), zero);
    return _mm512_srav_epi32(_mm512_sllv_epi32(v, left), _mm512_max_epi32(k, zero));
}

/* The sums of 16 rows, on to y. `right` where no shift is negative. */
static inline __attribute__((always_inline)) void end16(__m512i sum, const elstm_rescale *rescale,
                                                        size_t at, int32_t *y, int right) {
    if (rescale == NULL) {
        sum = _mm512_add_epi32(sum, load512(y));
    } else {
        const int8_t *shift = rescale->shift + at;
        sum = right ? _mm512_srav_epi32(
                          sum, _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)shift)))
                    : shift16(sum, shift);
        sum = _mm512_add_epi32(sum, load512(rescale->bias + at));
    }
    _mm512_storeu_si512(y, sum);
}

/* Groups of four gates from group `first` on, as in tile_f32: two registers each. */
static inline __attribute__((always_inline)) void
tile_s8(const elstm_matrix_s8 *w, uint32_t first, const elstm_rescale *rescale, const int8_t *x,
        size_t x_stride, int32_t *y, int groups, int xs, int chains, int ahead) {
    const size_t group_size = (size_t)w->quads * 128, row = 32 * (size_t)first;
    const size_t rows = elstm_rows_s8(w);
    const int8_t *weights = w->weights + first * group_size;
    __m512i sum[16][2];
    const int tiles = groups * xs;
    for (int t = 0; t < tiles; ++t)
        for (int v = 0; v < 2; ++v)
            sum[t][v] = load512(w->surplus + row + 32 * (t % groups) + 16 * v);
    for (int t = tiles; t < tiles * chains; ++t) sum[t][0] = sum[t][1] = _mm512_setzero_si512();
    uint32_t left = w->quads;
    for (; left >= (uint32_t)chains; left -= (uint32_t)chains) {
        for (int k = 0; k < chains; ++k, x += 4, weights += 128) {
            for (int g = 0; g < groups; ++g) {
                const int8_t *own = weights + (size_t)g * group_size;
                const __m512i w0 = load512(own), w1 = load512(own + 64);
                if (ahead != 0) {
                    _mm_prefetch((const char *)own + ahead, _MM_HINT_T0);
                    _mm_prefetch((const char *)own + ahead + 64, _MM_HINT_T0);
                }
                for (int j = 0; j < xs; ++j) {
                    const __m512i v = four_plus_128(x + (size_t)j * x_stride);
                    const int t = k * tiles + j * groups + g;
                    sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], v, w0);
                    sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], v, w1);
                }
            }
        }
    }
    for (; left > 0; --left, x += 4, weights += 128) {
        for (int t = 0; t < tiles; ++t) {
            const int8_t *own = weights + (size_t)(t % groups) * group_size;
            const __m512i v = four_plus_128(x + (size_t)(t / groups) * x_stride);
            sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], v, load512(own));
            sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], v, load512(own + 64));
        }
    }
    for (int t = 0; t < tiles; ++t) {
        for (int v = 0; v < 2; ++v) {
            const size_t at = row + 32 * (size_t)(t % groups) + 16 * (size_t)v;
            __m512i total = sum[t][v];
            if (chains == 2) total = _mm512_add_epi32(total, sum[tiles + t][v]);
            if (chains == 4)
                total = _mm512_add_epi32(
                    _mm512_add_epi32(total, sum[tiles + t][v]),
                    _mm512_add_epi32(sum[2 * tiles + t][v], sum[3 * tiles + t][v]));
            end16(total, rescale, at, y + (size_t)(t / groups) * rows + at, 0);
        }
    }
}

/* One group of one row a unit. */
static inline void group1_s8(const int8_t *w, const int32_t *surplus, const int8_t *x,
                             uint32_t quads, int32_t *y) {
    __m256i even = _mm256_loadu_si256((const __m256i *)surplus), odd = _mm256_setzero_si256();
    for (; quads >= 2; quads -= 2, x += 8, w += 64) {
        const __m256i a = _mm512_castsi512_si256(four_plus_128(x));
        const __m256i b = _mm512_castsi512_si256(four_plus_128(x + 4));
        even = _mm256_dpbusd_epi32(even, a, _mm256_loadu_si256((const __m256i *)w));
        odd = _mm256_dpbusd_epi32(odd, b, _mm256_loadu_si256((const __m256i *)(w + 32)));
    }
    if (quads != 0)
        even = _mm256_dpbusd_epi32(even, _mm512_castsi512_si256(four_plus_128(x)),
                                   _mm256_loadu_si256((const __m256i *)w));
    _mm256_storeu_si256((__m256i *)y, _mm256_add_epi32(even, odd));
}

/* One x over groups of four gates. */
static inline void single_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale,
                             const int8_t *x, int32_t *y) {
    const size_t size = (size_t)w->quads * 128 * w->groups;
    uint32_t group = 0;
    if (size <= SIDE_BY_SIDE) {
        for (; group + 4 <= w->groups; group += 4) tile_s8(w, group, rescale, x, 0, y, 4, 1, 1, 0);
        for (; group + 2 <= w->groups; group += 2) tile_s8(w, group, rescale, x, 0, y, 2, 1, 2, 0);
    }
    if (size < FAR)
        for (; group < w->groups; ++group) tile_s8(w, group, rescale, x, 0, y, 1, 1, 4, 0);
    else
        for (; group < w->groups; ++group) tile_s8(w, group, rescale, x, 0, y, 1, 1, 4, 1024);
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    if (w->gates == 4) {
        for (; count >= 8; count -= 8, x += 8 * x_stride, y += 8 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_s8(w, group, rescale, x, x_stride, y, 1, 8, 1, 0);
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_s8(w, group, rescale, x, x_stride, y, 1, 4, 1, 0);
    }
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_s8(w, rescale, x, y);
            continue;
        }
        for (uint32_t group = 0; group < w->groups; ++group) {
            int32_t sums[ELSTM_GROUP];
            group1_s8(w->weights + (size_t)group * w->quads * 32, w->surplus + 8 * group, x,
                      w->quads, sums);
            loops_end_s8(sums, rescale, 8 * group, 8, y);
        }
    }
}

/* A 16-bit x is 256 high + low. Of four x: the high bytes + 128, and the low ones. */
static inline __m512i high_bytes(__m512i x) {
    return _mm512_xor_si512(_mm512_shuffle_epi8(x, _mm512_set1_epi64(0x0705030107050301)),
                            _mm512_set1_epi8(-128));
}

static inline __m512i low_bytes(__m512i x) {
    return _mm512_shuffle_epi8(x, _mm512_set1_epi64(0x0604020006040200));
}

static inline __m512i four_s16(const int16_t *x) {
    int64_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_set1_epi64(bytes);
}

/* As tile_s8, with two sums a row. */
static inline __attribute__((always_inline)) void
tile_s16(const elstm_matrix_s8 *w, uint32_t first, const elstm_rescale *rescale, const int16_t *x,
         size_t x_stride, int32_t *y, int groups, int xs, int chains) {
    const size_t group_size = (size_t)w->quads * 128, row = 32 * (size_t)first;
    const size_t rows = elstm_rows_s8(w);
    const int8_t *weights = w->weights + first * group_size;
    __m512i high[8][2], low[8][2];
    const int tiles = groups * xs;
    for (int t = 0; t < tiles * chains; ++t) {
        for (int v = 0; v < 2; ++v) {
            high[t][v] = t < tiles ? load512(w->surplus + row + 32 * (t % groups) + 16 * v)
                                   : _mm512_setzero_si512();
            low[t][v] = _mm512_setzero_si512();
        }
    }
    uint32_t left = w->quads;
    for (; left >= (uint32_t)chains; left -= (uint32_t)chains) {
        for (int k = 0; k < chains; ++k, x += 4, weights += 128) {
            for (int j = 0; j < xs; ++j) {
                const __m512i v = four_s16(x + (size_t)j * x_stride);
                const __m512i v_high = high_bytes(v), v_low = low_bytes(v);
                for (int g = 0; g < groups; ++g) {
                    const int8_t *own = weights + (size_t)g * group_size;
                    const int t = k * tiles + j * groups + g;
                    for (int u = 0; u < 2; ++u) {
                        const __m512i values = load512(own + 64 * u);
                        high[t][u] = _mm512_dpbusd_epi32(high[t][u], v_high, values);
                        low[t][u] = _mm512_dpbusd_epi32(low[t][u], v_low, values);
                    }
                }
            }
        }
    }
    for (; left > 0; --left, x += 4, weights += 128) {
        for (int t = 0; t < tiles; ++t) {
            const __m512i v = four_s16(x + (size_t)(t / groups) * x_stride);
            for (int u = 0; u < 2; ++u) {
                const __m512i values =
                    load512(weights + (size_t)(t % groups) * group_size + 64 * u);
                high[t][u] = _mm512_dpbusd_epi32(high[t][u], high_bytes(v), values);
                low[t][u] = _mm512_dpbusd_epi32(low[t][u], low_bytes(v), values);
            }
        }
    }
    for (int t = 0; t < tiles; ++t) {
        for (int v = 0; v < 2; ++v) {
            const size_t at = row + 32 * (size_t)(t % groups) + 16 * (size_t)v;
            __m512i total = high[t][v], rest = low[t][v];
            for (int k = 1; k < chains; ++k) {
                total = _mm512_add_epi32(total, high[k * tiles + t][v]);
                rest = _mm512_add_epi32(rest, low[k * tiles + t][v]);
            }
            end16(_mm512_add_epi32(_mm512_slli_epi32(total, 8), rest), rescale, at,
                  y + (size_t)(t / groups) * rows + at, 1);
        }
    }
}

static inline void group1_s16(const int8_t *w, const int32_t *surplus, const int16_t *x,
                              uint32_t quads, int32_t *y) {
    __m256i high = _mm256_loadu_si256((const __m256i *)surplus), low = _mm256_setzero_si256();
    for (; quads > 0; --quads, x += 4, w += 32) {
        const __m256i values = _mm256_loadu_si256((const __m256i *)w);
        const __m512i v = four_s16(x);
        high = _mm256_dpbusd_epi32(high, _mm512_castsi512_si256(high_bytes(v)), values);
        low = _mm256_dpbusd_epi32(low, _mm512_castsi512_si256(low_bytes(v)), values);
    }
    _mm256_storeu_si256((__m256i *)y, _mm256_add_epi32(_mm256_slli_epi32(high, 8), low));
}

static inline void single_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale,
                              const int16_t *x, int32_t *y) {
    const size_t size = (size_t)w->quads * 128 * w->groups;
    uint32_t group = 0;
    if (size <= SIDE_BY_SIDE) {
        for (; group + 4 <= w->groups; group += 4) tile_s16(w, group, rescale, x, 0, y, 4, 1, 1);
        for (; group + 2 <= w->groups; group += 2) tile_s16(w, group, rescale, x, 0, y, 2, 1, 1);
    }
    for (; group < w->groups; ++group) tile_s16(w, group, rescale, x, 0, y, 1, 1, 2);
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    if (w->gates == 4)
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_s16(w, group, rescale, x, x_stride, y, 1, 4, 1);
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_s16(w, rescale, x, y);
            continue;
        }
        for (uint32_t group = 0; group < w->groups; ++group) {
            int32_t sums[ELSTM_GROUP];
            group1_s16(w->weights + (size_t)group * w->quads * 32, w->surplus + 8 * group, x,
                       w->quads, sums);
            loops_end_s8(sums, rescale, 8 * group, 8, y);
        }
    }
}

/* sat16 of sh(v, s) before packing: |v| < 2^27, so that four places to the left still fit. */
static inline __m512i requantize_shift16(__m512i v, const int8_t *shift) {
    const __m512i k = _mm512_add_epi32(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)shift)), _mm512_set1_epi32(4));
    return _mm512_srav_epi32(_mm512_slli_epi32(v, 4), k);
}

/* 32 rows: z = sat16(t + mh(t, m)). Packing leaves 64-bit pieces a0 b0 a1 b1 ...; the permutation
 * sorts them. */
static inline __m512i requantize32(const int32_t *acc, const int8_t *shift,
                                   const int16_t *multiplier) {
    const __m512i sorted = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const __m512i a = requantize_shift16(load512(acc), shift);
    const __m512i b = requantize_shift16(load512(acc + 16), shift + 16);
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
    .align = 64,
    .enter_f32 = enter_f32,
    .enter_s16 = enter_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = prepare_s8,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_avx512vnni_not_built;
#endif
