/* Plain C for CPUs without SIMD: Cortex-M0, M0+, M3, RISC-V. A plain LSTM goes from inputs to h
 * group by group, 32 sums on the stack. */
#include "kernels_loops.h"

#if defined(ELSTM_BUILDS_SMALL)

/* A value stands in its register here. gcc would bring products into the order of rows, which takes
 * all x of a quad at once in registers: up to a third more instructions. */
#if defined(__GNUC__)
#define STANDS(v) __asm__ volatile("" : "+r"(v))
#else
#define STANDS(v) (void)(v)
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

/* ---- products ---- */

/* Rows whose sums are in registers at a time, and columns of an int8 h as a product reads them.
 * Thumb-1 has 8 registers to calculate with, and loads of 16 bits are slow. */
#if defined(ELSTM_SMALL_FEW_REGISTERS)
#define TILE 4
typedef int32_t column;
#else
#define TILE 8
typedef int16_t column;
#endif

#define ADD(r)                                                                                     \
    s[r] += w[4 * (r)] * x;                                                                        \
    STANDS(s[r])

static inline void add_column(const int8_t *w, int32_t x, int32_t *s) {
    ADD(0);
    ADD(1);
    ADD(2);
    ADD(3);
#if TILE == 8
    ADD(4);
    ADD(5);
    ADD(6);
    ADD(7);
#endif
}

/* s[r] += W x of a tile's rows; from quad to quad it is `step` weights. */
static inline void add_s16(const int8_t *w, size_t step, const int16_t *x, uint32_t quads,
                           int32_t *s) {
    for (const int16_t *end = x + 4 * quads; x != end; x += 4, w += step) {
        add_column(w, x[0], s);
        add_column(w + 1, x[1], s);
        add_column(w + 2, x[2], s);
        add_column(w + 3, x[3], s);
    }
}

static inline void add_s8(const int8_t *w, size_t step, const int8_t *x, uint32_t quads,
                          int32_t *s) {
    for (const int8_t *end = x + 4 * quads; x != end; x += 4, w += step) {
        add_column(w, x[0], s);
        add_column(w + 1, x[1], s);
        add_column(w + 2, x[2], s);
        add_column(w + 3, x[3], s);
    }
}

static inline void add_columns(const int8_t *w, size_t step, const column *x, uint32_t quads,
                               int32_t *s) {
    for (const column *end = x + 4 * quads; x != end; x += 4, w += step) {
        add_column(w, x[0], s);
        add_column(w + 1, x[1], s);
        add_column(w + 2, x[2], s);
        add_column(w + 3, x[3], s);
    }
}

/* sums[r] += W x of a group's rows. */
static void add_group(const int8_t *w, uint32_t lanes, const int16_t *x, uint32_t quads,
                      int32_t *sums) {
    for (uint32_t at = 0; at < lanes; at += TILE, w += 4 * TILE, sums += TILE) {
        int32_t s[TILE] = {0};
        add_s16(w, 4 * lanes, x, quads, s);
        UNROLL
        for (int r = 0; r < TILE; ++r) sums[r] += s[r];
    }
}

static void rescale_rows(const elstm_rescale *rescale, int32_t *y, uint32_t rows) {
    for (uint32_t r = 0; r < rows; ++r) y[r] = elstm_sh(y[r], rescale->shift[r]) + rescale->bias[r];
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (; count > 0; --count, x += x_stride, y += rows) {
        const int8_t *v = w->weights;
        if (rescale != NULL) memset(y, 0, rows * sizeof *y);
        for (uint32_t row = 0; row < rows; row += lanes, v += 4 * (size_t)lanes * w->quads)
            add_group(v, lanes, x, w->quads, y + row);
        if (rescale != NULL) rescale_rows(rescale, y, rows);
    }
}

#define CHUNK 8 /* quads of x that are widened at a time */

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (; count > 0; --count, x += x_stride, y += rows) {
        if (rescale != NULL) memset(y, 0, rows * sizeof *y);
        for (uint32_t at = 0; at < w->quads; at += CHUNK) {
            int16_t wide[4 * CHUNK];
            const uint32_t quads = w->quads - at < CHUNK ? w->quads - at : CHUNK;
            const int8_t *v = w->weights + 4 * (size_t)lanes * at;
            for (uint32_t k = 0; k < 4 * quads; ++k) wide[k] = x[4 * at + k];
            for (uint32_t row = 0; row < rows; row += lanes, v += 4 * (size_t)lanes * w->quads)
                add_group(v, lanes, wide, quads, y + row);
        }
        if (rescale != NULL) rescale_rows(rescale, y, rows);
    }
}

/* ---- cell ---- */

/* T in a segment, as docs/numerics.md has it: c0 to c2 with what rounds them as they meet products
 * of a 16th of r, c0 from 32767 down. */
typedef struct {
    int32_t c3, c2, c1, c0;
} segment;

static const segment segments[8] = {
    {5, 16 * 2048 + 1024, 44 * 2048 + 1024, (32767 - 37) * 2048 + 1023},
    {5, 45 * 2048 + 1024, 163 * 2048 + 1024, (32767 - 225) * 2048 + 1023},
    {11, 98 * 2048 + 1024, 435 * 2048 + 1024, (32767 - 787) * 2048 + 1023},
    {14, 183 * 2048 + 1024, 983 * 2048 + 1024, (32767 - 2146) * 2048 + 1023},
    {14, 285 * 2048 + 1024, 1916 * 2048 + 1024, (32767 - 4972) * 2048 + 1023},
    {0, 343 * 2048 + 1024, 3208 * 2048 + 1024, (32767 - 10053) * 2048 + 1023},
    {-28, 266 * 2048 + 1024, 4497 * 2048 + 1024, (32767 - 17807) * 2048 + 1023},
    {-44, 45 * 2048 + 1024, 5158 * 2048 + 1024, (32767 - 27611) * 2048 + 1023},
};

#if defined(ELSTM_SMALL_FEW_REGISTERS)
static inline int32_t mh(int32_t a, int32_t b) { return ((a * b >> 14) + 1) >> 1; }
#else
static inline int32_t mh(int32_t a, int32_t b) { return elstm_mh(a, b); }
#endif

static inline int32_t sat16(int32_t v) {
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    return (int32_t)__builtin_arm_ssat(v, 16);
#else
    return (int16_t)v == v ? v : (v >> 31) ^ 32767;
#endif
}

/* `raw` of docs/numerics.md; its sign is that of v. */
static inline int32_t tanh_raw(int32_t v) {
    const int32_t sign = v >> 31, b = 32767 - (v ^ sign);
    const uint32_t u =
        (uint32_t)(b * b + 0x4000); /* 2^15 times the page's, and its k and r in it */
    const segment *s = &segments[u >> 27];
    int32_t r = (int32_t)(u << 5 >> 20) - 2048;
    STANDS(r);
    int32_t q = (s->c3 * r + s->c2) >> 11;
    q = (q * r + s->c1) >> 11;
    return ((s->c0 - q * r) >> 11) ^ sign;
}

static inline int32_t tanh_of(int32_t raw) { return raw - (raw >> 31); }

static inline int32_t sigmoid_of(int32_t raw) { return (raw + 32769) >> 1; }

/* A shift of -4 at least is one to the right of what 16 times |acc| < 2^27 leaves. */
static inline int32_t requantized(int32_t acc, int32_t shift, int32_t multiplier) {
    const int32_t t = sat16(acc * 16 >> (shift + 4));
    return sat16(t + mh(t, multiplier));
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; ++r)
        z[r] = (int16_t)requantized(acc[r], q->shift[r], q->multiplier[r]);
}

static void tanh_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)tanh_of(tanh_raw(v[k]));
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)sigmoid_of(tanh_raw(v[k]));
}

/* The sums of a group of 8 units from `at` on become c and h. */
static void end_group(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                      uint32_t at) {
    const int8_t *shift = q->shift + 4 * at;
    const int16_t *multiplier = q->multiplier + 4 * at;
    int32_t raw[4 * ELSTM_GROUP];
    for (uint32_t r = 0; r < 4 * ELSTM_GROUP; ++r)
        raw[r] = tanh_raw(requantized(acc[r], shift[r], multiplier[r]));
    const int32_t kappa = cell->kappa, hidden = cell->hidden_multiplier;
    const uint32_t doublings = cell->doublings;
    const elstm_type type = cell->type;
    int16_t *cs = cell->c + at;
    for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
        const int32_t i = sigmoid_of(raw[u]), f = sigmoid_of(raw[8 + u]);
        const int32_t g = tanh_of(raw[16 + u]), o = sigmoid_of(raw[24 + u]);
        const int32_t c = sat16(mh(f, cs[u]) + mh(mh(i, g), kappa));
        cs[u] = (int16_t)c;
        const int32_t p = mh(o, tanh_of(tanh_raw(sat16(c * (1 << doublings)))));
        const int32_t h = mh(p, hidden);
        if (type == ELSTM_S8)
            ((int8_t *)cell->h)[at + u] = ((int8_t *)cell->y)[at + u] = (int8_t)elstm_clamp(h, 127);
        else
            ((int16_t *)cell->h)[at + u] = ((int16_t *)cell->y)[at + u] = (int16_t)h;
    }
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group, acc += 4 * ELSTM_GROUP)
        end_group(acc, q, cell, group * ELSTM_GROUP);
}

#define ROWS (4 * ELSTM_GROUP) /* of a group */

/* What a group's sums are made of. */
typedef struct {
    const int8_t *w, *r;
    const void *x, *h; /* h: columns, or int16 */
    elstm_type type_x, type_h;
    int left; /* 1: shifts may be negative */
    uint32_t quads_x, quads_h;
    const int8_t *shift;
    const int32_t *bias;
} operands;

static void sum_group(const operands *from, int32_t *sums) {
    const int8_t *w = from->w, *r = from->r, *shift = from->shift;
    const int32_t *bias = from->bias;
    for (int32_t *end = sums + ROWS; sums != end; sums += TILE) {
        int32_t s[TILE] = {0};
        if (from->type_x == ELSTM_S16)
            add_s16(w, 4 * ROWS, from->x, from->quads_x, s);
        else
            add_s8(w, 4 * ROWS, from->x, from->quads_x, s);
        UNROLL
        for (int k = 0; k < TILE; ++k)
            s[k] = (from->left ? elstm_sh(s[k], shift[k]) : s[k] >> shift[k]) + bias[k];
        if (from->type_h == ELSTM_S16)
            add_s16(r, 4 * ROWS, from->h, from->quads_h, s);
        else
            add_columns(r, 4 * ROWS, from->h, from->quads_h, s);
        UNROLL
        for (int k = 0; k < TILE; ++k) sums[k] = s[k];
        w += 4 * TILE;
        r += 4 * TILE;
        shift += TILE;
        bias += TILE;
    }
}

static void step(const elstm_plain_s8 *l, const void *x, int32_t *scratch,
                 const elstm_cell_s8 *cell) {
    const uint32_t units = l->kernel->groups * ELSTM_GROUP;
    /* h, which changes group by group */
    if (cell->type == ELSTM_S16) {
        memcpy(scratch, cell->h, 2 * (size_t)units);
    } else {
        column *before = (column *)(void *)scratch;
        const int8_t *h = cell->h;
        for (uint32_t k = 0; k < units; ++k) before[k] = h[k];
    }
    const elstm_type type = l->type;
    operands from = {l->kernel->weights,
                     l->recurrent->weights,
                     x,
                     scratch,
                     type,
                     cell->type,
                     type == ELSTM_S8 || cell->type == ELSTM_S16,
                     l->kernel->quads,
                     l->recurrent->quads,
                     l->rescale->shift,
                     l->rescale->bias};
    for (uint32_t at = 0; at < units; at += ELSTM_GROUP) {
        int32_t sums[ROWS];
        sum_group(&from, sums);
        end_group(sums, l->requantize, cell, at);
        from.w += 4 * ROWS * (size_t)from.quads_x;
        from.r += 4 * ROWS * (size_t)from.quads_h;
        from.shift += ROWS;
        from.bias += ROWS;
    }
}

const elstm_kernels elstm_kernels_small = {
    .name = "small",
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
    .step_scratch = sizeof(column),
#if ELSTM_LINKS_GRU
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
#endif
#if ELSTM_LINKS_TFL8
    .lstm_tfl8 = loops_lstm_tfl8,
#endif
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#endif
