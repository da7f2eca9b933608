/* Private: the cell of TFLite's LSTM on x86, 16 units at once. Equations: docs/numerics.md, "tfl8";
 * the loops of kernels_loops.h say the same one by one. The includer has chosen its target and
 * included <immintrin.h>. */
#ifndef ELSTM_KERNELS_X86_TFL8_H
#define ELSTM_KERNELS_X86_TFL8_H

#include "kernels.h"
#include "kernels_x86.h"

/* vpmulhrsw is TFLite's product of Q0.15: (a * b + 2^14) >> 15. No pair here is -32768 twice. */

/* e^a of 16 a <= 0 with `whole` bits before the point, 1 ... 7. */
ELSTM_INLINE __m256i tfl8_exp(__m256i a, int whole) {
    static const int16_t ladder[7] = {25520, 19875, 12055, 4435, 600, 11, 0};
    const int places = 15 - whole, quarter = 1 << (places - 2);
    const __m256i two = _mm256_set1_epi16(2), eighth = _mm256_set1_epi16(28918);
    const __m256i part =
        _mm256_sub_epi16(_mm256_and_si256(a, _mm256_set1_epi16((int16_t)(quarter - 1))),
                         _mm256_set1_epi16((int16_t)quarter));
    const __m256i rest = _mm256_sub_epi16(part, a);
    const __m256i x =
        _mm256_add_epi16(_mm256_sll_epi16(part, _mm_cvtsi32_si128(whole)), _mm256_set1_epi16(4096));
    const __m256i x2 = _mm256_mulhrs_epi16(x, x), x3 = _mm256_mulhrs_epi16(x2, x);
    const __m256i x4 = _mm256_mulhrs_epi16(x2, x2);
    __m256i y = _mm256_add_epi16(_mm256_srli_epi16(_mm256_add_epi16(x4, two), 2), x3);
    y = _mm256_add_epi16(_mm256_mulhrs_epi16(y, _mm256_set1_epi16(10923)), x2);
    y = _mm256_srli_epi16(_mm256_add_epi16(y, _mm256_set1_epi16(1)), 1);
    __m256i r = _mm256_adds_epi16(eighth, _mm256_mulhrs_epi16(eighth, _mm256_add_epi16(x, y)));
    ELSTM_UNROLL
    for (int k = 0; k < 7; ++k) {
        if (k >= whole + 2) break;
        const __m256i bit = _mm256_set1_epi16((int16_t)(1 << (places - 2 + k)));
        const __m256i less = _mm256_mulhrs_epi16(r, _mm256_set1_epi16(ladder[k]));
        r = _mm256_blendv_epi8(r, less, _mm256_cmpeq_epi16(_mm256_and_si256(rest, bit), bit));
    }
    if (whole > 5)
        r = _mm256_andnot_si256(
            _mm256_cmpgt_epi16(_mm256_set1_epi16((int16_t) - (1 << (20 - whole))), a), r);
    /* of 0 it is 32767 */
    const __m256i none = _mm256_cmpeq_epi16(a, _mm256_setzero_si256());
    return _mm256_or_si256(r, _mm256_srli_epi16(none, 1));
}

/* 1 / (1 + a) in Q1.14, as Q2.13. */
static inline __m256i tfl8_one_over(__m256i a) {
    const __m256i half = _mm256_add_epi16(_mm256_srli_epi16(a, 1), _mm256_set1_epi16(16384));
    __m256i x = _mm256_add_epi16(_mm256_set1_epi16(23130),
                                 _mm256_mulhrs_epi16(half, _mm256_set1_epi16(-15420)));
    ELSTM_UNROLL
    for (int k = 0; k < 3; ++k) {
        const __m256i off = _mm256_sub_epi16(_mm256_set1_epi16(8192), _mm256_mulhrs_epi16(half, x));
        x = _mm256_add_epi16(x, _mm256_slli_epi16(_mm256_mulhrs_epi16(x, off), 2));
    }
    return x;
}

static inline __m256i tfl8_below(__m256i a) { /* -|a|; of -32768 itself */
    return _mm256_min_epi16(a, _mm256_sub_epi16(_mm256_setzero_si256(), a));
}

static inline __m256i tfl8_logistic(__m256i a) {
    const __m256i x = tfl8_one_over(tfl8_exp(tfl8_below(a), 3)), p = _mm256_adds_epi16(x, x);
    const __m256i r = _mm256_xor_si256(p, _mm256_srli_epi16(_mm256_srai_epi16(a, 15), 1));
    /* of 0 it would be 16380 */
    return _mm256_blendv_epi8(r, _mm256_set1_epi16(16384),
                              _mm256_cmpeq_epi16(a, _mm256_setzero_si256()));
}

ELSTM_INLINE __m256i tfl8_tanh(__m256i a, int whole) {
    const __m256i x = tfl8_one_over(tfl8_exp(tfl8_below(a), whole + 1));
    __m256i p = _mm256_sub_epi16(x, _mm256_set1_epi16(8192));
    p = _mm256_adds_epi16(p, p);
    return _mm256_sign_epi16(_mm256_adds_epi16(p, p), a);
}

/* Of the cell's c: a loop of its own for each place of the point. */
static inline __m256i tfl8_tanh_c(__m256i c, uint32_t whole) {
    switch (whole) {
    case 0: return tfl8_tanh(c, 0);
    case 1: return tfl8_tanh(c, 1);
    case 2: return tfl8_tanh(c, 2);
    case 3: return tfl8_tanh(c, 3);
    case 4: return tfl8_tanh(c, 4);
    case 5: return tfl8_tanh(c, 5);
    default: return tfl8_tanh(c, 6);
    }
}

/* elstm_times of 8 values. */
typedef struct {
    __m256i m, half, fix;
    __m128i left, right;
} tfl8_factor;

static inline tfl8_factor tfl8_spread(elstm_factor f) {
    const int right = f.s < 0 ? -f.s : 0;
    return (tfl8_factor){_mm256_set1_epi32(f.m),
                         _mm256_set1_epi32(right == 0 ? 0 : 1 << (right - 1)),
                         _mm256_set1_epi32(right == 0 ? 0 : -1),
                         _mm_cvtsi32_si128(f.s > 0 ? f.s : 0), _mm_cvtsi32_si128(right)};
}

static inline __m256i tfl8_times(__m256i v, const tfl8_factor *f) {
    const __m256i one = _mm256_set1_epi64x(1 << 30);
    v = _mm256_sll_epi32(v, f->left);
    __m256i even = _mm256_mul_epi32(v, f->m),
            odd = _mm256_mul_epi32(_mm256_srli_epi64(v, 32), f->m);
    even = _mm256_srli_epi64(_mm256_add_epi64(even, one), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, one), 1);
    v = _mm256_blend_epi32(even, odd, 0xAA);
    /* ties away from zero: of negative values the half is one less */
    const __m256i below = _mm256_and_si256(_mm256_srai_epi32(v, 31), f->fix);
    v = _mm256_add_epi32(v, _mm256_add_epi32(f->half, below));
    return _mm256_sra_epi32(v, f->right);
}

static inline __m256i tfl8_within(__m256i v, int32_t low, int32_t high) {
    return _mm256_max_epi32(_mm256_min_epi32(v, _mm256_set1_epi32(high)), _mm256_set1_epi32(low));
}

/* A gate's argument of 8 units, before it is packed. */
static inline __m256i tfl8_sum(const int32_t *x, const int32_t *again, const tfl8_factor *input,
                               const tfl8_factor *recurrent) {
    const __m256i u = tfl8_times(_mm256_loadu_si256((const __m256i *)x), input);
    const __m256i v = tfl8_times(_mm256_loadu_si256((const __m256i *)again), recurrent);
    return _mm256_add_epi32(tfl8_within(u, -32768, 32767), tfl8_within(v, -65536, 65536));
}

/* Of two groups, the second `next` sums on. */
static inline __m256i tfl8_gate(const int32_t *x, const int32_t *again, size_t next,
                                const tfl8_factor *input, const tfl8_factor *recurrent) {
    const __m256i a = tfl8_sum(x, again, input, recurrent);
    const __m256i b = tfl8_sum(x + next, again + next, input, recurrent);
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
}

/* a * b of 16 values as 32 bits: units 0 ... 3 and 8 ... 11, then the others. */
static inline void tfl8_product(__m256i a, __m256i b, __m256i *v) {
    const __m256i low = _mm256_mullo_epi16(a, b), high = _mm256_mulhi_epi16(a, b);
    v[0] = _mm256_unpacklo_epi16(low, high);
    v[1] = _mm256_unpackhi_epi16(low, high);
}

/* c of the next step. places: 15 + whole. */
static inline __m256i tfl8_next(__m256i i, __m256i f, __m256i g, __m256i c, int places) {
    /* a negative tie goes down */
    const __m256i low = _mm256_and_si256(_mm256_mullo_epi16(f, c), _mm256_set1_epi16(0x7FFF));
    const __m256i tie = _mm256_cmpeq_epi16(low, _mm256_set1_epi16(0x4000));
    const __m256i kept = _mm256_add_epi16(_mm256_mulhrs_epi16(f, c),
                                          _mm256_and_si256(tie, _mm256_srai_epi16(c, 15)));
    const __m256i half = _mm256_set1_epi32(1 << (places - 1));
    const __m128i count = _mm_cvtsi32_si128(places);
    __m256i v[2];
    tfl8_product(i, _mm256_abs_epi16(g), v);
    for (int k = 0; k < 2; ++k) v[k] = _mm256_srl_epi32(_mm256_add_epi32(v[k], half), count);
    return _mm256_adds_epi16(kept, _mm256_sign_epi16(_mm256_packs_epi32(v[0], v[1]), g));
}

static void tfl8_lstm(const int32_t *x, const int32_t *again, const elstm_cell_tfl8 *cell,
                      const elstm_state_tfl8 *state, uint32_t groups) {
    tfl8_factor input[4], recurrent[4];
    const tfl8_factor hidden = tfl8_spread(cell->hidden);
    const __m256i zero = _mm256_set1_epi16((int16_t)cell->hidden_zero);
    const __m256i clip = _mm256_set1_epi16((int16_t)cell->clip);
    for (int k = 0; k < 4; ++k) {
        input[k] = tfl8_spread(cell->input[k]);
        recurrent[k] = tfl8_spread(cell->recurrent[k]);
    }
    for (uint32_t group = 0; group < groups; group += 2, x += 64, again += 64) {
        const int lone = group + 1 == groups;
        const size_t next = lone ? 0 : 32, at = (size_t)group * ELSTM_GROUP;
        __m256i z[4];
        ELSTM_UNROLL
        for (int k = 0; k < 4; ++k)
            z[k] = tfl8_gate(x + 8 * k, again + 8 * k, next, &input[k], &recurrent[k]);
        const __m256i f = tfl8_logistic(z[1]);
        const __m256i i =
            cell->coupled ? _mm256_sub_epi16(_mm256_set1_epi16(32767), f) : tfl8_logistic(z[0]);
        __m256i c = lone ? _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(state->c + at)))
                         : _mm256_loadu_si256((const __m256i *)(state->c + at));
        c = tfl8_next(i, f, tfl8_tanh(z[2], 3), c, (int)(15 + cell->whole));
        if (cell->clip != 0)
            c = _mm256_max_epi16(_mm256_min_epi16(c, clip),
                                 _mm256_sub_epi16(_mm256_setzero_si256(), clip));
        store16(state->c + at, c, lone);
        __m256i v[2];
        tfl8_product(tfl8_logistic(z[3]), tfl8_tanh_c(c, cell->whole), v);
        for (int k = 0; k < 2; ++k) v[k] = tfl8_times(v[k], &hidden);
        const __m256i h = _mm256_adds_epi16(_mm256_packs_epi32(v[0], v[1]), zero);
        const __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
        if (lone) {
            _mm_storel_epi64((__m128i *)(state->h + at), bytes);
            _mm_storel_epi64((__m128i *)(state->y + at), bytes);
        } else {
            _mm_storeu_si128((__m128i *)(state->h + at), bytes);
            _mm_storeu_si128((__m128i *)(state->y + at), bytes);
        }
    }
}

#endif
