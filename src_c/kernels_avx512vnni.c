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

#include "kernels_avx512_f32.h"
#include "kernels_avx512_tfl8.h"

/* ---- s8 ---- */

static inline __m512i load512(const void *p) { return _mm512_loadu_si512(p); }

static inline __m512i xor3(__m512i a, __m512i b, __m512i c) {
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

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

/* The sum of four products a lane, added. As an instruction of our own: around the intrinsic gcc 12
 * copies every sum twice, which takes half as long again. */
static inline __m512i dot16(__m512i sum, __m512i x, __m512i w) {
    __asm__("vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

/* Four x + 128, as often as a register holds them. */
static inline __m512i four_plus_128(const int8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_xor_si512(_mm512_set1_epi32(bytes), _mm512_set1_epi8(-128));
}

/* How sums of 16 rows go on to y. */
typedef struct {
    __m512i left, right, bias;
    int any_left;
} ending;

static inline ending load_ending(const elstm_rescale *rescale, size_t at) {
    if (rescale == NULL) return (ending){0};
    const __m512i zero = _mm512_setzero_si512();
    const __m512i k = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(rescale->shift + at)));
    ending e = {zero, k, load512(rescale->bias + at), _mm512_movepi32_mask(k) != 0};
    if (e.any_left) {
        e.left = _mm512_max_epi32(_mm512_sub_epi32(zero, k), zero);
        e.right = _mm512_max_epi32(k, zero);
    }
    return e;
}

ELSTM_INLINE void end16(__m512i sum, const elstm_rescale *rescale, const ending *e, int32_t *y) {
    if (rescale == NULL) {
        sum = _mm512_add_epi32(sum, load512(y));
    } else {
        if (e->any_left) sum = _mm512_sllv_epi32(sum, e->left);
        sum = _mm512_add_epi32(_mm512_srav_epi32(sum, e->right), e->bias);
    }
    _mm512_storeu_si512(y, sum);
}

/* Sums of groups of four gates from group `first` on, two registers each: `xs` products at once
 * over `groups` groups side by side, in `chains` chains of quads that meet in sum[xs * groups]. */
ELSTM_INLINE void sum_s8(const elstm_matrix_s8 *w, uint32_t first, const int8_t *x, size_t x_stride,
                         int groups, int xs, int chains, __m512i (*sum)[2]) {
    const size_t group_size = (size_t)w->quads * 128;
    const int8_t *weights = w->weights + first * group_size;
    const int tiles = groups * xs;
    ELSTM_UNROLL
    for (int t = 0; t < tiles * chains; ++t) ELSTM_UNROLL
    for (int v = 0; v < 2; ++v)
        sum[t][v] = t < tiles ? load512(w->surplus + 32 * (first + (uint32_t)(t % groups)) + 16 * v)
                              : _mm512_setzero_si512();
    uint32_t left = w->quads;
    for (; left >= (uint32_t)chains; left -= (uint32_t)chains) {
        ELSTM_UNROLL
        for (int k = 0; k < chains; ++k, x += 4, weights += 128) {
            ELSTM_UNROLL
            for (int g = 0; g < groups; ++g) {
                const int8_t *own = weights + (size_t)g * group_size;
                const __m512i w0 = load512(own), w1 = load512(own + 64);
                ELSTM_UNROLL
                for (int j = 0; j < xs; ++j) {
                    const __m512i v = four_plus_128(x + (size_t)j * x_stride);
                    const int t = k * tiles + j * groups + g;
                    sum[t][0] = dot16(sum[t][0], v, w0);
                    sum[t][1] = dot16(sum[t][1], v, w1);
                }
            }
        }
    }
    for (; left > 0; --left, x += 4, weights += 128) {
        ELSTM_UNROLL
        for (int t = 0; t < tiles; ++t) {
            const int8_t *own = weights + (size_t)(t % groups) * group_size;
            const __m512i v = four_plus_128(x + (size_t)(t / groups) * x_stride);
            sum[t][0] = dot16(sum[t][0], v, load512(own));
            sum[t][1] = dot16(sum[t][1], v, load512(own + 64));
        }
    }
    ELSTM_UNROLL
    for (int t = 0; t < tiles; ++t) {
        ELSTM_UNROLL
        for (int v = 0; v < 2; ++v) {
            if (chains == 2) sum[t][v] = _mm512_add_epi32(sum[t][v], sum[tiles + t][v]);
            if (chains == 4)
                sum[t][v] = _mm512_add_epi32(
                    _mm512_add_epi32(sum[t][v], sum[tiles + t][v]),
                    _mm512_add_epi32(sum[2 * tiles + t][v], sum[3 * tiles + t][v]));
        }
    }
}

/* Those sums, on to y. */
ELSTM_INLINE void end_tile(const __m512i (*sum)[2], size_t rows, uint32_t first,
                           const elstm_rescale *rescale, int32_t *y, int groups, int xs) {
    ELSTM_UNROLL
    for (int k = 0; k < 2 * groups; ++k) {
        const size_t at = 32 * (size_t)first + 16 * (size_t)k;
        const ending e = load_ending(rescale, at);
        ELSTM_UNROLL
        for (int j = 0; j < xs; ++j)
            end16(sum[j * groups + k / 2][k % 2], rescale, &e, y + (size_t)j * rows + at);
    }
}

ELSTM_INLINE void tile_s8(const elstm_matrix_s8 *w, uint32_t first, const elstm_rescale *rescale,
                          const int8_t *x, size_t x_stride, int32_t *y, int groups, int xs,
                          int chains) {
    __m512i sum[16][2];
    sum_s8(w, first, x, x_stride, groups, xs, chains, sum);
    end_tile(sum, elstm_rows_s8(w), first, rescale, y, groups, xs);
}

static inline __m256i group1_s8(const int8_t *w, const int32_t *surplus, const int8_t *x,
                                uint32_t quads) {
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
    return _mm256_add_epi32(even, odd);
}

/* One x over groups of four gates. */
static inline void single_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale,
                             const int8_t *x, int32_t *y) {
    const size_t size = (size_t)w->quads * 128 * w->groups;
    uint32_t group = 0;
    if (size <= SIDE_BY_SIDE) {
        for (; group + 4 <= w->groups; group += 4) tile_s8(w, group, rescale, x, 0, y, 4, 1, 1);
        for (; group + 2 <= w->groups; group += 2) tile_s8(w, group, rescale, x, 0, y, 2, 1, 2);
    }
    for (; group < w->groups; ++group) tile_s8(w, group, rescale, x, 0, y, 1, 1, 4);
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    if (w->gates == 4) {
        for (; count >= 8; count -= 8, x += 8 * x_stride, y += 8 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_s8(w, group, rescale, x, x_stride, y, 1, 8, 1);
        for (; count >= 4; count -= 4, x += 4 * x_stride, y += 4 * (size_t)rows)
            for (uint32_t group = 0; group < w->groups; ++group)
                tile_s8(w, group, rescale, x, x_stride, y, 1, 4, 1);
    }
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_s8(w, rescale, x, y);
            continue;
        }
        for (uint32_t group = 0; group < w->groups; ++group) {
            const __m256i sum = group1_s8(w->weights + (size_t)group * w->quads * 32,
                                          w->surplus + 8 * group, x, w->quads);
            end8(sum, rescale, 8 * group, y + 8 * group);
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

/* As sum_s8, with two sums a row on the way. */
ELSTM_INLINE void sum_s16(const elstm_matrix_s8 *w, uint32_t first, const int16_t *x,
                          size_t x_stride, int groups, int xs, int chains, __m512i (*sum)[2]) {
    const size_t group_size = (size_t)w->quads * 128, row = 32 * (size_t)first;
    const int8_t *weights = w->weights + first * group_size;
    __m512i high[8][2], low[8][2];
    const int tiles = groups * xs;
    ELSTM_UNROLL
    for (int t = 0; t < tiles * chains; ++t) {
        ELSTM_UNROLL
        for (int v = 0; v < 2; ++v) {
            high[t][v] = t < tiles ? load512(w->surplus + row + 32 * (t % groups) + 16 * v)
                                   : _mm512_setzero_si512();
            low[t][v] = _mm512_setzero_si512();
        }
    }
    uint32_t left = w->quads;
    for (; left >= (uint32_t)chains; left -= (uint32_t)chains) {
        ELSTM_UNROLL
        for (int k = 0; k < chains; ++k, x += 4, weights += 128) {
            ELSTM_UNROLL
            for (int j = 0; j < xs; ++j) {
                const __m512i v = four_s16(x + (size_t)j * x_stride);
                const __m512i v_high = high_bytes(v), v_low = low_bytes(v);
                ELSTM_UNROLL
                for (int g = 0; g < groups; ++g) {
                    const int8_t *own = weights + (size_t)g * group_size;
                    const int t = k * tiles + j * groups + g;
                    ELSTM_UNROLL
                    for (int u = 0; u < 2; ++u) {
                        const __m512i values = load512(own + 64 * u);
                        high[t][u] = dot16(high[t][u], v_high, values);
                        low[t][u] = dot16(low[t][u], v_low, values);
                    }
                }
            }
        }
    }
    for (; left > 0; --left, x += 4, weights += 128) {
        ELSTM_UNROLL
        for (int t = 0; t < tiles; ++t) {
            const __m512i v = four_s16(x + (size_t)(t / groups) * x_stride);
            ELSTM_UNROLL
            for (int u = 0; u < 2; ++u) {
                const __m512i values =
                    load512(weights + (size_t)(t % groups) * group_size + 64 * u);
                high[t][u] = dot16(high[t][u], high_bytes(v), values);
                low[t][u] = dot16(low[t][u], low_bytes(v), values);
            }
        }
    }
    ELSTM_UNROLL
    for (int t = 0; t < tiles; ++t) {
        ELSTM_UNROLL
        for (int v = 0; v < 2; ++v) {
            ELSTM_UNROLL
            for (int k = 1; k < chains; ++k) {
                high[t][v] = _mm512_add_epi32(high[t][v], high[k * tiles + t][v]);
                low[t][v] = _mm512_add_epi32(low[t][v], low[k * tiles + t][v]);
            }
            sum[t][v] = _mm512_add_epi32(_mm512_slli_epi32(high[t][v], 8), low[t][v]);
        }
    }
}

ELSTM_INLINE void tile_s16(const elstm_matrix_s8 *w, uint32_t first, const elstm_rescale *rescale,
                           const int16_t *x, size_t x_stride, int32_t *y, int groups, int xs,
                           int chains) {
    __m512i sum[8][2];
    sum_s16(w, first, x, x_stride, groups, xs, chains, sum);
    end_tile(sum, elstm_rows_s8(w), first, rescale, y, groups, xs);
}

static inline __m256i group1_s16(const int8_t *w, const int32_t *surplus, const int16_t *x,
                                 uint32_t quads) {
    __m256i high = _mm256_loadu_si256((const __m256i *)surplus), low = _mm256_setzero_si256();
    for (; quads > 0; --quads, x += 4, w += 32) {
        const __m256i values = _mm256_loadu_si256((const __m256i *)w);
        const __m512i v = four_s16(x);
        high = _mm256_dpbusd_epi32(high, _mm512_castsi512_si256(high_bytes(v)), values);
        low = _mm256_dpbusd_epi32(low, _mm512_castsi512_si256(low_bytes(v)), values);
    }
    return _mm256_add_epi32(_mm256_slli_epi32(high, 8), low);
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
    if (w->gates == 4) {
        for (; count >= 2; count -= 2, x += 2 * x_stride, y += 2 * (size_t)rows) {
            uint32_t group = 0;
            for (; group + 2 <= w->groups; group += 2)
                tile_s16(w, group, rescale, x, x_stride, y, 2, 2, 1);
            if (group < w->groups) tile_s16(w, group, rescale, x, x_stride, y, 1, 2, 1);
        }
    }
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (w->gates == 4) {
            single_s16(w, rescale, x, y);
            continue;
        }
        for (uint32_t group = 0; group < w->groups; ++group) {
            const __m256i sum = group1_s16(w->weights + (size_t)group * w->quads * 32,
                                           w->surplus + 8 * group, x, w->quads);
            end8(sum, rescale, 8 * group, y + 8 * group);
        }
    }
}

/* z = sat16(t + mh(t, m)) of 8 rows; |acc| < 2^27, so that four places to the left still fit. */
static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 8) {
        const __m256i k =
            _mm256_add_epi32(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(q->shift + r))),
                             _mm256_set1_epi32(4));
        const __m256i v = _mm256_loadu_si256((const __m256i *)(acc + r));
        const __m128i t = _mm256_cvtsepi32_epi16(_mm256_srav_epi32(_mm256_slli_epi32(v, 4), k));
        const __m128i m = _mm_loadu_si128((const __m128i *)(q->multiplier + r));
        _mm_storeu_si128((__m128i *)(z + r), _mm_adds_epi16(t, _mm_mulhrs_epi16(t, m)));
    }
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

/* Registers on their way through T or S, side by side: each alone is one chain of latencies. */
typedef struct {
    __m512i v, sign, q; /* sign: v >> 15; q of docs/numerics.md */
} way;

/* Shifts and lookups share two of four pipes (Zen 4), so one of the shifts is a product. */
ELSTM_INLINE void cubic(way *w, int count, const segments *t) {
    const __m512i *const rest[3] = {&t->c2, &t->c1, &t->c0};
    __m512i k[5], r[5];
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        w[j].sign = _mm512_srai_epi16(w[j].v, 15);
        const __m512i b = xor3(w[j].v, w[j].sign, _mm512_set1_epi16(0x7FFF));
        r[j] = _mm512_mulhrs_epi16(b, b); /* u */
    }
    ELSTM_UNROLL
    for (int j = 0; j < count; ++j) {
        k[j] = _mm512_srli_epi16(r[j], 12);
        r[j] = _mm512_xor_si512(_mm512_mullo_epi16(r[j], _mm512_set1_epi16(16)),
                                _mm512_set1_epi16((short)0x8000));
        w[j].q = _mm512_permutexvar_epi16(k[j], t->c3);
    }
    ELSTM_UNROLL
    for (int step = 0; step < 3; ++step) ELSTM_UNROLL
    for (int j = 0; j < count; ++j)
        w[j].q = _mm512_add_epi16(_mm512_permutexvar_epi16(k[j], *rest[step]),
                                  _mm512_mulhrs_epi16(w[j].q, r[j]));
}

/* raw - (v >> 15) */
static inline __m512i tanh_of(const way *w) {
    return _mm512_sub_epi16(xor3(w->q, w->sign, _mm512_set1_epi16(0x7FFF)), w->sign);
}

/* 16384 + ((raw + 1) >> 1) is half of raw + 32768, unsigned and rounded up. */
static inline __m512i sigmoid_of(const way *w) {
    return _mm512_avg_epu16(xor3(w->q, w->sign, _mm512_set1_epi16(-1)), _mm512_setzero_si512());
}

/* tanh in the lower half, the sigmoid in the upper. */
static inline __m512i tanh_sigmoid_of(const way *w) {
    const __mmask32 lower = 0x0000FFFFu, upper = 0xFFFF0000u;
    const __m512i raw =
        xor3(w->q, w->sign, _mm512_mask_set1_epi16(_mm512_set1_epi16(-1), lower, 0x7FFF));
    const __m512i mixed = _mm512_mask_sub_epi16(raw, lower, raw, w->sign);
    return _mm512_mask_avg_epu16(mixed, upper, mixed, _mm512_setzero_si512());
}

/* tanh of 16 values, in half a register. */
static inline __m256i tanh16_s16(__m256i v, const segments *t) {
    const __m256i most = _mm256_set1_epi16(0x7FFF), sign = _mm256_srai_epi16(v, 15);
    const __m256i b = _mm256_ternarylogic_epi32(v, sign, most, 0x96);
    const __m256i u = _mm256_mulhrs_epi16(b, b);
    const __m256i k = _mm256_srli_epi16(u, 12);
    const __m256i r = _mm256_xor_si256(_mm256_slli_epi16(u, 4), _mm256_set1_epi16((short)0x8000));
    __m256i q = _mm256_permutexvar_epi16(k, _mm512_castsi512_si256(t->c3));
    q = _mm256_add_epi16(_mm256_permutexvar_epi16(k, _mm512_castsi512_si256(t->c2)),
                         _mm256_mulhrs_epi16(q, r));
    q = _mm256_add_epi16(_mm256_permutexvar_epi16(k, _mm512_castsi512_si256(t->c1)),
                         _mm256_mulhrs_epi16(q, r));
    q = _mm256_add_epi16(_mm256_permutexvar_epi16(k, _mm512_castsi512_si256(t->c0)),
                         _mm256_mulhrs_epi16(q, r));
    return _mm256_sub_epi16(_mm256_ternarylogic_epi32(q, sign, most, 0x96), sign);
}

static void tanh_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (uint32_t k = 0; k < count; k += 32) {
        const __mmask32 mask = count - k < 32 ? (__mmask32)((1u << (count - k)) - 1) : 0xFFFFFFFFu;
        way w = {.v = _mm512_maskz_loadu_epi16(mask, v + k)};
        cubic(&w, 1, &t);
        _mm512_mask_storeu_epi16(v + k, mask, tanh_of(&w));
    }
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    const segments t = load_segments();
    for (uint32_t k = 0; k < count; k += 32) {
        const __mmask32 mask = count - k < 32 ? (__mmask32)((1u << (count - k)) - 1) : 0xFFFFFFFFu;
        way w = {.v = _mm512_maskz_loadu_epi16(mask, v + k)};
        cubic(&w, 1, &t);
        _mm512_mask_storeu_epi16(v + k, mask, sigmoid_of(&w));
    }
}

/* z of two groups from their sums, packed without sorting: i and f of both in w[0], g and o in
 * w[1], in the order of elstm_cell_x86. */
ELSTM_INLINE void requantize_groups(const __m512i (*sum)[2], const elstm_cell_x86 *own, uint32_t up,
                                    way *w) {
    ELSTM_UNROLL
    for (int k = 0; k < 2; ++k) {
        __m512i a = sum[0][k], b = sum[1][k];
        if (up != 0) {
            a = _mm512_slli_epi32(a, 4);
            b = _mm512_slli_epi32(b, 4);
        }
        a = _mm512_srav_epi32(a, load512(own->shift[0] + 16 * k));
        b = _mm512_srav_epi32(b, load512(own->shift[1] + 16 * k));
        const __m512i t = _mm512_packs_epi32(a, b);
        w[k].v =
            _mm512_adds_epi16(t, _mm512_mulhrs_epi16(t, load512(own->multiplier[2 * k][0][0])));
    }
}

/* The order of elstm_cell_x86 from that of units, and back: quarters 0 2 1 3. */
#define SORTED 0xD8

/* The gates of 32 units, each 16 in the order of elstm_cell_x86. */
typedef struct {
    __m512i i, f, g, o;
} gates32;

static inline gates32 gates_of(const way *w) {
    const __m512i i_f = sigmoid_of(&w[0]), i_f2 = sigmoid_of(&w[2]);
    const __m512i g_o = tanh_sigmoid_of(&w[1]), g_o2 = tanh_sigmoid_of(&w[3]);
    return (gates32){_mm512_shuffle_i64x2(i_f, i_f2, 0x44), _mm512_shuffle_i64x2(i_f, i_f2, 0xEE),
                     _mm512_shuffle_i64x2(g_o, g_o2, 0x44), _mm512_shuffle_i64x2(g_o, g_o2, 0xEE)};
}

/* c of 32 units; what its tanh is taken of. */
static inline __m512i next_c(const gates32 *gates, const elstm_cell_s8 *cell, uint32_t at) {
    const __m512i before = _mm512_permutex_epi64(load512(cell->c + at), SORTED);
    const __m512i gained = _mm512_mulhrs_epi16(_mm512_mulhrs_epi16(gates->i, gates->g),
                                               _mm512_set1_epi16((short)cell->kappa));
    __m512i c = _mm512_adds_epi16(_mm512_mulhrs_epi16(gates->f, before), gained);
    _mm512_storeu_si512(cell->c + at, _mm512_permutex_epi64(c, SORTED));
    for (uint32_t k = 0; k < cell->doublings; ++k) c = _mm512_adds_epi16(c, c);
    return c;
}

ELSTM_INLINE void next_h(const gates32 *gates, const elstm_cell_s8 *cell, elstm_type type,
                         uint32_t at, const way *c) {
    const __m512i h16 = _mm512_mulhrs_epi16(_mm512_mulhrs_epi16(gates->o, tanh_of(c)),
                                            _mm512_set1_epi16((short)cell->hidden_multiplier));
    if (type == ELSTM_S8) {
        /* each quarter holds four units of one group, then four of another */
        const __m512i bytes = _mm512_max_epi8(_mm512_packs_epi16(h16, h16), _mm512_set1_epi8(-127));
        const __m256i h = _mm512_castsi512_si256(_mm512_permutexvar_epi32(
            _mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0), bytes));
        _mm256_storeu_si256((__m256i *)((int8_t *)cell->h + at), h);
        _mm256_storeu_si256((__m256i *)((int8_t *)cell->y + at), h);
    } else {
        const __m512i sorted = _mm512_permutex_epi64(h16, SORTED);
        _mm512_storeu_si512((int16_t *)cell->h + at, sorted);
        _mm512_storeu_si512((int16_t *)cell->y + at, sorted);
    }
}

/* Two groups, or a lone one twice, from the cubics of their z. */
ELSTM_INLINE void cell16(const way *w, int lone, const elstm_cell_s8 *cell, elstm_type type,
                         uint32_t at, const segments *t) {
    const __m512i i_f = sigmoid_of(&w[0]), g_o = tanh_sigmoid_of(&w[1]);
    const __m256i i = _mm512_castsi512_si256(i_f), f = _mm512_extracti64x4_epi64(i_f, 1);
    const __m256i g = _mm512_castsi512_si256(g_o), o = _mm512_extracti64x4_epi64(g_o, 1);
    const __m256i kappa = _mm256_set1_epi16((short)cell->kappa);
    const __m256i scale = _mm256_set1_epi16((short)cell->hidden_multiplier);
    const __m256i natural =
        lone ? _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(cell->c + at)))
             : _mm256_loadu_si256((const __m256i *)(cell->c + at));
    const __m256i before = _mm256_permute4x64_epi64(natural, SORTED);
    const __m256i c = _mm256_adds_epi16(_mm256_mulhrs_epi16(f, before),
                                        _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(i, g), kappa));
    __m256i v = c;
    for (uint32_t k = 0; k < cell->doublings; ++k) v = _mm256_adds_epi16(v, v);
    const __m256i h16 = _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(o, tanh16_s16(v, t)), scale);
    if (type == ELSTM_S8) {
        const __m256i bytes = _mm256_max_epi8(_mm256_packs_epi16(h16, h16), _mm256_set1_epi8(-127));
        const __m128i h = _mm256_castsi256_si128(
            _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0)));
        int8_t *to_h = (int8_t *)cell->h + at, *to_y = (int8_t *)cell->y + at;
        if (lone) {
            _mm_storel_epi64((__m128i *)to_h, h);
            _mm_storel_epi64((__m128i *)to_y, h);
        } else {
            _mm_storeu_si128((__m128i *)to_h, h);
            _mm_storeu_si128((__m128i *)to_y, h);
        }
    } else {
        const __m256i h = _mm256_permute4x64_epi64(h16, SORTED);
        store16((int16_t *)cell->h + at, h, lone);
        store16((int16_t *)cell->y + at, h, lone);
    }
    store16(cell->c + at, _mm256_permute4x64_epi64(c, SORTED), lone);
}

ELSTM_INLINE void requantize_memory(const int32_t *acc, uint32_t second, const elstm_cell_x86 *own,
                                    uint32_t up, way *w) {
    const __m512i sum[2][2] = {{load512(acc), load512(acc + 16)},
                               {load512(acc + second), load512(acc + second + 16)}};
    requantize_groups(sum, own, up, w);
}

/* The gates of one block of 32 units are under way beside the tanh of the c of the block before. */
static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const segments t = load_segments();
    const elstm_cell_x86 *own = (const elstm_cell_x86 *)(const void *)q->prepared;
    uint32_t at = 0;
    way w[5];
    if (groups >= 4) {
        gates32 gates;
        requantize_memory(acc, 32, own, q->up, w);
        requantize_memory(acc + 64, 32, own + 1, q->up, w + 2);
        cubic(w, 4, &t);
        gates = gates_of(w);
        for (; groups >= 8; groups -= 4, at += 32) {
            acc += 128;
            own += 2;
            w[4].v = next_c(&gates, cell, at);
            requantize_memory(acc, 32, own, q->up, w);
            requantize_memory(acc + 64, 32, own + 1, q->up, w + 2);
            cubic(w, 5, &t);
            next_h(&gates, cell, cell->type, at, &w[4]);
            gates = gates_of(w);
        }
        w[4].v = next_c(&gates, cell, at);
        cubic(w + 4, 1, &t);
        next_h(&gates, cell, cell->type, at, &w[4]);
        groups -= 4;
        acc += 128;
        own += 2;
        at += 32;
    }
    for (; groups >= 2; groups -= 2, acc += 64, ++own, at += 16) {
        requantize_memory(acc, 32, own, q->up, w);
        cubic(w, 2, &t);
        cell16(w, 0, cell, cell->type, at, &t);
    }
    if (groups != 0) {
        requantize_memory(acc, 0, own, q->up, w);
        cubic(w, 2, &t);
        cell16(w, 1, cell, cell->type, at, &t);
    }
}

/* The cell of 16 or 32 units from their sums. */
ELSTM_INLINE void cells_s8(const __m512i (*sum)[2], const elstm_requantize *q,
                           const elstm_cell_s8 *cell, int groups) {
    const segments t = load_segments();
    const elstm_cell_x86 *own = (const elstm_cell_x86 *)(const void *)q->prepared;
    way z[4];
    requantize_groups(sum, own, q->up, z);
    if (groups == 2) {
        cubic(z, 2, &t);
        cell16(z, 0, cell, ELSTM_S8, 0, &t);
    } else {
        requantize_groups(sum + 2, own + 1, q->up, z + 2);
        cubic(z, 4, &t);
        const gates32 gates = gates_of(z);
        z[0].v = next_c(&gates, cell, 0);
        cubic(z, 1, &t);
        next_h(&gates, cell, ELSTM_S8, 0, z);
    }
}

ELSTM_INLINE void small_recurrent(const elstm_matrix_s8 *r, const int32_t *acc,
                                  const elstm_requantize *q, const elstm_cell_s8 *cell,
                                  int groups) {
    __m512i sum[4][2];
    sum_s8(r, 0, cell->h, 0, groups, 1, 4 / groups, sum);
    ELSTM_UNROLL
    for (int k = 0; k < 2 * groups; ++k)
        sum[k / 2][k % 2] = _mm512_add_epi32(sum[k / 2][k % 2], load512(acc + 16 * k));
    cells_s8(sum, q, cell, groups);
}

/* 16 and 32 units need no sums in memory between the product and the cell. */
static void recurrent_s8(const elstm_matrix_s8 *r, int32_t *acc, const elstm_requantize *q,
                         const elstm_cell_s8 *cell) {
    if (r->groups == 2) {
        small_recurrent(r, acc, q, cell, 2);
    } else if (r->groups == 4) {
        small_recurrent(r, acc, q, cell, 4);
    } else {
        matmul_s8(r, NULL, cell->h, 0, acc, 1);
        lstm_s8(acc, q, cell, r->groups);
    }
}

ELSTM_INLINE void small_step(const elstm_plain_s8 *l, const int16_t *x, const elstm_cell_s8 *cell,
                             int groups) {
    __m512i sum[4][2], recurrent[4][2];
    sum_s16(l->kernel, 0, x, 0, groups, 1, 1, sum);
    sum_s8(l->recurrent, 0, cell->h, 0, groups, 1, 4 / groups, recurrent);
    ELSTM_UNROLL
    for (int k = 0; k < 2 * groups; ++k) {
        const ending e = load_ending(l->rescale, 16 * (size_t)k);
        const __m512i own = _mm512_srav_epi32(sum[k / 2][k % 2], e.right);
        sum[k / 2][k % 2] =
            _mm512_add_epi32(_mm512_add_epi32(own, e.bias), recurrent[k / 2][k % 2]);
    }
    cells_s8(sum, l->requantize, cell, groups);
}

/* Nor between inputs and the cell. */
static void step_s16(const elstm_plain_s8 *l, const void *x, int32_t *acc,
                     const elstm_cell_s8 *cell) {
    if (l->kernel->groups == 2) {
        small_step(l, x, cell, 2);
    } else if (l->kernel->groups == 4) {
        small_step(l, x, cell, 4);
    } else {
        matmul_s16(l->kernel, l->rescale, x, 0, acc, 1);
        recurrent_s8(l->recurrent, acc, l->requantize, cell);
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
    .leave_s8 = leave_s8,
    .leave_s16 = leave_s16,
    .matmul_f32 = matmul_f32,
    .lstm_f32 = lstm_f32,
    .recurrent_f32 = recurrent_f32,
    .step_f32 = step_f32,
    .tanh_f32 = tanh_f32,
    .sigmoid_f32 = sigmoid_f32,
    .prepare_s8 = prepare_s8,
    .prepare_lstm_s8 = elstm_prepare_lstm_x86,
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .recurrent_s8 = recurrent_s8,
    .step_s16 = step_s16,
    .step_scratch = 16,
    .lstm_tfl8 = wide_lstm,
    .tanh_s16 = tanh_s16,
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_kernels_avx512vnni_not_built;
#endif
