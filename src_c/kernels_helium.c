/* Cortex-M55 and M85: the integer vectors of Helium (MVE), over the rows layout. A row of weights
 * meets up to 64 columns of x that stay in registers; its sum is one integer. Sums of 32 rows go
 * to the stack, and 8 units become gates, c and h at once. */
#include "kernels.h"

#if defined(ELSTM_BUILDS_HELIUM)

#include "kernels_loops.h"

#include <arm_mve.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

/* The sums of `rows` rows, a multiple of 2, over `vectors` vectors of x, on to y where `added`.
 * What a vector of weights takes from behind its row meets zeros of x. */
INLINE void rows_s8(const int8_t *w, size_t apart, const int8x16_t *x, int vectors, int32_t *y,
                    uint32_t rows, int added) {
    for (; rows > 0; rows -= 2, w += 2 * apart, y += 2) {
        const int8_t *v = w + apart;
        int32_t a = added ? y[0] : 0, b = added ? y[1] : 0;
        for (int k = 0; k < vectors; ++k) {
            a = vmladavaq_s8(a, vldrbq_s8(w + 16 * k), x[k]);
            b = vmladavaq_s8(b, vldrbq_s8(v + 16 * k), x[k]);
        }
        y[0] = a;
        y[1] = b;
    }
}

INLINE void rows_s16(const int8_t *w, size_t apart, const int16x8_t *x, int vectors, int32_t *y,
                     uint32_t rows, int added) {
    for (; rows > 0; rows -= 2, w += 2 * apart, y += 2) {
        const int8_t *v = w + apart;
        int32_t a = added ? y[0] : 0, b = added ? y[1] : 0;
        for (int k = 0; k < vectors; ++k) {
            a = vmladavaq_s16(a, vldrbq_s16(w + 8 * k), x[k]);
            b = vmladavaq_s16(b, vldrbq_s16(v + 8 * k), x[k]);
        }
        y[0] = a;
        y[1] = b;
    }
}

INLINE void part_s8(const int8_t *w, size_t apart, const int8_t *x, uint32_t columns, int vectors,
                    int32_t *y, uint32_t rows, int added) {
    int8x16_t own[4];
    for (int k = 0; k < vectors - 1; ++k) own[k] = vldrbq_s8(x + 16 * k);
    own[vectors - 1] =
        vldrbq_z_s8(x + 16 * (vectors - 1), vctp8q(columns - 16 * ((uint32_t)vectors - 1)));
    rows_s8(w, apart, own, vectors, y, rows, added);
}

INLINE void part_s16(const int8_t *w, size_t apart, const int16_t *x, uint32_t columns, int vectors,
                     int32_t *y, uint32_t rows, int added) {
    int16x8_t own[4];
    for (int k = 0; k < vectors - 1; ++k) own[k] = vldrhq_s16(x + 8 * k);
    own[vectors - 1] =
        vldrhq_z_s16(x + 8 * (vectors - 1), vctp16q(columns - 8 * ((uint32_t)vectors - 1)));
    rows_s16(w, apart, own, vectors, y, rows, added);
}

INLINE void any_s8(const int8_t *w, size_t apart, const int8_t *x, int32_t *y, uint32_t rows,
                   int added) {
    uint32_t left = (uint32_t)apart;
    for (; left > 64; left -= 64, w += 64, x += 64, added = 1)
        if (added)
            part_s8(w, apart, x, 64, 4, y, rows, 1);
        else
            part_s8(w, apart, x, 64, 4, y, rows, 0);
    if (left > 48)
        part_s8(w, apart, x, left, 4, y, rows, added);
    else if (left > 32)
        part_s8(w, apart, x, left, 3, y, rows, added);
    else if (left > 16)
        part_s8(w, apart, x, left, 2, y, rows, added);
    else
        part_s8(w, apart, x, left, 1, y, rows, added);
}

INLINE void any_s16(const int8_t *w, size_t apart, const int16_t *x, int32_t *y, uint32_t rows,
                    int added) {
    uint32_t left = (uint32_t)apart;
    for (; left > 32; left -= 32, w += 32, x += 32, added = 1)
        if (added)
            part_s16(w, apart, x, 32, 4, y, rows, 1);
        else
            part_s16(w, apart, x, 32, 4, y, rows, 0);
    if (left > 24)
        part_s16(w, apart, x, left, 4, y, rows, added);
    else if (left > 16)
        part_s16(w, apart, x, left, 3, y, rows, added);
    else if (left > 8)
        part_s16(w, apart, x, left, 2, y, rows, added);
    else
        part_s16(w, apart, x, left, 1, y, rows, added);
}

/* `apart`: bytes of a row, and how many columns of x are read. */
static __attribute__((noinline)) void product_s8(const int8_t *w, size_t apart, const int8_t *x,
                                                 int32_t *y, uint32_t rows, int added) {
    any_s8(w, apart, x, y, rows, added);
}

static __attribute__((noinline)) void product_s16(const int8_t *w, size_t apart, const int16_t *x,
                                                  int32_t *y, uint32_t rows, int added) {
    any_s16(w, apart, x, y, rows, added);
}

/* ---- 8 rows at once, those of even numbers in one vector, of odd in the other ---- */

typedef int32x4x2_t pair;

/* v >> s of each, or << -s. A shift is the low byte of a lane. */
INLINE pair shifted(pair v, const int8_t *shift) {
    const int32x4_t s = vreinterpretq_s32_s16(vnegq_s16(vldrbq_s16(shift)));
    v.val[0] = vshlq_s32(v.val[0], s);
    v.val[1] = vshlq_s32(v.val[1], vshrq_n_s32(s, 16));
    return v;
}

INLINE pair rescaled(pair v, const elstm_rescale *rescale, uint32_t at) {
    const pair bias = vld2q_s32(rescale->bias + at);
    v = shifted(v, rescale->shift + at);
    v.val[0] = vaddq_s32(v.val[0], bias.val[0]);
    v.val[1] = vaddq_s32(v.val[1], bias.val[1]);
    return v;
}

INLINE int16x8_t saturated(pair v) {
    return vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(v.val[1]), v.val[0]), v.val[1]);
}

INLINE int16x8_t requantized(pair v, const elstm_requantize *q, uint32_t at) {
    const int16x8_t t = saturated(shifted(v, q->shift + at));
    return vqaddq_s16(t, vqrdmulhq_s16(t, vldrhq_s16(q->multiplier + at)));
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        product_s8(w->weights, elstm_lanes_apart(w), x, y, rows, rescale == NULL);
        for (uint32_t r = 0; rescale != NULL && r < rows; r += 8)
            vst2q_s32(y + r, rescaled(vld2q_s32(y + r), rescale, r));
    }
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, x += x_stride, y += rows) {
        product_s16(w->weights, elstm_lanes_apart(w), x, y, rows, rescale == NULL);
        for (uint32_t r = 0; rescale != NULL && r < rows; r += 8)
            vst2q_s32(y + r, rescaled(vld2q_s32(y + r), rescale, r));
    }
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 8) vstrhq_s16(z + r, requantized(vld2q_s32(acc + r), q, r));
}

/* ---- T and S ---- */

/* C3 and C2, then C1 and C0, of each segment (docs/numerics.md). One load brings two of them to a
 * value: there is no lookup in registers, and a load that gathers costs as many as it loads. */
static const int16_t segments[2][8][2] __attribute__((aligned(4))) = {
    {{5, 16}, {5, 45}, {11, 98}, {14, 183}, {14, 285}, {0, 343}, {-28, 266}, {-44, 45}},
    {{44, 37},
     {163, 225},
     {435, 787},
     {983, 2146},
     {1916, 4972},
     {3208, 10053},
     {4497, 17807},
     {5158, 27611}},
};

typedef struct {
    int16x8_t low, high; /* of each pair */
} coefficients;

/* Those of segment `even` for the values of even numbers, of `odd` for the others. */
INLINE coefficients looked_up(const int16_t (*table)[2], uint32x4_t even, uint32x4_t odd) {
    const uint32_t *pairs = (const uint32_t *)(const void *)table;
    const uint32x4_t e = vldrwq_gather_shifted_offset_u32(pairs, even);
    const uint32x4_t o = vldrwq_gather_shifted_offset_u32(pairs, odd);
    return (coefficients){vmovntq_s32(vreinterpretq_s16_u32(e), vreinterpretq_s32_u32(o)),
                          vreinterpretq_s16_u32(vsriq_n_u32(o, e, 16))};
}

/* raw of docs/numerics.md; s = v >> 15. */
INLINE int16x8_t tanh_raw(int16x8_t v, int16x8_t s) {
    const int16x8_t n = veorq_s16(s, vdupq_n_s16(0x7FFF)), b = veorq_s16(v, n);
    const int16x8_t u = vqrdmulhq_s16(b, b);
    const uint32x4_t both = vreinterpretq_u32_s16(u);
    const uint32x4_t odd = vshrq_n_u32(both, 28);
    const uint32x4_t even = vshrq_n_u32(vshlq_n_u32(both, 16), 28);
    const int16x8_t r = veorq_s16(vshlq_n_s16(u, 4), vdupq_n_s16(-32768));
    const coefficients upper = looked_up(segments[0], even, odd);
    const coefficients lower = looked_up(segments[1], even, odd);
    int16x8_t q = vaddq_s16(upper.high, vqrdmulhq_s16(upper.low, r));
    q = vaddq_s16(lower.low, vqrdmulhq_s16(q, r));
    q = vaddq_s16(lower.high, vqrdmulhq_s16(q, r));
    return veorq_s16(q, n);
}

INLINE int16x8_t tanh_of(int16x8_t v) {
    const int16x8_t s = vshrq_n_s16(v, 15);
    return vsubq_s16(tanh_raw(v, s), s);
}

INLINE int16x8_t sigmoid_of(int16x8_t v) {
    return vaddq_n_s16(vrshrq_n_s16(tanh_raw(v, vshrq_n_s16(v, 15)), 1), 16384);
}

static void tanh_s16(int16_t *v, uint32_t count) {
    for (; count >= 8; count -= 8, v += 8) vstrhq_s16(v, tanh_of(vldrhq_s16(v)));
    loops_tanh_s16(v, count);
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    for (; count >= 8; count -= 8, v += 8) vstrhq_s16(v, sigmoid_of(vldrhq_s16(v)));
    loops_sigmoid_s16(v, count);
}

/* ---- cells ---- */

/* The gates of 8 units become their c, and h. */
INLINE int16x8_t cell_of(int16x8_t i, int16x8_t f, int16x8_t g, int16x8_t o,
                         const elstm_cell_s8 *cell, uint32_t at) {
    const int16x8_t added =
        vqrdmulhq_n_s16(vqrdmulhq_s16(sigmoid_of(i), tanh_of(g)), (int16_t)cell->kappa);
    const int16x8_t kept = vqrdmulhq_s16(sigmoid_of(f), vldrhq_s16(cell->c + at));
    const int16x8_t c = vqaddq_s16(kept, added);
    vstrhq_s16(cell->c + at, c);
    const int16x8_t p =
        vqrdmulhq_s16(sigmoid_of(o), tanh_of(vqshlq_r_s16(c, (int32_t)cell->doublings)));
    return vqrdmulhq_n_s16(p, (int16_t)cell->hidden_multiplier);
}

INLINE int16x8_t within_127(int16x8_t h) {
    return vminq_s16(vmaxq_s16(h, vdupq_n_s16(-127)), vdupq_n_s16(127));
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    for (uint32_t at = 0; at < 8 * groups; at += 8, acc += 32) {
        int16x8_t z[4];
        for (uint32_t gate = 0; gate < 4; ++gate)
            z[gate] = requantized(vld2q_s32(acc + 8 * gate), q, 4 * at + 8 * gate);
        const int16x8_t h = cell_of(z[0], z[1], z[2], z[3], cell, at);
        if (cell->type == ELSTM_S8) {
            vstrbq_s16((int8_t *)cell->h + at, within_127(h));
            vstrbq_s16((int8_t *)cell->y + at, within_127(h));
        } else {
            vstrhq_s16((int16_t *)cell->h + at, h);
            vstrhq_s16((int16_t *)cell->y + at, h);
        }
    }
}

/* h stays what it was until the last group has read it; y holds the new one. */
static void step_s16(const elstm_plain_s8 *l, const int16_t *x, int32_t *scratch,
                     const elstm_cell_s8 *cell) {
    const elstm_matrix_s8 *kernel = l->kernel, *recurrent = l->recurrent;
    const size_t apart_x = elstm_lanes_apart(kernel), apart_h = elstm_lanes_apart(recurrent);
    const int8_t *w = kernel->weights, *r = recurrent->weights;
    (void)scratch;
    for (uint32_t at = 0; at < 8 * kernel->groups; at += 8, w += 32 * apart_x, r += 32 * apart_h) {
        int32_t of_x[32], of_h[32];
        int16x8_t z[4];
        product_s16(w, apart_x, x, of_x, 32, 0);
        product_s8(r, apart_h, cell->h, of_h, 32, 0);
        for (uint32_t gate = 0; gate < 4; ++gate) {
            const uint32_t row = 4 * at + 8 * gate;
            pair v = rescaled(vld2q_s32(of_x + 8 * gate), l->rescale, row);
            const pair own = vld2q_s32(of_h + 8 * gate);
            v.val[0] = vaddq_s32(v.val[0], own.val[0]);
            v.val[1] = vaddq_s32(v.val[1], own.val[1]);
            z[gate] = requantized(v, l->requantize, row);
        }
        vstrbq_s16((int8_t *)cell->y + at, within_127(cell_of(z[0], z[1], z[2], z[3], cell, at)));
    }
    for (uint32_t at = 0; at < 8 * kernel->groups; at += 16) {
        const mve_pred16_t real = vctp8q(8 * kernel->groups - at);
        vstrbq_p_s8((int8_t *)cell->h + at, vldrbq_z_s8((const int8_t *)cell->y + at, real), real);
    }
}

/* ---- GRU ---- */

static void reset_s16(const int16_t *r, const int16_t *kept, uint32_t places, int16_t *n,
                      uint32_t count) {
    for (; count >= 8; count -= 8, r += 8, kept += 8, n += 8) {
        const int16x8_t a = vldrhq_s16(r), b = vldrhq_s16(kept);
        const pair v = {{vrshlq_n_s32(vmullbq_int_s16(a, b), -(int32_t)places),
                         vrshlq_n_s32(vmulltq_int_s16(a, b), -(int32_t)places)}};
        vstrhq_s16(n, vqaddq_s16(vldrhq_s16(n), saturated(v)));
    }
    loops_reset_s16(r, kept, places, n, count);
}

INLINE int32x4_t moved(int32x4_t z, int32x4_t n, int32x4_t state, const elstm_update_s8 *u) {
    const int32x4_t to = vrshrq_n_s32(vmulq_n_s32(n, u->kappa), 15);
    const int32x4_t held = vmulq_s32(z, vsubq_s32(state, to));
    return vaddq_s32(to, vrshlq_n_s32(held, -(int32_t)u->places));
}

static void update_s8(const int16_t *z, const int16_t *n, const elstm_update_s8 *update,
                      uint32_t count) {
    uint32_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const int16x8_t a = vldrhq_s16(z + k), b = vldrhq_s16(n + k);
        const int16x8_t before = vldrhq_s16(update->state + k);
        const pair v = {{moved(vmovlbq_s16(a), vmovlbq_s16(b), vmovlbq_s16(before), update),
                         moved(vmovltq_s16(a), vmovltq_s16(b), vmovltq_s16(before), update)}};
        const int16x8_t state = saturated(v);
        const pair fine = {
            {vrshrq_n_s32(vmulq_n_s32(vmovlbq_s16(state), update->hidden_multiplier), 15),
             vrshrq_n_s32(vmulq_n_s32(vmovltq_s16(state), update->hidden_multiplier), 15)}};
        vstrhq_s16(update->state + k, state);
        if (update->type == ELSTM_S8)
            vstrbq_s16((int8_t *)update->h + k, within_127(saturated(fine)));
        else
            vstrhq_s16((int16_t *)update->h + k, saturated(fine));
    }
    if (k == count) return;
    elstm_update_s8 rest = *update;
    rest.state += k;
    rest.h = (unsigned char *)update->h + (update->type == ELSTM_S8 ? k : 2 * k);
    loops_update_s8(z + k, n + k, &rest, count - k);
}

const elstm_kernels elstm_kernels_helium = {
    .name = "helium",
    .align = 16,
#if ELSTM_LINKS_F32
    .enter_f32 = loops_enter_f32,
    .enter_s16 = loops_enter_s16,
    .leave_s8 = loops_leave_s8,
    .leave_s16 = loops_leave_s16,
    .matmul_f32 = loops_matmul_f32,
    .lstm_f32 = loops_lstm_f32,
    .tanh_f32 = loops_tanh_f32,
    .sigmoid_f32 = loops_sigmoid_f32,
#endif
    .matmul_s8 = matmul_s8,
    .matmul_s16 = matmul_s16,
    .requantize_s8 = requantize_s8,
    .lstm_s8 = lstm_s8,
    .step_s16 = step_s16,
#if ELSTM_LINKS_GRU
    .reset_s16 = reset_s16,
    .update_s8 = update_s8,
#endif
#if ELSTM_LINKS_TFL8
    .lstm_tfl8 = loops_lstm_tfl8,
#endif
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#else
typedef int elstm_helium_is_not_built;
#endif
