/* Plain C for CPUs without SIMD: Cortex-M0, M0+, M3, RISC-V. A plain LSTM goes from inputs to h
 * group by group, 32 sums on the stack. */
#include "kernels_loops.h"

#if defined(ELSTM_BUILDS_SMALL)

/* ---- products ---- */

#if defined(ELSTM_SMALL_BY_WORDS)

/* A quad of weights is one word w of bytes u[k] = weight + 128. The sum of the u[k] x[k] is that of
 * (w >> 8 k) y[k] in 32 bits, with y[k] = x[k] - 256 x[k - 1]: no byte has to be taken out of its
 * word. The 128 add the same to every row. */
typedef uint32_t staged;

#define CHUNK 8 /* quads that are staged on the stack */

static inline int32_t stage_quad(int32_t x0, int32_t x1, int32_t x2, int32_t x3, staged *to) {
    to[0] = (uint32_t)x0;
    to[1] = (uint32_t)(x1 - 256 * x0);
    to[2] = (uint32_t)(x2 - 256 * x1);
    to[3] = (uint32_t)(x3 - 256 * x2);
    return x0 + x1 + x2 + x3;
}

/* x as add_rows reads it; returns what the rows' sums start with. */
static uint32_t stage_s16(const int16_t *x, uint32_t quads, staged *to) {
    int32_t sum = 0;
    for (; quads > 0; --quads, x += 4, to += 4) sum += stage_quad(x[0], x[1], x[2], x[3], to);
    return (uint32_t)(-128 * sum);
}

static uint32_t stage_s8(const int8_t *x, uint32_t quads, staged *to) {
    int32_t sum = 0;
    for (; quads > 0; --quads, x += 4, to += 4) sum += stage_quad(x[0], x[1], x[2], x[3], to);
    return (uint32_t)(-128 * sum);
}

static inline uint32_t word_dot(uint32_t word, const staged *y) {
    const uint32_t w = word ^ 0x80808080u;
    return (w >> 24) * y[3] + (w >> 16) * y[2] + (w >> 8) * y[1] + w * y[0];
}

/* sums[r] += start + W x of the rows of a group. */
static void add_rows(const int8_t *w, uint32_t lanes, uint32_t quads, const staged *x,
                     uint32_t start, int32_t *sums) {
    const staged *end = x + 4 * quads;
    for (uint32_t at = 0; at < lanes; at += 4, w += 16, sums += 4) {
        uint32_t a = start, b = start, c = start, d = start;
        const int8_t *v = w;
        for (const staged *from = x; from != end; from += 4, v += 4 * lanes) {
            const uint32_t *words = (const uint32_t *)(const void *)v;
            a += word_dot(words[0], from);
            b += word_dot(words[1], from);
            c += word_dot(words[2], from);
            d += word_dot(words[3], from);
        }
        sums[0] += (int32_t)a;
        sums[1] += (int32_t)b;
        sums[2] += (int32_t)c;
        sums[3] += (int32_t)d;
    }
}

#else

typedef int16_t staged;

#define CHUNK 16

static uint32_t stage_s8(const int8_t *x, uint32_t quads, staged *to) {
    for (uint32_t k = 0; k < 4 * quads; ++k) to[k] = x[k];
    return 0;
}

static inline void add_column(const int8_t *w, int32_t x, int32_t *s) {
    s[0] += w[0] * x;
    s[1] += w[4] * x;
    s[2] += w[8] * x;
    s[3] += w[12] * x;
    s[4] += w[16] * x;
    s[5] += w[20] * x;
    s[6] += w[24] * x;
    s[7] += w[28] * x;
}

/* sums[r] += W x of the rows of a group. */
static void add_rows(const int8_t *w, uint32_t lanes, uint32_t quads, const staged *x,
                     uint32_t start, int32_t *sums) {
    const staged *end = x + 4 * quads;
    (void)start;
    for (uint32_t at = 0; at < lanes; at += 8, w += 32, sums += 8) {
        int32_t s[8];
        const int8_t *v = w;
        for (int r = 0; r < 8; ++r) s[r] = sums[r];
        for (const staged *from = x; from != end; from += 4, v += 4 * lanes) {
            add_column(v, from[0], s);
            add_column(v + 1, from[1], s);
            add_column(v + 2, from[2], s);
            add_column(v + 3, from[3], s);
        }
        for (int r = 0; r < 8; ++r) sums[r] = s[r];
    }
}

#endif

/* sums[r] += W x of the rows of a group, 16-bit x. */
static void add_rows_s16(const int8_t *w, uint32_t lanes, uint32_t quads, const int16_t *x,
                         int32_t *sums) {
#if defined(ELSTM_SMALL_BY_WORDS)
    for (uint32_t at = 0; at < quads; at += CHUNK) {
        staged y[4 * CHUNK];
        const uint32_t count = quads - at < CHUNK ? quads - at : CHUNK;
        const uint32_t start = stage_s16(x + 4 * at, count, y);
        add_rows(w + 4 * lanes * at, lanes, count, y, start, sums);
    }
#else
    add_rows(w, lanes, quads, x, 0, sums);
#endif
}

static void add_rows_s8(const int8_t *w, uint32_t lanes, uint32_t quads, const int8_t *x,
                        int32_t *sums) {
    for (uint32_t at = 0; at < quads; at += CHUNK) {
        staged y[4 * CHUNK];
        const uint32_t count = quads - at < CHUNK ? quads - at : CHUNK;
        const uint32_t start = stage_s8(x + 4 * at, count, y);
        add_rows(w + 4 * lanes * at, lanes, count, y, start, sums);
    }
}

static void rescale_group(const elstm_rescale *rescale, uint32_t at, uint32_t lanes, int32_t *y) {
    for (uint32_t r = 0; r < lanes; ++r)
        y[r] = elstm_sh(y[r], rescale->shift[at + r]) + rescale->bias[at + r];
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (; count > 0; --count, x += x_stride) {
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes, y += lanes) {
            if (rescale != NULL) memset(y, 0, lanes * sizeof *y);
            add_rows_s8(weights, lanes, w->quads, x, y);
            if (rescale != NULL) rescale_group(rescale, at, lanes, y);
            weights += 4 * (size_t)lanes * w->quads;
        }
    }
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (; count > 0; --count, x += x_stride) {
        const int8_t *weights = w->weights;
        for (uint32_t at = 0; at < rows; at += lanes, y += lanes) {
            if (rescale != NULL) memset(y, 0, lanes * sizeof *y);
            add_rows_s16(weights, lanes, w->quads, x, y);
            if (rescale != NULL) rescale_group(rescale, at, lanes, y);
            weights += 4 * (size_t)lanes * w->quads;
        }
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
    const int32_t r = (int32_t)(u << 5 >> 20) - 2048;
    int32_t q = (s->c3 * r + s->c2) >> 11;
    q = (q * r + s->c1) >> 11;
    return ((s->c0 - q * r) >> 11) ^ sign;
}

static inline int32_t tanh_of(int32_t raw) { return raw - (raw >> 31); }

static inline int32_t sigmoid_of(int32_t raw) { return (raw + 32769) >> 1; }

/* A shift of -4 at least is one to the right of what 16 times |acc| < 2^27 leaves. */
static inline int32_t requantized(int32_t acc, int32_t shift, int32_t multiplier) {
    const int32_t t = sat16(acc * 16 >> (shift + 4));
    return sat16(t + elstm_mh(t, multiplier));
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
        const int32_t c = sat16(elstm_mh(f, cs[u]) + elstm_mh(elstm_mh(i, g), kappa));
        cs[u] = (int16_t)c;
        const int32_t p = elstm_mh(o, tanh_of(tanh_raw(sat16(c * (1 << doublings)))));
        const int32_t h = elstm_mh(p, hidden);
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

static void step_s16(const elstm_plain_s8 *l, const int16_t *x, int32_t *scratch,
                     const elstm_cell_s8 *cell) {
    const uint32_t quads_x = l->kernel->quads, quads_h = l->recurrent->quads;
    staged *h = (staged *)(void *)scratch;
    const uint32_t start = stage_s8(cell->h, quads_h, h);
    const int8_t *w = l->kernel->weights, *r = l->recurrent->weights;
    const int8_t *shift = l->rescale->shift;
    const int32_t *bias = l->rescale->bias;
    const uint32_t units = l->kernel->groups * ELSTM_GROUP;
    for (uint32_t at = 0; at < units; at += ELSTM_GROUP) {
        int32_t z[4 * ELSTM_GROUP];
        for (uint32_t k = 0; k < 4 * ELSTM_GROUP; ++k) z[k] = 0;
        add_rows_s16(w, 4 * ELSTM_GROUP, quads_x, x, z);
        for (uint32_t k = 0; k < 4 * ELSTM_GROUP; ++k) z[k] = (z[k] >> *shift++) + *bias++;
        add_rows(r, 4 * ELSTM_GROUP, quads_h, h, start, z);
        end_group(z, l->requantize, cell, at);
        w += 16 * ELSTM_GROUP * (size_t)quads_x;
        r += 16 * ELSTM_GROUP * (size_t)quads_h;
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
    .step_s16 = step_s16,
    .step_scratch = sizeof(staged),
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
