/* Private: the cell of TFLite's LSTM in AVX-512, 32 units at once; the rest of a layer goes by 16
 * as in kernels_x86_tfl8.h, whose words stand here in 512 bits. The includer has chosen its target
 * and included <immintrin.h>. */
#ifndef ELSTM_KERNELS_AVX512_TFL8_H
#define ELSTM_KERNELS_AVX512_TFL8_H

#include "kernels.h"
#include "kernels_x86.h"
#include "kernels_x86_tfl8.h"

ELSTM_INLINE __m512i wide_exp(__m512i a, int whole) {
    static const int16_t ladder[7] = {25520, 19875, 12055, 4435, 600, 11, 0};
    const int places = 15 - whole, quarter = 1 << (places - 2);
    const __m512i eighth = _mm512_set1_epi16(28918);
    const __m512i part =
        _mm512_sub_epi16(_mm512_and_si512(a, _mm512_set1_epi16((int16_t)(quarter - 1))),
                         _mm512_set1_epi16((int16_t)quarter));
    const __m512i rest = _mm512_sub_epi16(part, a);
    const __m512i x =
        _mm512_add_epi16(_mm512_sll_epi16(part, _mm_cvtsi32_si128(whole)), _mm512_set1_epi16(4096));
    const __m512i x2 = _mm512_mulhrs_epi16(x, x), x3 = _mm512_mulhrs_epi16(x2, x);
    const __m512i x4 = _mm512_mulhrs_epi16(x2, x2);
    __m512i y = _mm512_srli_epi16(_mm512_add_epi16(x4, _mm512_set1_epi16(2)), 2);
    y = _mm512_mulhrs_epi16(_mm512_add_epi16(y, x3), _mm512_set1_epi16(10923));
    y = _mm512_add_epi16(_mm512_add_epi16(y, x2), _mm512_set1_epi16(1));
    y = _mm512_add_epi16(x, _mm512_srli_epi16(y, 1));
    __m512i r = _mm512_adds_epi16(eighth, _mm512_mulhrs_epi16(eighth, y));
    ELSTM_UNROLL
    for (int k = 0; k < 7; ++k) {
        if (k >= whole + 2) break;
        const __m512i bit = _mm512_set1_epi16((int16_t)(1 << (places - 2 + k)));
        r = _mm512_mask_mulhrs_epi16(r, _mm512_test_epi16_mask(rest, bit), r,
                                     _mm512_set1_epi16(ladder[k]));
    }
    if (whole > 5) {
        const __m512i far = _mm512_set1_epi16((int16_t) - (1 << (20 - whole)));
        r = _mm512_maskz_mov_epi16(_mm512_cmpge_epi16_mask(a, far), r);
    }
    return _mm512_mask_mov_epi16(_mm512_set1_epi16(32767), _mm512_test_epi16_mask(a, a), r);
}

static inline __m512i wide_one_over(__m512i a) {
    const __m512i half = _mm512_add_epi16(_mm512_srli_epi16(a, 1), _mm512_set1_epi16(16384));
    __m512i x = _mm512_add_epi16(_mm512_set1_epi16(23130),
                                 _mm512_mulhrs_epi16(half, _mm512_set1_epi16(-15420)));
    ELSTM_UNROLL
    for (int k = 0; k < 3; ++k) {
        const __m512i off = _mm512_sub_epi16(_mm512_set1_epi16(8192), _mm512_mulhrs_epi16(half, x));
        x = _mm512_add_epi16(x, _mm512_slli_epi16(_mm512_mulhrs_epi16(x, off), 2));
    }
    return x;
}

static inline __m512i wide_below(__m512i a) {
    return _mm512_min_epi16(a, _mm512_sub_epi16(_mm512_setzero_si512(), a));
}

/* v with the sign of one that is not 0. */
static inline __m512i wide_signed(__m512i v, __m512i sign) {
    return _mm512_mask_sub_epi16(v, _mm512_movepi16_mask(sign), _mm512_setzero_si512(), v);
}

static inline __m512i wide_logistic(__m512i a) {
    const __m512i x = wide_one_over(wide_exp(wide_below(a), 3)), p = _mm512_adds_epi16(x, x);
    const __m512i r =
        _mm512_mask_sub_epi16(p, _mm512_movepi16_mask(a), _mm512_set1_epi16(32767), p);
    return _mm512_mask_mov_epi16(_mm512_set1_epi16(16384), _mm512_test_epi16_mask(a, a), r);
}

ELSTM_INLINE __m512i wide_tanh(__m512i a, int whole) {
    const __m512i x = wide_one_over(wide_exp(wide_below(a), whole + 1));
    __m512i p = _mm512_sub_epi16(x, _mm512_set1_epi16(8192));
    p = _mm512_adds_epi16(p, p);
    p = wide_signed(_mm512_adds_epi16(p, p), a);
    return _mm512_maskz_mov_epi16(_mm512_test_epi16_mask(a, a), p);
}

static inline __m512i wide_tanh_c(__m512i c, uint32_t whole) {
    switch (whole) {
    case 0: return wide_tanh(c, 0);
    case 1: return wide_tanh(c, 1);
    case 2: return wide_tanh(c, 2);
    case 3: return wide_tanh(c, 3);
    case 4: return wide_tanh(c, 4);
    case 5: return wide_tanh(c, 5);
    default: return wide_tanh(c, 6);
    }
}

typedef struct {
    __m512i m, half, fix;
    __m128i left, right;
} wide_factor;

static inline wide_factor wide_spread(elstm_factor f) {
    const int right = f.s < 0 ? -f.s : 0;
    return (wide_factor){_mm512_set1_epi32(f.m),
                         _mm512_set1_epi32(right == 0 ? 0 : 1 << (right - 1)),
                         _mm512_set1_epi32(right == 0 ? 0 : -1),
                         _mm_cvtsi32_si128(f.s > 0 ? f.s : 0), _mm_cvtsi32_si128(right)};
}

static inline __m512i wide_times(__m512i v, const wide_factor *f) {
    const __m512i one = _mm512_set1_epi64(1 << 30);
    v = _mm512_sll_epi32(v, f->left);
    __m512i even = _mm512_mul_epi32(v, f->m),
            odd = _mm512_mul_epi32(_mm512_srli_epi64(v, 32), f->m);
    even = _mm512_srli_epi64(_mm512_add_epi64(even, one), 31);
    odd = _mm512_slli_epi64(_mm512_add_epi64(odd, one), 1);
    v = _mm512_mask_mov_epi32(even, 0xAAAA, odd);
    const __m512i below = _mm512_and_si512(_mm512_srai_epi32(v, 31), f->fix);
    v = _mm512_add_epi32(v, _mm512_add_epi32(f->half, below));
    return _mm512_sra_epi32(v, f->right);
}

static inline __m512i wide_within(__m512i v, int32_t low, int32_t high) {
    return _mm512_max_epi32(_mm512_min_epi32(v, _mm512_set1_epi32(high)), _mm512_set1_epi32(low));
}

/* A gate of two groups side by side. */
static inline __m512i wide_load(const int32_t *sums) {
    const __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)sums));
    return _mm512_inserti64x4(first, _mm256_loadu_si256((const __m256i *)(sums + 32)), 1);
}

static inline __m512i wide_sum(const int32_t *x, const int32_t *again, const wide_factor *input,
                               const wide_factor *recurrent) {
    const __m512i u = wide_times(wide_load(x), input);
    const __m512i v = wide_times(wide_load(again), recurrent);
    return _mm512_add_epi32(wide_within(u, -32768, 32767), wide_within(v, -65536, 65536));
}

/* Of four groups. */
static inline __m512i wide_gate(const int32_t *x, const int32_t *again, const wide_factor *input,
                                const wide_factor *recurrent) {
    const __m512i a = wide_sum(x, again, input, recurrent);
    const __m512i b = wide_sum(x + 64, again + 64, input, recurrent);
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0),
                                    _mm512_packs_epi32(a, b));
}

static inline void wide_product(__m512i a, __m512i b, __m512i *v) {
    const __m512i low = _mm512_mullo_epi16(a, b), high = _mm512_mulhi_epi16(a, b);
    v[0] = _mm512_unpacklo_epi16(low, high);
    v[1] = _mm512_unpackhi_epi16(low, high);
}

static inline __m512i wide_next(__m512i i, __m512i f, __m512i g, __m512i c, int places) {
    /* a negative tie goes down */
    const __m512i low = _mm512_and_si512(_mm512_mullo_epi16(f, c), _mm512_set1_epi16(0x7FFF));
    const __mmask32 tie = _mm512_cmpeq_epi16_mask(low, _mm512_set1_epi16(0x4000));
    const __m512i rounded = _mm512_mulhrs_epi16(f, c);
    const __m512i kept = _mm512_mask_sub_epi16(rounded, tie & _mm512_movepi16_mask(c), rounded,
                                               _mm512_set1_epi16(1));
    const __m512i half = _mm512_set1_epi32(1 << (places - 1));
    const __m128i count = _mm_cvtsi32_si128(places);
    __m512i v[2];
    wide_product(i, _mm512_abs_epi16(g), v);
    for (int k = 0; k < 2; ++k) v[k] = _mm512_srl_epi32(_mm512_add_epi32(v[k], half), count);
    return _mm512_adds_epi16(kept, wide_signed(_mm512_packs_epi32(v[0], v[1]), g));
}

static void wide_lstm(const int32_t *x, const int32_t *again, const elstm_cell_tfl8 *cell,
                      const elstm_state_tfl8 *state, uint32_t groups) {
    if (groups < 4) { /* too few to spread constants for */
        tfl8_lstm(x, again, cell, state, groups);
        return;
    }
    wide_factor input[4], recurrent[4];
    const wide_factor hidden = wide_spread(cell->hidden);
    const __m512i zero = _mm512_set1_epi16((int16_t)cell->hidden_zero);
    const __m512i clip = _mm512_set1_epi16((int16_t)cell->clip);
    uint32_t group = 0;
    for (int k = 0; k < 4; ++k) {
        input[k] = wide_spread(cell->input[k]);
        recurrent[k] = wide_spread(cell->recurrent[k]);
    }
    for (; group + 4 <= groups; group += 4, x += 128, again += 128) {
        const size_t at = (size_t)group * ELSTM_GROUP;
        __m512i z[4], v[2];
        ELSTM_UNROLL
        for (int k = 0; k < 4; ++k)
            z[k] = wide_gate(x + 8 * k, again + 8 * k, &input[k], &recurrent[k]);
        const __m512i f = wide_logistic(z[1]);
        const __m512i i =
            cell->coupled ? _mm512_sub_epi16(_mm512_set1_epi16(32767), f) : wide_logistic(z[0]);
        __m512i c = _mm512_loadu_si512(state->c + at);
        c = wide_next(i, f, wide_tanh(z[2], 3), c, (int)(15 + cell->whole));
        if (cell->clip != 0)
            c = _mm512_max_epi16(_mm512_min_epi16(c, clip),
                                 _mm512_sub_epi16(_mm512_setzero_si512(), clip));
        _mm512_storeu_si512(state->c + at, c);
        wide_product(wide_logistic(z[3]), wide_tanh_c(c, cell->whole), v);
        for (int k = 0; k < 2; ++k) v[k] = wide_times(v[k], &hidden);
        const __m512i h = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zero);
        const __m256i bytes = _mm512_cvtsepi16_epi8(h);
        _mm256_storeu_si256((__m256i *)(state->h + at), bytes);
        _mm256_storeu_si256((__m256i *)(state->y + at), bytes);
    }
    if (group < groups) {
        const size_t at = (size_t)group * ELSTM_GROUP;
        const elstm_state_tfl8 rest = {state->c + at, state->h + at, state->y + at};
        tfl8_lstm(x, again, cell, &rest, groups - group);
    }
}

#endif
