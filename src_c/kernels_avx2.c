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

/* ---- f32 ---- */

static inline __m256 tanh8(__m256 x) {
    x = _mm256_max_ps(x, _mm256_set1_ps(-ELSTM_TANH_CLAMP));
    x = _mm256_min_ps(x, _mm256_set1_ps(ELSTM_TANH_CLAMP));
    const __m256 u = _mm256_mul_ps(x, x);
    __m256 p = _mm256_set1_ps(elstm_tanh_p[6]), q = _mm256_set1_ps(elstm_tanh_q[3]);
    for (int k = 5; k >= 0; --k) p = _mm256_fmadd_ps(p, u, _mm256_set1_ps(elstm_tanh_p[k]));
    for (int k = 2; k >= 0; --k) q = _mm256_fmadd_ps(q, u, _mm256_set1_ps(elstm_tanh_q[k]));
    return _mm256_div_ps(_mm256_mul_ps(x, p), q);
}

static inline __m256 sigmoid8(__m256 x) {
    const __m256 half = _mm256_set1_ps(0.5f);
    return _mm256_fmadd_ps(half, tanh8(_mm256_mul_ps(half, x)), half);
}

/* One group of four gates: eight chains, even and odd columns apart. */
static inline void group4(const float *w, const float *start, const float *x, uint32_t columns,
                          float *y) {
    __m256 even[4], odd[4];
    uint32_t column = 0;
    for (int g = 0; g < 4; ++g) {
        even[g] = start == NULL ? _mm256_setzero_ps() : _mm256_loadu_ps(start + 8 * g);
        odd[g] = _mm256_setzero_ps();
    }
    for (; column + 2 <= columns; column += 2, w += 64) {
        const __m256 a = _mm256_broadcast_ss(x + column), b = _mm256_broadcast_ss(x + column + 1);
        for (int g = 0; g < 4; ++g) {
            even[g] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * g), a, even[g]);
            odd[g] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 32 + 8 * g), b, odd[g]);
        }
    }
    if (column < columns) {
        const __m256 a = _mm256_broadcast_ss(x + column);
        for (int g = 0; g < 4; ++g)
            even[g] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * g), a, even[g]);
    }
    for (int g = 0; g < 4; ++g) _mm256_storeu_ps(y + 8 * g, _mm256_add_ps(even[g], odd[g]));
}

/* One group of one row a unit: four chains. */
static inline void group1(const float *w, const float *start, const float *x, uint32_t columns,
                          float *y) {
    __m256 sum[4];
    uint32_t column = 0;
    sum[0] = start == NULL ? _mm256_setzero_ps() : _mm256_loadu_ps(start);
    for (int k = 1; k < 4; ++k) sum[k] = _mm256_setzero_ps();
    for (; column + 4 <= columns; column += 4, w += 32)
        for (int k = 0; k < 4; ++k)
            sum[k] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * k),
                                     _mm256_broadcast_ss(x + column + k), sum[k]);
    for (; column < columns; ++column, w += 8)
        sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(w), _mm256_broadcast_ss(x + column), sum[0]);
    _mm256_storeu_ps(y,
                     _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

/* Four x at a time over one group of four gates, one gate pair a pass, so that weights are loaded
 * once for four. */
static inline void group4_x4(const float *w, const float *const start[4], const float *x,
                             size_t x_stride, uint32_t columns, float *y, size_t rows) {
    for (int pair = 0; pair < 2; ++pair) {
        __m256 sum[4][2];
        const float *v = w + 16 * pair;
        for (int k = 0; k < 4; ++k)
            for (int g = 0; g < 2; ++g)
                sum[k][g] = start[k] == NULL ? _mm256_setzero_ps()
                                             : _mm256_loadu_ps(start[k] + 16 * pair + 8 * g);
        for (uint32_t column = 0; column < columns; ++column, v += 32) {
            const __m256 w0 = _mm256_loadu_ps(v), w1 = _mm256_loadu_ps(v + 8);
            for (int k = 0; k < 4; ++k) {
                const __m256 a = _mm256_broadcast_ss(x + (size_t)k * x_stride + column);
                sum[k][0] = _mm256_fmadd_ps(w0, a, sum[k][0]);
                sum[k][1] = _mm256_fmadd_ps(w1, a, sum[k][1]);
            }
        }
        for (int k = 0; k < 4; ++k)
            for (int g = 0; g < 2; ++g)
                _mm256_storeu_ps(y + (size_t)k * rows + 16 * pair + 8 * g, sum[k][g]);
    }
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
    const __m256 tiny = _mm256_set1_ps(ELSTM_TINY), sign = _mm256_set1_ps(-0.0f);
    for (uint32_t group = 0; group < groups; ++group, z += 32, c += 8, h += 8, y += 8) {
        const __m256 i = sigmoid8(_mm256_loadu_ps(z)), f = sigmoid8(_mm256_loadu_ps(z + 8));
        const __m256 g = tanh8(_mm256_loadu_ps(z + 16)), o = sigmoid8(_mm256_loadu_ps(z + 24));
        __m256 next = _mm256_fmadd_ps(f, _mm256_loadu_ps(c), _mm256_mul_ps(i, g));
        next = _mm256_and_ps(next, _mm256_cmp_ps(_mm256_andnot_ps(sign, next), tiny, _CMP_GE_OQ));
        const __m256 out = _mm256_mul_ps(o, tanh8(next));
        _mm256_storeu_ps(c, next);
        _mm256_storeu_ps(h, out);
        _mm256_storeu_ps(y, out);
    }
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

/* |x| times sign(w, x): a pair's sum is at most 2 * 128 * 127, which 16 bits hold. */
static inline __m256i dot8(__m256i sum, __m256i w, __m256i x, __m256i magnitude) {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, x));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline __m256i four(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

/* `vectors` chains of 8 rows each, side by side in memory: the gates of one or two groups. */
static inline __attribute__((always_inline)) void chains_s8(const int8_t *w, size_t step,
                                                            const int32_t *start, const int8_t *x,
                                                            uint32_t quads, int32_t *y, int vectors,
                                                            size_t second) {
    __m256i sum[8];
    for (int g = 0; g < vectors; ++g)
        sum[g] = start == NULL ? _mm256_setzero_si256()
                               : _mm256_loadu_si256((const __m256i *)(start + 8 * g));
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += step) {
        const __m256i v = four(x), magnitude = _mm256_abs_epi8(v);
        for (int g = 0; g < vectors; ++g) {
            const int8_t *at = g < 4 ? w + 32 * g : w + second + 32 * (g - 4);
            sum[g] = dot8(sum[g], _mm256_loadu_si256((const __m256i *)at), v, magnitude);
        }
    }
    for (int g = 0; g < vectors; ++g) _mm256_storeu_si256((__m256i *)(y + 8 * g), sum[g]);
}

static void matmul_s8(const elstm_matrix_s8 *w, const int32_t *init, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    const size_t group_size = (size_t)w->quads * lanes * 4;
    const int in_place = init == y;
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        const int32_t *start = in_place ? y : init;
        const int8_t *weights = w->weights;
        uint32_t group = 0;
        if (w->gates == 4) {
            for (; group + 2 <= w->groups; group += 2, weights += 2 * group_size)
                chains_s8(weights, 128, start == NULL ? NULL : start + group * 32, x, w->quads,
                          y + group * 32, 8, group_size);
            if (group < w->groups)
                chains_s8(weights, 128, start == NULL ? NULL : start + group * 32, x, w->quads,
                          y + group * 32, 4, 0);
        } else {
            for (; group < w->groups; ++group, weights += group_size)
                chains_s8(weights, 32, start == NULL ? NULL : start + group * 8, x, w->quads,
                          y + group * 8, 1, 0);
        }
    }
}

/* Weights widened to int16; each 64-bit lane pair sums two halves of a row, joined at the end. */
static inline __attribute__((always_inline)) void chains_s16(const int8_t *w, size_t step,
                                                             const int32_t *start, const int16_t *x,
                                                             uint32_t quads, int32_t *y,
                                                             int vectors) {
    __m256i low[4], high[4];
    for (int g = 0; g < vectors; ++g) low[g] = high[g] = _mm256_setzero_si256();
    for (uint32_t quad = 0; quad < quads; ++quad, x += 4, w += step) {
        int64_t bytes;
        memcpy(&bytes, x, sizeof bytes);
        const __m256i v = _mm256_set1_epi64x(bytes);
        for (int g = 0; g < vectors; ++g) {
            const __m128i *at = (const __m128i *)(w + 32 * g);
            low[g] = _mm256_add_epi32(
                low[g], _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(at)), v));
            high[g] = _mm256_add_epi32(
                high[g], _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(at + 1)), v));
        }
    }
    for (int g = 0; g < vectors; ++g) {
        const __m256i sum = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[g], high[g]), 0xD8);
        const __m256i from = start == NULL ? _mm256_setzero_si256()
                                           : _mm256_loadu_si256((const __m256i *)(start + 8 * g));
        _mm256_storeu_si256((__m256i *)(y + 8 * g), _mm256_add_epi32(sum, from));
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

/* sh(v, k) for 8 lanes: left by max(-k, 0), then right by max(k, 0). */
static inline __m256i shift8(__m256i v, __m256i k) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i left = _mm256_max_epi32(_mm256_sub_epi32(zero, k), zero);
    return _mm256_srav_epi32(_mm256_sllv_epi32(v, left), _mm256_max_epi32(k, zero));
}

static inline __m256i load_shift(const int8_t *shift) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)shift));
}

static void rescale_s8(int32_t *acc, const int8_t *shift, const int32_t *bias, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(acc + r));
        const __m256i sum = _mm256_add_epi32(shift8(v, load_shift(shift + r)),
                                             _mm256_loadu_si256((const __m256i *)(bias + r)));
        _mm256_storeu_si256((__m256i *)(acc + r), sum);
    }
}

/* 16 rows: z = sat16(t + mh(t, m)). */
static inline __m256i requantize16(__m256i a, __m256i b, const int8_t *shift, __m256i m) {
    a = shift8(a, load_shift(shift));
    b = shift8(b, load_shift(shift + 8));
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
        const elstm_requantize rest = {q->shift + r, q->multiplier + r};
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

/* raw of docs/numerics.md for 16 values. */
static inline __m256i tanh_raw(__m256i v, const segments *t) {
    const __m256i n = _mm256_xor_si256(_mm256_srai_epi16(v, 15), _mm256_set1_epi16(0x7FFF));
    const __m256i b = _mm256_xor_si256(v, n);
    const __m256i u = _mm256_mulhrs_epi16(b, b);
    /* k = u >> 12; (u | 0x0FFF) * 0x2020 >> 16 = (2k + 1) + 256 (2k + 2), two indices mod 16 */
    const __m256i index = _mm256_mulhi_epu16(_mm256_or_si256(u, _mm256_set1_epi16(0x0FFF)),
                                             _mm256_set1_epi16(0x2020));
    const __m256i r = _mm256_xor_si256(_mm256_slli_epi16(u, 4), _mm256_set1_epi16((short)0x8000));
    __m256i q = _mm256_shuffle_epi8(t->c3, index);
    q = _mm256_add_epi16(_mm256_shuffle_epi8(t->c2, index), _mm256_mulhrs_epi16(q, r));
    q = _mm256_add_epi16(_mm256_shuffle_epi8(t->c1, index), _mm256_mulhrs_epi16(q, r));
    q = _mm256_add_epi16(_mm256_shuffle_epi8(t->c0, index), _mm256_mulhrs_epi16(q, r));
    return _mm256_xor_si256(q, n);
}

static inline __m256i tanh16(__m256i v, const segments *t) {
    return _mm256_sub_epi16(tanh_raw(v, t), _mm256_srai_epi16(v, 15));
}

static inline __m256i sigmoid16(__m256i v, const segments *t) {
    const __m256i raw = tanh_raw(v, t);
    /* (raw + 1) >> 1 without leaving 16 bits: raw is never 32767 */
    return _mm256_add_epi16(_mm256_srai_epi16(_mm256_add_epi16(raw, _mm256_set1_epi16(1)), 1),
                            _mm256_set1_epi16(16384));
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

/* Two groups in the halves of each register, so that 16 units share every instruction; `second` is
 * the offset of the second group's rows, 0 to compute a lone group twice. */
static inline void cell16(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                          uint32_t at, uint32_t second, const segments *t) {
    __m256i z[4];
    for (int g = 0; g < 4; ++g) {
        const uint32_t r = 8u * (uint32_t)g;
        __m256i a = _mm256_loadu_si256((const __m256i *)(acc + r));
        __m256i b = _mm256_loadu_si256((const __m256i *)(acc + second + r));
        a = shift8(a, load_shift(q->shift + r));
        b = shift8(b, load_shift(q->shift + second + r));
        const __m256i m =
            _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(q->multiplier + second + r)),
                             _mm_loadu_si128((const __m128i *)(q->multiplier + r)));
        const __m256i v = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        z[g] = _mm256_adds_epi16(v, _mm256_mulhrs_epi16(v, m));
    }
    const __m256i i = sigmoid16(z[0], t), f = sigmoid16(z[1], t), g = tanh16(z[2], t),
                  o = sigmoid16(z[3], t);
    __m256i c = second != 0
                    ? _mm256_loadu_si256((const __m256i *)(cell->c + at))
                    : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(cell->c + at)));
    c = _mm256_adds_epi16(
        _mm256_mulhrs_epi16(f, c),
        _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(i, g), _mm256_set1_epi16((short)cell->kappa)));
    __m256i v = c;
    for (uint32_t k = 0; k < cell->doublings; ++k) v = _mm256_adds_epi16(v, v);
    const __m256i h16 = _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(o, tanh16(v, t)),
                                            _mm256_set1_epi16((short)cell->hidden_multiplier));
    const __m128i h = _mm_max_epi8(
        _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packs_epi16(h16, h16), 0xD8)),
        _mm_set1_epi8(-127));
    if (second != 0) {
        _mm256_storeu_si256((__m256i *)(cell->c + at), c);
        _mm_storeu_si128((__m128i *)(cell->h + at), h);
        _mm_storeu_si128((__m128i *)(cell->y + at), h);
    } else {
        _mm_storeu_si128((__m128i *)(cell->c + at), _mm256_castsi256_si128(c));
        _mm_storel_epi64((__m128i *)(cell->h + at), h);
        _mm_storel_epi64((__m128i *)(cell->y + at), h);
    }
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const segments t = load_segments();
    uint32_t group = 0;
    for (; group < groups; group += 2) {
        const elstm_requantize rows = {q->shift + 32 * group, q->multiplier + 32 * group};
        cell16(acc + 32 * group, &rows, cell, 8 * group, group + 1 < groups ? 32 : 0, &t);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const elstm_kernels elstm_kernels_avx2 = {
    .name = "avx2",
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
typedef int elstm_kernels_avx2_not_built;
#endif
