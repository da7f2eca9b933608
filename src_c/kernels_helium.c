/* Cortex-M55 and M85: the integer vectors of Helium (MVE), over the rows layout. A row of weights
 * meets up to 64 columns of x that stay in registers; its sum is one integer. Sums of 32 rows go
 * to the stack, and 8 units become gates, c and h at once. */
#include "kernels.h"

#if defined(ELSTM_BUILDS_HELIUM)

#include "kernels_loops.h"

#include <arm_mve.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define ELSTM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ELSTM_UNROLL _Pragma("GCC unroll 8")
#endif

/* ---- products ---- */

/* Columns of x in registers, in so many vectors. */
typedef struct {
    int8x16_t v0, v1, v2, v3;
} columns_s8;

typedef struct {
    int16x8_t v0, v1, v2, v3;
} columns_s16;

/* `count` columns; what a vector of weights takes from behind its row meets zeros. */
INLINE columns_s8 loaded_s8(const int8_t *x, int vectors, uint32_t count) {
    const mve_pred16_t last = vctp8q(count - 16 * ((uint32_t)vectors - 1));
    columns_s8 c = {vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0)};
    c.v0 = vectors > 1 ? vldrbq_s8(x) : vldrbq_z_s8(x, last);
    if (vectors > 1) c.v1 = vectors > 2 ? vldrbq_s8(x + 16) : vldrbq_z_s8(x + 16, last);
    if (vectors > 2) c.v2 = vectors > 3 ? vldrbq_s8(x + 32) : vldrbq_z_s8(x + 32, last);
    if (vectors > 3) c.v3 = vldrbq_z_s8(x + 48, last);
    return c;
}

INLINE columns_s16 loaded_s16(const int16_t *x, int vectors, uint32_t count) {
    const mve_pred16_t last = vctp16q(count - 8 * ((uint32_t)vectors - 1));
    columns_s16 c = {vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0)};
    c.v0 = vectors > 1 ? vldrhq_s16(x) : vldrhq_z_s16(x, last);
    if (vectors > 1) c.v1 = vectors > 2 ? vldrhq_s16(x + 8) : vldrhq_z_s16(x + 8, last);
    if (vectors > 2) c.v2 = vectors > 3 ? vldrhq_s16(x + 16) : vldrhq_z_s16(x + 16, last);
    if (vectors > 3) c.v3 = vldrhq_z_s16(x + 24, last);
    return c;
}

/* Weights at w + at. As an intrinsic gcc 12 gives each of them an address of its own, made by
 * additions; where it does not optimize, `at` is no constant. */
INLINE int8x16_t weights_s8(const int8_t *w, int at) {
    int8x16_t v;
    if (!__builtin_constant_p(at)) return vldrbq_s8(w + at);
    __asm__("vldrw.32 %q0, [%1, %2]"
            : "=w"(v)
            : "r"(w), "i"(at), "m"(*(const int8_t(*)[16])(w + at)));
    return v;
}

INLINE int16x8_t weights_s16(const int8_t *w, int at) {
    int16x8_t v;
    if (!__builtin_constant_p(at)) return vldrbq_s16(w + at);
    __asm__("vldrb.s16 %q0, [%1, %2]"
            : "=w"(v)
            : "l"(w), "i"(at), "m"(*(const int8_t(*)[8])(w + at)));
    return v;
}

INLINE int32_t row_s8(const int8_t *w, int at, const columns_s8 *x, int vectors, const int32_t *y,
                      int added) {
    const int8x16_t first = weights_s8(w, at);
    int32_t sum = added ? vmladavaq_s8(*y, first, x->v0) : vmladavq_s8(first, x->v0);
    if (vectors > 1) sum = vmladavaq_s8(sum, weights_s8(w, at + 16), x->v1);
    if (vectors > 2) sum = vmladavaq_s8(sum, weights_s8(w, at + 32), x->v2);
    if (vectors > 3) sum = vmladavaq_s8(sum, weights_s8(w, at + 48), x->v3);
    return sum;
}

INLINE int32_t row_s16(const int8_t *w, int at, const columns_s16 *x, int vectors, const int32_t *y,
                       int added) {
    const int16x8_t first = weights_s16(w, at);
    int32_t sum = added ? vmladavaq_s16(*y, first, x->v0) : vmladavq_s16(first, x->v0);
    if (vectors > 1) sum = vmladavaq_s16(sum, weights_s16(w, at + 8), x->v1);
    if (vectors > 2) sum = vmladavaq_s16(sum, weights_s16(w, at + 16), x->v2);
    if (vectors > 3) sum = vmladavaq_s16(sum, weights_s16(w, at + 24), x->v3);
    return sum;
}

/* Two sums leave, y moves on. */
INLINE int32_t *leaving(int32_t *y, int32_t a, int32_t b) {
    __asm__ volatile("strd %1, %2, [%0], #8" : "+&r"(y) : "r"(a), "r"(b) : "memory");
    return y;
}

/* Sums of rows over columns in registers, on to y. */
INLINE void rows_s8(const int8_t *w, size_t apart, const columns_s8 x, int vectors, int32_t *y,
                    uint32_t rows) {
    const int8_t *v = w + apart;
    for (uint32_t turns = rows / 2; turns > 0; --turns, w += 2 * apart, v += 2 * apart) {
        const int32_t a = row_s8(w, 0, &x, vectors, y, 1);
        const int32_t b = row_s8(v, 0, &x, vectors, y + 1, 1);
        y = leaving(y, a, b);
    }
}

INLINE void rows_s16(const int8_t *w, size_t apart, const columns_s16 x, int vectors, int32_t *y,
                     uint32_t rows) {
    const int8_t *v = w + apart;
    for (uint32_t turns = rows / 2; turns > 0; --turns, w += 2 * apart, v += 2 * apart) {
        const int32_t a = row_s16(w, 0, &x, vectors, y, 1);
        const int32_t b = row_s16(v, 0, &x, vectors, y + 1, 1);
        y = leaving(y, a, b);
    }
}

/* The same, on to y where `added`, of `together` rows in a turn, whose known distance keeps them
 * within reach of one register: 508 bytes of int8, 127 of those that are widened. */
INLINE void near_s8(const int8_t *w, int apart, int together, const columns_s8 x, int vectors,
                    int32_t *y, uint32_t rows, int added) {
    for (uint32_t turns = rows / (uint32_t)together; turns > 0; --turns, w += apart * together) {
        ELSTM_UNROLL
        for (int r = 0; r < together; r += 2) {
            const int32_t a = row_s8(w, apart * r, &x, vectors, y, added);
            const int32_t b = row_s8(w, apart * r + apart, &x, vectors, y + 1, added);
            y = leaving(y, a, b);
        }
    }
}

INLINE void near_s16(const int8_t *w, int apart, int together, const columns_s16 x, int vectors,
                     int32_t *y, uint32_t rows, int added) {
    for (uint32_t turns = rows / (uint32_t)together; turns > 0; --turns, w += apart * together) {
        ELSTM_UNROLL
        for (int r = 0; r < together; r += 2) {
            const int32_t a = row_s16(w, apart * r, &x, vectors, y, added);
            const int32_t b = row_s16(w, apart * r + apart, &x, vectors, y + 1, added);
            y = leaving(y, a, b);
        }
    }
}

INLINE void clear(int32_t *y, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r += 4) vstrwq_s32(y + r, vdupq_n_s32(0));
}

/* The sums of `rows` rows, a multiple of 8. `apart`: bytes from one to the next, and how many
 * columns of x are read. Rows of a known length are addressed from one register. */
static __attribute__((noinline)) void product_s8(const int8_t *w, size_t apart, const int8_t *x,
                                                 int32_t *y, uint32_t rows, int added) {
    uint32_t left = (uint32_t)apart;
    if (!added && left == 16) {
        near_s8(w, 16, 8, loaded_s8(x, 1, 16), 1, y, rows, 0);
    } else if (!added && left == 32) {
        near_s8(w, 32, 8, loaded_s8(x, 2, 32), 2, y, rows, 0);
    } else if (!added && left == 64) {
        near_s8(w, 64, 4, loaded_s8(x, 4, 64), 4, y, rows, 0);
    } else if (!added && left == 128) {
        near_s8(w, 128, 4, loaded_s8(x, 4, 64), 4, y, rows, 0);
        near_s8(w + 64, 128, 4, loaded_s8(x + 64, 4, 64), 4, y, rows, 1);
    } else {
        if (!added) clear(y, rows);
        for (uint32_t count; left > 48; left -= count, w += count, x += count) {
            count = left < 64 ? left : 64;
            rows_s8(w, apart, loaded_s8(x, 4, count), 4, y, rows);
        }
        if (left > 32)
            rows_s8(w, apart, loaded_s8(x, 3, left), 3, y, rows);
        else if (left > 16)
            rows_s8(w, apart, loaded_s8(x, 2, left), 2, y, rows);
        else if (left > 0)
            rows_s8(w, apart, loaded_s8(x, 1, left), 1, y, rows);
    }
}

static __attribute__((noinline)) void product_s16(const int8_t *w, size_t apart, const int16_t *x,
                                                  int32_t *y, uint32_t rows, int added) {
    uint32_t left = (uint32_t)apart;
    if (!added && left == 8) {
        near_s16(w, 8, 8, loaded_s16(x, 1, 8), 1, y, rows, 0);
    } else if (!added && left == 16) {
        near_s16(w, 16, 8, loaded_s16(x, 2, 16), 2, y, rows, 0);
    } else if (!added && left == 32) {
        near_s16(w, 32, 4, loaded_s16(x, 4, 32), 4, y, rows, 0);
    } else if (!added && left == 64) {
        near_s16(w, 64, 2, loaded_s16(x, 4, 32), 4, y, rows, 0);
        near_s16(w + 32, 64, 2, loaded_s16(x + 32, 4, 32), 4, y, rows, 1);
    } else {
        if (!added) clear(y, rows);
        for (uint32_t count; left > 24; left -= count, w += count, x += count) {
            count = left < 32 ? left : 32;
            rows_s16(w, apart, loaded_s16(x, 4, count), 4, y, rows);
        }
        if (left > 16)
            rows_s16(w, apart, loaded_s16(x, 3, left), 3, y, rows);
        else if (left > 8)
            rows_s16(w, apart, loaded_s16(x, 2, left), 2, y, rows);
        else if (left > 0)
            rows_s16(w, apart, loaded_s16(x, 1, left), 1, y, rows);
    }
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

/* raw of docs/numerics.md, from which T and S are made; its sign is that of v. */
INLINE int16x8_t tanh_raw(int16x8_t v) {
    const int16x8_t n = veorq_s16(vshrq_n_s16(v, 15), vdupq_n_s16(0x7FFF)), b = veorq_s16(v, n);
    const int16x8_t u = vqrdmulhq_s16(b, b);
    const uint32x4_t both = vreinterpretq_u32_s16(u);
    const uint32x4_t odd = vshrq_n_u32(both, 28);
    const uint32x4_t even = vshrq_n_u32(vshlq_n_u32(both, 16), 28);
    const int16x8_t r = vaddq_n_s16(vshlq_n_s16(u, 4), -32768);
    const coefficients upper = looked_up(segments[0], even, odd);
    int16x8_t q = vaddq_s16(upper.high, vqrdmulhq_s16(upper.low, r));
    const coefficients lower = looked_up(segments[1], even, odd);
    q = vaddq_s16(lower.low, vqrdmulhq_s16(q, r));
    q = vaddq_s16(lower.high, vqrdmulhq_s16(q, r));
    return veorq_s16(q, n);
}

INLINE int16x8_t as_tanh(int16x8_t raw) { return vsubq_s16(raw, vshrq_n_s16(raw, 15)); }

INLINE int16x8_t as_sigmoid(int16x8_t raw) { return vaddq_n_s16(vrshrq_n_s16(raw, 1), 16384); }

static void tanh_s16(int16_t *v, uint32_t count) {
    for (; count >= 8; count -= 8, v += 8) vstrhq_s16(v, as_tanh(tanh_raw(vldrhq_s16(v))));
    loops_tanh_s16(v, count);
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    for (; count >= 8; count -= 8, v += 8) vstrhq_s16(v, as_sigmoid(tanh_raw(vldrhq_s16(v))));
    loops_sigmoid_s16(v, count);
}

/* ---- cells ---- */

/* The raw gates of 8 units, [gate][8], become their c, and h. */
INLINE int16x8_t cell_of(const int16_t *raw, const elstm_cell_s8 *cell, uint32_t at) {
    const int16x8_t i = as_sigmoid(vldrhq_s16(raw)), f = as_sigmoid(vldrhq_s16(raw + 8));
    const int16x8_t g = as_tanh(vldrhq_s16(raw + 16)), o = as_sigmoid(vldrhq_s16(raw + 24));
    const int16x8_t added = vqrdmulhq_n_s16(vqrdmulhq_s16(i, g), (int16_t)cell->kappa);
    const int16x8_t c = vqaddq_s16(vqrdmulhq_s16(f, vldrhq_s16(cell->c + at)), added);
    vstrhq_s16(cell->c + at, c);
    const int16x8_t fine = tanh_raw(vqshlq_r_s16(c, (int32_t)cell->doublings));
    return vqrdmulhq_n_s16(vqrdmulhq_s16(o, as_tanh(fine)), (int16_t)cell->hidden_multiplier);
}

INLINE int16x8_t within_127(int16x8_t h) {
    return vminq_s16(vmaxq_s16(h, vdupq_n_s16(-127)), vdupq_n_s16(127));
}

INLINE void leave(int16x8_t h, elstm_type type, void *to, uint32_t at) {
    if (type == ELSTM_S8)
        vstrbq_s16((int8_t *)to + at, within_127(h));
    else
        vstrhq_s16((int16_t *)to + at, h);
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    const elstm_cell_s8 own = *cell;
    const elstm_requantize rows = *q;
    for (uint32_t at = 0; at < 8 * groups; at += 8, acc += 32) {
        int16_t raw[32];
        for (uint32_t r = 0; r < 32; r += 8)
            vstrhq_s16(raw + r, tanh_raw(requantized(vld2q_s32(acc + r), &rows, 4 * at + r)));
        const int16x8_t h = cell_of(raw, &own, at);
        leave(h, own.type, own.h, at);
        leave(h, own.type, own.y, at);
    }
}

INLINE void product(elstm_type type, const int8_t *w, size_t apart, const void *x, int32_t *y) {
    if (type == ELSTM_S8)
        product_s8(w, apart, x, y, 32, 0);
    else
        product_s16(w, apart, x, y, 32, 0);
}

/* h stays what it was until the last group has read it; y holds the new one. */
static void step(const elstm_plain_s8 *l, const void *x, int32_t *scratch,
                 const elstm_cell_s8 *cell) {
    const elstm_cell_s8 own = *cell;
    const elstm_rescale rescale = *l->rescale;
    const elstm_requantize requantize = *l->requantize;
    const uint32_t units = 8 * l->kernel->groups;
    const elstm_type type = l->type;
    const size_t apart_x = elstm_lanes_apart(l->kernel), apart_h = elstm_lanes_apart(l->recurrent);
    const int8_t *w = l->kernel->weights, *v = l->recurrent->weights;
    (void)scratch;
    for (uint32_t at = 0; at < units; at += 8, w += 32 * apart_x, v += 32 * apart_h) {
        int32_t of_x[32], of_h[32];
        int16_t raw[32];
        product(type, w, apart_x, x, of_x);
        product(own.type, v, apart_h, own.h, of_h);
        for (uint32_t r = 0; r < 32; r += 8) {
            pair sums = rescaled(vld2q_s32(of_x + r), &rescale, 4 * at + r);
            const pair again = vld2q_s32(of_h + r);
            sums.val[0] = vaddq_s32(sums.val[0], again.val[0]);
            sums.val[1] = vaddq_s32(sums.val[1], again.val[1]);
            vstrhq_s16(raw + r, tanh_raw(requantized(sums, &requantize, 4 * at + r)));
        }
        leave(cell_of(raw, &own, at), own.type, own.y, at);
    }
    const uint32_t bytes = own.type == ELSTM_S8 ? units : 2 * units;
    for (uint32_t at = 0; at < bytes; at += 16) {
        const mve_pred16_t real = vctp8q(bytes - at);
        vstrbq_p_s8((int8_t *)own.h + at, vldrbq_z_s8((const int8_t *)own.y + at, real), real);
    }
}

#if ELSTM_LINKS_GRU

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

#endif

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
    .step_s16 = step,
    .step_any = step,
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
typedef int elstm_kernels_helium_not_built;
#endif
