/* Private: doors and f32 of the AVX-512 set, compiled inside it, which has chosen its target and
 * included <immintrin.h>. */
#ifndef ELSTM_KERNELS_AVX512_F32_H
#define ELSTM_KERNELS_AVX512_F32_H

#include "kernels_loops.h"
#include "kernels_x86.h"

/* ---- doors ---- */

/* The first `count` lanes, or all 16. */
static inline __mmask16 first16(uint32_t count) {
    return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xFFFFu);
}

static inline __m512 admit16(__m512 x) {
    x = _mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(ELSTM_SMALLEST), _CMP_GE_OQ), x);
    x = _mm512_max_ps(x, _mm512_set1_ps(-ELSTM_LARGEST));
    return _mm512_min_ps(x, _mm512_set1_ps(ELSTM_LARGEST));
}

/* What enters is read again at once, and a masked store would not be forwarded to that load. */
static void enter_f32(const float *x, float *value, uint32_t count) {
    for (; count > 8; count -= 16, x += 16, value += 16) {
        _mm512_storeu_ps(value, admit16(_mm512_maskz_loadu_ps(first16(count), x)));
        if (count <= 16) return;
    }
    _mm256_storeu_ps(value,
                     _mm512_castps512_ps256(admit16(_mm512_maskz_loadu_ps(first16(count), x))));
}

/* Converting rounds to nearest, ties to even. */
static inline __m256i enter16(const float *x, float reciprocal, uint32_t count) {
    __m512 q = _mm512_mul_ps(admit16(_mm512_maskz_loadu_ps(first16(count), x)),
                             _mm512_set1_ps(reciprocal));
    q = _mm512_max_ps(q, _mm512_set1_ps(-32767.0f));
    q = _mm512_min_ps(q, _mm512_set1_ps(32767.0f));
    return _mm512_cvtepi32_epi16(
        _mm512_cvt_roundps_epi32(q, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static void enter_s16(const float *x, float reciprocal, int16_t *value, uint32_t count) {
    for (; count > 8; count -= 16, x += 16, value += 16) {
        _mm256_storeu_si256((__m256i *)value, enter16(x, reciprocal, count));
        if (count <= 16) return;
    }
    _mm_storeu_si128((__m128i *)value, _mm256_castsi256_si128(enter16(x, reciprocal, count)));
}

static void leave_s8(const int8_t *value, float scale, float *y, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        const __m512i whole = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, value + k));
        _mm512_mask_storeu_ps(y + k, mask,
                              _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(scale)));
    }
}

static void leave_s16(const int16_t *value, float scale, float *y, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        const __m512i whole = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, value + k));
        _mm512_mask_storeu_ps(y + k, mask,
                              _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(scale)));
    }
}

/* ---- f32 ---- */

/* c[0] + c[1] u */
static inline __m512 linear16(const float *c, __m512 u) {
    return _mm512_fmadd_ps(_mm512_set1_ps(c[1]), u, _mm512_set1_ps(c[0]));
}

/* tanh of registers side by side: each alone is one chain of latencies. Pairs of coefficients
 * first, for chains half as long as Horner's. */
ELSTM_INLINE void tanh_16(__m512 *x, int count) {
    const float *p = elstm_tanh_p, *q = elstm_tanh_q;
    __m512 u[4], u2[4], over[4], under[4];
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        x[j] = _mm512_max_ps(x[j], _mm512_set1_ps(-ELSTM_TANH_CLAMP));
        x[j] = _mm512_min_ps(x[j], _mm512_set1_ps(ELSTM_TANH_CLAMP));
        u[j] = _mm512_mul_ps(x[j], x[j]);
        u2[j] = _mm512_mul_ps(u[j], u[j]);
    }
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        over[j] = linear16(p + 4, u[j]);
        over[j] = _mm512_fmadd_ps(_mm512_set1_ps(p[6]), u2[j], over[j]);
        over[j] = _mm512_fmadd_ps(over[j], u2[j], linear16(p + 2, u[j]));
        over[j] = _mm512_fmadd_ps(over[j], u2[j], linear16(p, u[j]));
        under[j] = _mm512_fmadd_ps(linear16(q + 2, u[j]), u2[j], linear16(q, u[j]));
    }
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) x[j] = _mm512_div_ps(_mm512_mul_ps(x[j], over[j]), under[j]);
}

/* The cell of one or two groups, from their sums: i and f in sum[.][0], g and o in sum[.][1]. */
ELSTM_INLINE void cells_f32(const __m512 (*sum)[2], float *c, float *h, float *y, int groups) {
    /* tanh(g) = 2 sigmoid(2 g) - 1 would cost accuracy, so that g is scaled in and out instead:
     * sigmoid(x) = 0.5 + 0.5 tanh(x / 2) */
    const __m512 half = _mm512_set1_ps(0.5f);
    const __m512 in_scale = _mm512_insertf32x8(half, _mm256_set1_ps(1.0f), 0);
    const __m512 out_offset = _mm512_insertf32x8(half, _mm256_setzero_ps(), 0);
    __m512 v[4];
    __m256 next[2], squashed[2];
    ELSTM_UNROLL
    for (int k = 0; k < groups; ++k) {
        v[2 * k] = _mm512_mul_ps(half, sum[k][0]);
        v[2 * k + 1] = _mm512_mul_ps(in_scale, sum[k][1]);
    }
    tanh_16(v, 2 * groups);
    ELSTM_UNROLL
    for (int k = 0; k < groups; ++k) {
        const __m512 i_f = _mm512_fmadd_ps(half, v[2 * k], half);
        const __m512 g_o = v[2 * k + 1] = _mm512_fmadd_ps(in_scale, v[2 * k + 1], out_offset);
        next[k] = _mm256_fmadd_ps(
            _mm512_extractf32x8_ps(i_f, 1), _mm256_loadu_ps(c + 8 * k),
            _mm256_mul_ps(_mm512_castps512_ps256(i_f), _mm512_castps512_ps256(g_o)));
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), next[k]);
        squashed[k] = next[k] = _mm256_maskz_mov_ps(
            _mm256_cmp_ps_mask(size, _mm256_set1_ps(ELSTM_TINY), _CMP_GE_OQ), next[k]);
    }
    tanh_8(squashed, groups);
    ELSTM_UNROLL
    for (int k = 0; k < groups; ++k) {
        const __m256 out = _mm256_mul_ps(_mm512_extractf32x8_ps(v[2 * k + 1], 1), squashed[k]);
        _mm256_storeu_ps(c + 8 * k, next[k]);
        _mm256_storeu_ps(h + 8 * k, out);
        _mm256_storeu_ps(y + 8 * k, out);
    }
}

static inline void load_sums(const float *z, __m512 (*sum)[2]) {
    sum[0][0] = _mm512_loadu_ps(z);
    sum[0][1] = _mm512_loadu_ps(z + 16);
}

static void lstm_f32(const float *z, float *c, float *h, float *y, uint32_t groups) {
    __m512 sum[2][2];
    for (; groups >= 2; groups -= 2, z += 64, c += 16, h += 16, y += 16) {
        load_sums(z, sum);
        load_sums(z + 32, sum + 1);
        cells_f32(sum, c, h, y, 2);
    }
    if (groups != 0) {
        load_sums(z, sum);
        cells_f32(sum, c, h, y, 1);
    }
}

/* Adds to sum[xs * groups], two registers a group of four gates: `xs` products at once over
 * `groups` groups side by side, in `chains` chains of columns. */
ELSTM_INLINE void sum_f32(const float *w, size_t group_size, const float *x, size_t x_stride,
                          uint32_t columns, int groups, int xs, int chains, __m512 (*sum)[2]) {
    const int tiles = groups * xs;
    ELSTM_UNROLL
    for (int t = tiles; t < tiles * chains; ++t) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    uint32_t left = columns;
    for (; left >= (uint32_t)chains; left -= (uint32_t)chains) {
        ELSTM_UNROLL
        for (int k = 0; k < chains; ++k, ++x, w += 32) {
            ELSTM_UNROLL
            for (int g = 0; g < groups; ++g) {
                const float *own = w + (size_t)g * group_size;
                const __m512 w0 = _mm512_loadu_ps(own), w1 = _mm512_loadu_ps(own + 16);
                ELSTM_UNROLL
                for (int j = 0; j < xs; ++j) {
                    const __m512 a = _mm512_set1_ps(x[(size_t)j * x_stride]);
                    const int t = k * tiles + j * groups + g;
                    sum[t][0] = _mm512_fmadd_ps(w0, a, sum[t][0]);
                    sum[t][1] = _mm512_fmadd_ps(w1, a, sum[t][1]);
                }
            }
        }
    }
    for (; left > 0; --left, ++x, w += 32) {
        ELSTM_UNROLL
        for (int t = 0; t < tiles; ++t) {
            const float *own = w + (size_t)(t % groups) * group_size;
            const __m512 a = _mm512_set1_ps(x[(size_t)(t / groups) * x_stride]);
            sum[t][0] = _mm512_fmadd_ps(_mm512_loadu_ps(own), a, sum[t][0]);
            sum[t][1] = _mm512_fmadd_ps(_mm512_loadu_ps(own + 16), a, sum[t][1]);
        }
    }
    ELSTM_UNROLL
    for (int t = 0; t < tiles; ++t) {
        ELSTM_UNROLL
        for (int v = 0; v < 2; ++v) {
            if (chains == 2) sum[t][v] = _mm512_add_ps(sum[t][v], sum[tiles + t][v]);
            if (chains == 4)
                sum[t][v] =
                    _mm512_add_ps(_mm512_add_ps(sum[t][v], sum[tiles + t][v]),
                                  _mm512_add_ps(sum[2 * tiles + t][v], sum[3 * tiles + t][v]));
        }
    }
}

/* The same from bias, or from y itself, and on to y. */
ELSTM_INLINE void tile_f32(const elstm_matrix_f32 *w, uint32_t first, const float *bias,
                           const float *x, size_t x_stride, float *y, int groups, int xs,
                           int chains) {
    const size_t rows = elstm_rows_f32(w), group_size = (size_t)w->columns * 32;
    __m512 sum[16][2];
    y += 32 * (size_t)first;
    ELSTM_UNROLL
    for (int t = 0; t < groups * xs; ++t) {
        const float *start = bias == NULL ? y + (size_t)(t / groups) * rows : bias + 32 * first;
        load_sums(start + 32 * (t % groups), sum + t);
    }
    sum_f32(w->weights + first * group_size, group_size, x, x_stride, w->columns, groups, xs,
            chains, sum);
    ELSTM_UNROLL
    for (int t = 0; t < groups * xs; ++t) {
        float *out = y + (size_t)(t / groups) * rows + 32 * (t % groups);
        _mm512_storeu_ps(out, sum[t][0]);
        _mm512_storeu_ps(out + 16, sum[t][1]);
    }
}

/* One group of one row a unit. */
static inline void group1_f32(const float *w, const float *start, const float *x, uint32_t columns,
                              float *y) {
    __m256 sum[4];
    uint32_t column = 0;
    sum[0] = _mm256_loadu_ps(start);
    ELSTM_UNROLL
    for (int k = 1; k < 4; ++k) sum[k] = _mm256_setzero_ps();
    for (; column + 4 <= columns; column += 4, w += 32) ELSTM_UNROLL
    for (int k = 0; k < 4; ++k)
        sum[k] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * k),
                                 _mm256_set1_ps(x[column + (uint32_t)k]), sum[k]);
    for (; column < columns; ++column, w += 8)
        sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(w), _mm256_set1_ps(x[column]), sum[0]);
    _mm256_storeu_ps(y,
                     _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

/* Bytes; weights beyond what the first cache holds are faster read in one stream of addresses. */
#define SIDE_BY_SIDE 32768

/* One x over groups of four gates. */
static inline void single_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                              float *y) {
    const size_t size = (size_t)w->columns * 128 * w->groups;
    uint32_t group = 0;
    if (size <= SIDE_BY_SIDE)
        for (; group + 2 <= w->groups; group += 2) tile_f32(w, group, bias, x, 0, y, 2, 1, 2);
    for (; group < w->groups; ++group) tile_f32(w, group, bias, x, 0, y, 1, 1, 4);
}

static void matmul_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const uint32_t rows = elstm_rows_f32(w);
    if (w->gates == 4) {
        for (; count >= 8; count -= 8, x += 8 * x_stride, y += 8 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_f32(w, group, bias, x, x_stride, y, 1, 8, 1);
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_f32(w, group, bias, x, x_stride, y, 1, 4, 1);
    }
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_f32(w, bias, x, y);
            continue;
        }
        const float *start = bias == NULL ? y : bias;
        for (uint32_t group = 0; group < w->groups; ++group)
            group1_f32(w->weights + (size_t)group * w->columns * 8, start + 8 * group, x,
                       w->columns, y + 8 * group);
    }
}

static inline void copy_h(const float *y, float *h, uint32_t groups) {
    for (; groups > 0; --groups, y += 8, h += 8) _mm256_storeu_ps(h, _mm256_loadu_ps(y));
}

/* Two groups at a time go from sums to h without memory in between. h stays what it was until all
 * have read it. */
static void recurrent_f32(const elstm_matrix_f32 *r, const float *z, float *c, float *h, float *y) {
    const size_t group_size = (size_t)r->columns * 32;
    const float *weights = r->weights;
    uint32_t group = 0;
    for (; group + 2 <= r->groups; group += 2, weights += 2 * group_size, z += 64) {
        __m512 sum[4][2], second[4][2];
        load_sums(z, sum);
        load_sums(z + 32, second);
        sum_f32(weights, 0, h, 0, r->columns, 1, 1, 4, sum);
        sum_f32(weights + group_size, 0, h, 0, r->columns, 1, 1, 4, second);
        sum[1][0] = second[0][0];
        sum[1][1] = second[0][1];
        cells_f32(sum, c + 8 * group, y + 8 * group, y + 8 * group, 2);
    }
    if (group < r->groups) {
        __m512 sum[4][2];
        load_sums(z, sum);
        sum_f32(weights, 0, h, 0, r->columns, 1, 1, 4, sum);
        cells_f32(sum, c + 8 * group, y + 8 * group, y + 8 * group, 1);
    }
    copy_h(y, h, r->groups);
}

/* Where all weights fit the first cache, inputs too go to h without memory in between. */
static void step_f32(const elstm_plain_f32 *l, const float *x, float *z, float *c, float *h,
                     float *y) {
    const elstm_matrix_f32 *w = l->kernel, *r = l->recurrent;
    const size_t w_size = (size_t)w->columns * 32, r_size = (size_t)r->columns * 32;
    if (w->groups % 2 != 0 || 4 * (w_size + r_size) * w->groups > SIDE_BY_SIDE) {
        matmul_f32(w, l->bias, x, 0, z, 1);
        recurrent_f32(r, z, c, h, y);
        return;
    }
    float *out = w->groups == 2 ? h : y;
    for (uint32_t group = 0; group < w->groups; group += 2) {
        __m512 sum[4][2];
        load_sums(l->bias + 32 * group, sum);
        load_sums(l->bias + 32 * group + 32, sum + 1);
        sum_f32(w->weights + group * w_size, w_size, x, 0, w->columns, 2, 1, 2, sum);
        sum_f32(r->weights + group * r_size, r_size, h, 0, r->columns, 2, 1, 2, sum);
        cells_f32(sum, c + 8 * group, out + 8 * group, y + 8 * group, 2);
    }
    if (out == y) copy_h(y, h, w->groups);
}

static void tanh_f32(float *v, uint32_t count) {
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        __m512 x = _mm512_maskz_loadu_ps(mask, v + k);
        tanh_16(&x, 1);
        _mm512_mask_storeu_ps(v + k, mask, x);
    }
}

static void sigmoid_f32(float *v, uint32_t count) {
    const __m512 half = _mm512_set1_ps(0.5f);
    for (uint32_t k = 0; k < count; k += 16) {
        const __mmask16 mask = first16(count - k);
        __m512 x = _mm512_mul_ps(half, _mm512_maskz_loadu_ps(mask, v + k));
        tanh_16(&x, 1);
        _mm512_mask_storeu_ps(v + k, mask, _mm512_fmadd_ps(half, x, half));
    }
}

#endif
