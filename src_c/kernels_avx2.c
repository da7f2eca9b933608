/* x86-64 with AVX2 and FMA. */
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include <immintrin.h>

#include "kernels_loops.h"
#include "kernels_x86.h"
#include "kernels_x86_tfl8.h"

/* ---- doors ---- */

static inline __m256 admit8(__m256 x) {
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    x = _mm256_and_ps(x, _mm256_cmp_ps(size, _mm256_set1_ps(ELSTM_SMALLEST), _CMP_GE_OQ));
    x = _mm256_max_ps(x, _mm256_set1_ps(-ELSTM_LARGEST));
    return _mm256_min_ps(x, _mm256_set1_ps(ELSTM_LARGEST));
}

static void enter_f32(const float *x, float *value, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) _mm256_storeu_ps(value + k, admit8(_mm256_loadu_ps(x + k)));
    loops_enter_f32(x + k, value + k, count - k);
}

/* The conversion rounds to nearest even. */
static void enter_s16(const float *x, float reciprocal, int16_t *value, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) {
        __m256 q = _mm256_mul_ps(admit8(_mm256_loadu_ps(x + k)), _mm256_set1_ps(reciprocal));
        q = _mm256_max_ps(q, _mm256_set1_ps(-32767.0f));
        q = _mm256_min_ps(q, _mm256_set1_ps(32767.0f));
        const __m256i whole = _mm256_cvtps_epi32(q);
        _mm_storeu_si128(
            (__m128i *)(value + k),
            _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
    }
    loops_enter_s16(x + k, reciprocal, value + k, count - k);
}

static void leave_s8(const int8_t *value, float scale, float *y, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const __m256i whole = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(value + k)));
        _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(scale)));
    }
    loops_leave_s8(value + k, scale, y + k, count - k);
}

static void leave_s16(const int16_t *value, float scale, float *y, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const __m256i whole = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(value + k)));
        _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(scale)));
    }
    loops_leave_s16(value + k, scale, y + k, count - k);
}

/* ---- f32 ---- */

static inline __m256 tanh8(__m256 x) {
    tanh_8(&x, 1);
    return x;
}

static inline __m256 sigmoid8(__m256 x) {
    const __m256 half = _mm256_set1_ps(0.5f);
    return _mm256_fmadd_ps(half, tanh8(_mm256_mul_ps(half, x)), half);
}

/* Adds to sum[xs * vectors]: `vectors` registers of 8 rows side by side in memory, `xs` products at
 * once, each sum in `chains` chains of columns; `step` floats from one column to the next. */
ELSTM_INLINE void sum_f32(const float *w, size_t step, const float *x, size_t x_stride,
                          uint32_t columns, int vectors, int xs, int chains, __m256 *sum) {
    const int tiles = vectors * xs;
    ELSTM_UNROLL
    for (int t = tiles; t < tiles * chains; ++t) sum[t] = _mm256_setzero_ps();
    uint32_t column = 0;
    for (; column + (uint32_t)chains <= columns; column += (uint32_t)chains) {
        ELSTM_UNROLL
        for (int k = 0; k < chains; ++k, w += step) {
            ELSTM_UNROLL
            for (int j = 0; j < xs; ++j) {
                const __m256 a =
                    _mm256_broadcast_ss(x + (size_t)j * x_stride + column + (uint32_t)k);
                ELSTM_UNROLL
                for (int v = 0; v < vectors; ++v) {
                    const int t = k * tiles + j * vectors + v;
                    sum[t] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * v), a, sum[t]);
                }
            }
        }
    }
    for (; column < columns; ++column, w += step) ELSTM_UNROLL
    for (int t = 0; t < tiles; ++t)
        sum[t] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * (t % vectors)),
                                 _mm256_broadcast_ss(x + (size_t)(t / vectors) * x_stride + column),
                                 sum[t]);
    ELSTM_UNROLL
    for (int t = 0; t < tiles; ++t) {
        if (chains == 2) sum[t] = _mm256_add_ps(sum[t], sum[tiles + t]);
        if (chains == 4)
            sum[t] = _mm256_add_ps(_mm256_add_ps(sum[t], sum[tiles + t]),
                                   _mm256_add_ps(sum[2 * tiles + t], sum[3 * tiles + t]));
    }
}

/* The same from bias, or from y itself, and on to y. */
ELSTM_INLINE void tile_f32(const float *w, size_t step, const float *bias, const float *x,
                           size_t x_stride, uint32_t columns, float *y, size_t rows, int vectors,
                           int xs, int chains) {
    __m256 sum[12];
    ELSTM_UNROLL
    for (int t = 0; t < vectors * xs; ++t)
        sum[t] = _mm256_loadu_ps((bias == NULL ? y + (size_t)(t / vectors) * rows : bias) +
                                 8 * (t % vectors));
    sum_f32(w, step, x, x_stride, columns, vectors, xs, chains, sum);
    ELSTM_UNROLL
    for (int t = 0; t < vectors * xs; ++t)
        _mm256_storeu_ps(y + (size_t)(t / vectors) * rows + 8 * (t % vectors), sum[t]);
}

/* `xs` products at once over half of a group's gates. */
ELSTM_INLINE void tiles_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                            size_t x_stride, float *y, int xs) {
    const size_t rows = elstm_rows_f32(w), group_size = (size_t)w->columns * 32;
    for (size_t at = 0; at < rows; at += 16) {
        const float *own = w->weights + at / 32 * group_size + at % 32;
        tile_f32(own, 32, bias == NULL ? NULL : bias + at, x, x_stride, w->columns, y + at, rows, 2,
                 xs, 1);
    }
}

static void single_f32(const elstm_matrix_f32 *w, const float *bias, const float *x, float *y) {
    const uint32_t lanes = w->gates * ELSTM_GROUP;
    const float *weights = w->weights;
    for (uint32_t group = 0; group < w->groups; ++group, y += lanes) {
        if (w->gates == 4)
            tile_f32(weights, 32, bias, x, 0, w->columns, y, 0, 4, 1, 2);
        else
            tile_f32(weights, 8, bias, x, 0, w->columns, y, 0, 1, 1, 4);
        weights += (size_t)w->columns * lanes;
        if (bias != NULL) bias += lanes;
    }
}

/* Six x are 12 sums, beside which two registers of weights and one of x still fit; eight go by
 * fours.
 */
static void matmul_f32(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count) {
    const size_t rows = elstm_rows_f32(w);
    if (w->gates == 4) {
        for (; count >= 6 && count != 8; count -= 6, x += 6 * x_stride, y += 6 * rows)
            tiles_f32(w, bias, x, x_stride, y, 6);
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * rows)
            tiles_f32(w, bias, x, x_stride, y, 4);
    }
    for (; count > 0; --count, x += x_stride, y += rows) single_f32(w, bias, x, y);
}

/* The cell of one group from the sums of i f g o. */
static inline void cell_f32(const __m256 *sum, float *c, float *h, float *y) {
    const __m256 i = sigmoid8(sum[0]), f = sigmoid8(sum[1]), g = tanh8(sum[2]),
                 o = sigmoid8(sum[3]);
    __m256 next = _mm256_fmadd_ps(f, _mm256_loadu_ps(c), _mm256_mul_ps(i, g));
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), next);
    next = _mm256_and_ps(next, _mm256_cmp_ps(size, _mm256_set1_ps(ELSTM_TINY), _CMP_GE_OQ));
    const __m256 out = _mm256_mul_ps(o, tanh8(next));
    _mm256_storeu_ps(c, next);
    _mm256_storeu_ps(h, out);
    _mm256_storeu_ps(y, out);
}

static void lstm_f32(const float *z, float *c, float *h, float *y, uint32_t groups) {
    for (; groups > 0; --groups, z += 32, c += 8, h += 8, y += 8) {
        const __m256 sum[4] = {_mm256_loadu_ps(z), _mm256_loadu_ps(z + 8), _mm256_loadu_ps(z + 16),
                               _mm256_loadu_ps(z + 24)};
        cell_f32(sum, c, h, y);
    }
}

/* A group goes from sums to h without memory in between. h stays what it was until all have read
 * it.
 */
static void recurrent_f32(const elstm_matrix_f32 *r, const float *z, float *c, float *h, float *y) {
    const float *weights = r->weights;
    for (uint32_t group = 0; group < r->groups; ++group, z += 32) {
        __m256 sum[12];
        ELSTM_UNROLL
        for (int g = 0; g < 4; ++g) sum[g] = _mm256_loadu_ps(z + 8 * g);
        sum_f32(weights, 32, h, 0, r->columns, 4, 1, 2, sum);
        cell_f32(sum, c + 8 * group, y + 8 * group, y + 8 * group);
        weights += (size_t)r->columns * 32;
    }
    for (uint32_t k = 0; k < 8 * r->groups; k += 8) _mm256_storeu_ps(h + k, _mm256_loadu_ps(y + k));
}

static void step_f32(const elstm_plain_f32 *l, const float *x, float *z, float *c, float *h,
                     float *y) {
    matmul_f32(l->kernel, l->bias, x, 0, z, 1);
    recurrent_f32(l->recurrent, z, c, h, y);
}

static void tanh_f32(float *v, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) _mm256_storeu_ps(v + k, tanh8(_mm256_loadu_ps(v + k)));
    loops_tanh_f32(v + k, count - k);
}

static void sigmoid_f32(float *v, uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) _mm256_storeu_ps(v + k, sigmoid8(_mm256_loadu_ps(v + k)));
    loops_sigmoid_f32(v + k, count - k);
}

/* ---- s8 ---- */

/* sum + v. As an instruction of our own: around the intrinsic gcc 12 copies sums from register to
 * register, and to memory. */
static inline __m256i add_to(__m256i sum, __m256i v) {
    __asm__("vpaddd {%1, %0, %0|%0, %0, %1}" : "+x"(sum) : "x"(v));
    return sum;
}

/* |x| times sign(w, x): a pair's sum is at most 2 * 128 * 127, which 16 bits hold. */
static inline __m256i dot8(__m256i sum, __m256i w, __m256i x, __m256i magnitude) {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, x));
    return add_to(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline __m256i four(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

/* Sums from a group on: `vectors` registers of 8 rows, the gates of one or two groups. */
ELSTM_INLINE void sum_s8(const elstm_matrix_s8 *w, size_t group, const int8_t *x, int vectors,
                         __m256i *sum) {
    const size_t step = 32 * (size_t)w->gates, group_size = w->quads * step;
    const int8_t *weights = w->weights + group * group_size;
    ELSTM_UNROLL
    for (int v = 0; v < vectors; ++v) sum[v] = _mm256_setzero_si256();
    for (uint32_t quad = 0; quad < w->quads; ++quad, x += 4, weights += step) {
        const __m256i four_x = four(x), magnitude = _mm256_abs_epi8(four_x);
        ELSTM_UNROLL
        for (int v = 0; v < vectors; ++v) {
            const int8_t *own = v < 4 ? weights + 32 * v : weights + group_size + 32 * (v - 4);
            sum[v] = dot8(sum[v], _mm256_loadu_si256((const __m256i *)own), four_x, magnitude);
        }
    }
}

ELSTM_INLINE void tile_s8(const elstm_matrix_s8 *w, size_t group, const elstm_rescale *rescale,
                          const int8_t *x, int32_t *y, int vectors) {
    const size_t at = group * w->gates * ELSTM_GROUP;
    __m256i sum[8];
    sum_s8(w, group, x, vectors, sum);
    ELSTM_UNROLL
    for (int v = 0; v < vectors; ++v)
        end8(sum[v], rescale, at + 8 * (size_t)v, y + at + 8 * (size_t)v);
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        uint32_t group = 0;
        if (w->gates == 4) {
            for (; group + 2 <= w->groups; group += 2) tile_s8(w, group, rescale, x, y, 8);
            if (group < w->groups) tile_s8(w, group, rescale, x, y, 4);
        } else {
            for (; group < w->groups; ++group) tile_s8(w, group, rescale, x, y, 1);
        }
    }
}

/* Weights widened to int16; each 64-bit lane pair sums two halves of a row, joined at the end. */
ELSTM_INLINE void chains_s16(const elstm_matrix_s8 *w, size_t group, const elstm_rescale *rescale,
                             const int16_t *x, int32_t *y, int vectors) {
    const size_t step = 32 * (size_t)w->gates;
    const int8_t *weights = w->weights + group * w->quads * step;
    const size_t at = group * w->gates * ELSTM_GROUP;
    __m256i low[4], high[4];
    ELSTM_UNROLL
    for (int v = 0; v < vectors; ++v) low[v] = high[v] = _mm256_setzero_si256();
    for (uint32_t quad = 0; quad < w->quads; ++quad, x += 4, weights += step) {
        int64_t bytes;
        memcpy(&bytes, x, sizeof bytes);
        const __m256i four_x = _mm256_set1_epi64x(bytes);
        ELSTM_UNROLL
        for (int v = 0; v < vectors; ++v) {
            const __m128i *own = (const __m128i *)(weights + 32 * v);
            low[v] = add_to(low[v],
                            _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(own)), four_x));
            high[v] = add_to(
                high[v], _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(own + 1)), four_x));
        }
    }
    ELSTM_UNROLL
    for (int v = 0; v < vectors; ++v)
        end8(_mm256_permute4x64_epi64(_mm256_hadd_epi32(low[v], high[v]), 0xD8), rescale,
             at + 8 * (size_t)v, y + at + 8 * (size_t)v);
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        if (w->gates == 4)
            for (uint32_t group = 0; group < w->groups; ++group)
                chains_s16(w, group, rescale, x, y, 4);
        else
            for (uint32_t group = 0; group < w->groups; ++group)
                chains_s16(w, group, rescale, x, y, 1);
    }
}

/* sh(v, s) where |v| < 2^27, so that four places to the left still fit. */
static inline __m256i requantize_shift8(__m256i v, const int8_t *shift) {
    const __m256i k = _mm256_add_epi32(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)shift)), _mm256_set1_epi32(4));
    return _mm256_srav_epi32(_mm256_slli_epi32(v, 4), k);
}

/* 16 rows: z = sat16(t + mh(t, m)). */
static inline __m256i requantize16(__m256i a, __m256i b, const int8_t *shift, __m256i m) {
    a = requantize_shift8(a, shift);
    b = requantize_shift8(b, shift + 8);
    const __m256i t = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    return _mm256_adds_epi16(t, _mm256_mulhrs_epi16(t, m));
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    uint32_t r = 0;
    for (; r + 16 <= rows; r += 16) {
        const __m256i a = _mm256_loadu_si256((const __m256i *)(acc + r));
        const __m256i b = _mm256_loadu_si256((const __m256i *)(acc + r + 8));
        const __m256i m = _mm256_loadu_si256((const __m256i *)(q->multiplier + r));
        _mm256_storeu_si256((__m256i *)(z + r), requantize16(a, b, q->shift + r, m));
    }
    if (r < rows) {
        const elstm_requantize rest = {q->shift + r, q->multiplier + r, NULL, 0};
        loops_requantize_s8(acc + r, &rest, z + r, rows - r);
    }
}

/* An 8-entry int16 table as bytes, turned by one: mulhi with 0x2020 below makes the index pair (2k
 * + 1, 2k + 2). */
static inline __m256i turned(const int16_t *entries) {
    const __m128i table = _mm_loadu_si128((const __m128i *)entries);
    return _mm256_broadcastsi128_si256(_mm_alignr_epi8(table, table, 15));
}

typedef struct {
    __m256i c0, c1, c2, c3;
} segments;

static inline segments load_segments(void) {
    return (segments){turned(elstm_tanh_c0), turned(elstm_tanh_c1), turned(elstm_tanh_c2),
                      turned(elstm_tanh_c3)};
}

/* q of docs/numerics.md from b, registers of 16 values side by side: each alone is one chain of
 * latencies. */
ELSTM_INLINE void cubic(const __m256i *b, __m256i *q, int count, const segments *t) {
    const __m256i *const rest[3] = {&t->c2, &t->c1, &t->c0};
    __m256i index[5], r[5];
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        const __m256i u = _mm256_mulhrs_epi16(b[j], b[j]);
        /* k = u >> 12; (u | 0x0FFF) * 0x2020 >> 16 = (2k + 1) + 256 (2k + 2), two indices mod 16 */
        index[j] = _mm256_mulhi_epu16(_mm256_or_si256(u, _mm256_set1_epi16(0x0FFF)),
                                      _mm256_set1_epi16(0x2020));
        r[j] = _mm256_xor_si256(_mm256_slli_epi16(u, 4), _mm256_set1_epi16((short)0x8000));
        q[j] = _mm256_shuffle_epi8(t->c3, index[j]);
    }
    ELSTM_UNROLL
    for (int step = 0; step < 3; ++step) {
        ELSTM_UNROLL
        for (int j = 0; j < count; ++j)
            q[j] = _mm256_add_epi16(_mm256_shuffle_epi8(*rest[step], index[j]),
                                    _mm256_mulhrs_epi16(q[j], r[j]));
    }
}

/* n of docs/numerics.md */
static inline __m256i folding(__m256i v) {
    return _mm256_xor_si256(_mm256_srai_epi16(v, 15), _mm256_set1_epi16(0x7FFF));
}

/* T from q: raw - (v >> 15) */
static inline __m256i tanh_of(__m256i v, __m256i q) {
    return _mm256_sub_epi16(_mm256_xor_si256(q, folding(v)), _mm256_srai_epi16(v, 15));
}

/* S from q: 16384 + ((raw + 1) >> 1) is half of raw + 32768, unsigned and rounded up. */
static inline __m256i sigmoid_of(__m256i v, __m256i q) {
    const __m256i raw = _mm256_xor_si256(q, _mm256_cmpgt_epi16(v, _mm256_set1_epi16(-1)));
    return _mm256_avg_epu16(raw, _mm256_setzero_si256());
}

static inline __m256i tanh16(__m256i v, const segments *t) {
    const __m256i b = _mm256_xor_si256(v, folding(v));
    __m256i q;
    cubic(&b, &q, 1, t);
    return tanh_of(v, q);
}

static inline __m256i sigmoid16(__m256i v, const segments *t) {
    const __m256i b = _mm256_xor_si256(v, folding(v));
    __m256i q;
    cubic(&b, &q, 1, t);
    return sigmoid_of(v, q);
}

static void tanh_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    uint32_t k = 0;
    for (; k + 16 <= count; k += 16)
        _mm256_storeu_si256((__m256i *)(v + k),
                            tanh16(_mm256_loadu_si256((const __m256i *)(v + k)), &t));
    loops_tanh_s16(v + k, count - k);
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    uint32_t k = 0;
    for (; k + 16 <= count; k += 16)
        _mm256_storeu_si256((__m256i *)(v + k),
                            sigmoid16(_mm256_loadu_si256((const __m256i *)(v + k)), &t));
    loops_sigmoid_s16(v + k, count - k);
}

/* z of two groups, packed without sorting to the order of elstm_cell_x86. */
ELSTM_INLINE void requantize_gates(const int32_t *acc, uint32_t second, const elstm_cell_x86 *own,
                                   uint32_t up, __m256i *z) {
    ELSTM_UNROLL
    for (int g = 0; g < 4; ++g) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(acc + 8 * g));
        __m256i b = _mm256_loadu_si256((const __m256i *)(acc + second + 8 * g));
        if (up != 0) {
            a = _mm256_slli_epi32(a, 4);
            b = _mm256_slli_epi32(b, 4);
        }
        a = _mm256_srav_epi32(a, _mm256_loadu_si256((const __m256i *)(own->shift[0] + 8 * g)));
        b = _mm256_srav_epi32(b, _mm256_loadu_si256((const __m256i *)(own->shift[1] + 8 * g)));
        const __m256i v = _mm256_packs_epi32(a, b);
        const __m256i m = _mm256_loadu_si256((const __m256i *)own->multiplier[g][0][0]);
        z[g] = _mm256_adds_epi16(v, _mm256_mulhrs_epi16(v, m));
    }
}

/* The order of elstm_cell_x86 from that of units, and back: quarters 0 2 1 3. */
#define SORTED 0xD8

/* c of 16 units from i f g o; what its tanh is taken of. */
static inline __m256i next_c(const __m256i *gates, const elstm_cell_s8 *cell, uint32_t at,
                             int lone) {
    const __m256i before =
        lone ? _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(cell->c + at)))
             : _mm256_loadu_si256((const __m256i *)(cell->c + at));
    const __m256i gained = _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(gates[0], gates[2]),
                                               _mm256_set1_epi16((short)cell->kappa));
    __m256i c = _mm256_adds_epi16(
        _mm256_mulhrs_epi16(gates[1], _mm256_permute4x64_epi64(before, SORTED)), gained);
    store16(cell->c + at, _mm256_permute4x64_epi64(c, SORTED), lone);
    for (uint32_t k = 0; k < cell->doublings; ++k) c = _mm256_adds_epi16(c, c);
    return c;
}

static inline void next_h(__m256i o, __m256i squashed, const elstm_cell_s8 *cell, uint32_t at,
                          int lone) {
    const __m256i h16 = _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(o, squashed),
                                            _mm256_set1_epi16((short)cell->hidden_multiplier));
    if (cell->type == ELSTM_S16) {
        const __m256i h = _mm256_permute4x64_epi64(h16, SORTED);
        store16((int16_t *)cell->h + at, h, lone);
        store16((int16_t *)cell->y + at, h, lone);
        return;
    }
    const __m256i bytes = _mm256_max_epi8(_mm256_packs_epi16(h16, h16), _mm256_set1_epi8(-127));
    /* each half holds four units of the first group, then four of the second */
    const __m128i h =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    int8_t *to_h = (int8_t *)cell->h + at, *to_y = (int8_t *)cell->y + at;
    if (lone) {
        _mm_storel_epi64((__m128i *)to_h, h);
        _mm_storel_epi64((__m128i *)to_y, h);
    } else {
        _mm_storeu_si128((__m128i *)to_h, h);
        _mm_storeu_si128((__m128i *)to_y, h);
    }
}

/* Gates of two groups from z in v[0 ... 3]; with `under_way`, beside them the tanh of the c of the
 * two groups before, in v[4]. */
ELSTM_INLINE void gates16(__m256i *v, __m256i *gates, const segments *t, int under_way) {
    __m256i b[5], q[5];
    ELSTM_UNROLL
    for (int j = 0; j < 4 + under_way; ++j) b[j] = _mm256_xor_si256(v[j], folding(v[j]));
    cubic(b, q, 4 + under_way, t);
    ELSTM_UNROLL
    for (int g = 0; g < 4; ++g) gates[g] = g == 2 ? tanh_of(v[g], q[g]) : sigmoid_of(v[g], q[g]);
    if (under_way) v[4] = tanh_of(v[4], q[4]);
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const segments t = load_segments();
    const elstm_cell_x86 *own = (const elstm_cell_x86 *)(const void *)q->prepared;
    __m256i v[5], gates[4], o;
    uint32_t at = 0;
    requantize_gates(acc, groups == 1 ? 0 : 32, own, q->up, v);
    gates16(v, gates, &t, 0);
    for (; groups > 2; groups -= 2, at += 16) {
        acc += 64;
        ++own;
        v[4] = next_c(gates, cell, at, 0);
        o = gates[3];
        requantize_gates(acc, groups == 3 ? 0 : 32, own, q->up, v);
        gates16(v, gates, &t, 1);
        next_h(o, v[4], cell, at, 0);
    }
    v[4] = next_c(gates, cell, at, groups == 1);
    next_h(gates[3], tanh16(v[4], &t), cell, at, groups == 1);
}

static void step_s16(const elstm_plain_s8 *l, const void *x, int32_t *acc,
                     const elstm_cell_s8 *cell) {
    matmul_s16(l->kernel, l->rescale, x, 0, acc, 1);
    matmul_s8(l->recurrent, NULL, cell->h, 0, acc, 1);
    lstm_s8(acc, l->requantize, cell, l->kernel->groups);
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_avx2 = {
    .name = "avx2",
    .align = 64,
    .enter_f32 = enter_f32,
    .enter_s16 = enter_s16,
    .leave_s8 = leave_s8,
    .leave_s16 = leave_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .recurrent_f32 = recurrent_f32,
    .step_f32 = step_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = NULL,
    .prepare_lstm_s8 = elstm_prepare_lstm_x86,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .step_s16 = step_s16,
    .step_scratch = 16,
    .lstm_tfl8 = tfl8_lstm,
    .tanh_s16 = tanh_s16,
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_avx2_not_built;
#endif
