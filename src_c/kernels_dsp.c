/* The set for 32-bit ARM with SIMD in ordinary registers: Cortex-M4, M7, M33, and ARMv6 on. Two
 * products a smlad, after sxtb16 has widened two weights. */
#include "kernels_loops.h"

#if defined(ELSTM_BUILDS_DSP)

/* ---- products ---- */

/* Columns as the products want them: of each quad the 16-bit columns 0 and 2 in one word, 1 and 3
 * in the next. */
static void pair_s8(const int8_t *x, uint32_t *pairs, uint32_t quads) {
    for (; quads > 0; --quads, x += 4, pairs += 2) {
        uint32_t word;
        memcpy(&word, x, sizeof word);
        __asm__("sxtb16 %0, %1" : "=r"(pairs[0]) : "r"(word));
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(pairs[1]) : "r"(word));
    }
}

static void pair_s16(const int16_t *x, uint32_t *pairs, uint32_t quads) {
    for (; quads > 0; --quads, x += 4, pairs += 2) {
        uint32_t low, high;
        memcpy(&low, x, sizeof low);
        memcpy(&high, x + 2, sizeof high);
        pairs[0] = (low & 0xFFFFu) | high << 16;
        pairs[1] = low >> 16 | (high & 0xFFFF0000u);
    }
}

/* One quad of four rows, sums in r8 ... r11, weights at r12. */
#define QUAD(x02, x13, stride)                                                                     \
    "ldrd r4, r5, [r12, #8]\n\t"                                                                   \
    "sxtb16 r6, r4, ror #8\n\t"                                                                    \
    "sxtb16 r4, r4\n\t"                                                                            \
    "smlad r10, r6, " x13 ", r10\n\t"                                                              \
    "sxtb16 r6, r5, ror #8\n\t"                                                                    \
    "sxtb16 r5, r5\n\t"                                                                            \
    "smlad r10, r4, " x02 ", r10\n\t"                                                              \
    "smlad r11, r6, " x13 ", r11\n\t"                                                              \
    "smlad r11, r5, " x02 ", r11\n\t"                                                              \
    "ldrd r4, r5, [r12], #" stride "\n\t"                                                          \
    "sxtb16 r6, r4, ror #8\n\t"                                                                    \
    "sxtb16 r4, r4\n\t"                                                                            \
    "smlad r8, r6, " x13 ", r8\n\t"                                                                \
    "sxtb16 r6, r5, ror #8\n\t"                                                                    \
    "sxtb16 r5, r5\n\t"                                                                            \
    "smlad r8, r4, " x02 ", r8\n\t"                                                                \
    "smlad r9, r6, " x13 ", r9\n\t"                                                                \
    "smlad r9, r5, " x02 ", r9\n\t"

/* y[r] += the products of a group's rows, four of them at a time, with so many quads of columns,
 * at least one. Weights are at 4 bytes: ldrd demands it. All registers are used, so the
 * two that may hold the frame are saved by hand. */
#define DEFINE_PRODUCTS(name, stride, lanes)                                                       \
    static void name(const int8_t *weights, const uint32_t *pairs, uint32_t quads, int32_t *y) {   \
        register int32_t *r0 __asm__("r0") = y;                                                    \
        register uint32_t r1 __asm__("r1") = quads;                                                \
        register const int8_t *r2 __asm__("r2") = weights;                                         \
        register const uint32_t *r3 __asm__("r3") = pairs;                                         \
        register const int32_t *r4 __asm__("r4") = y + (lanes);                                    \
        __asm__ volatile(".syntax unified\n\t"                                                     \
                         "push {r0, r1, r2, r3, r4, r7, r11}\n"                                    \
                         "0:\n\t"                                                                  \
                         "ldm sp, {r0, r7, r12, lr}\n\t"                                           \
                         "ldm r0, {r8, r9, r10, r11}\n\t"                                          \
                         "add r1, r12, #16\n\t"                                                    \
                         "str r1, [sp, #8]\n\t"                                                    \
                         "lsrs r7, r7, #1\n\t"                                                     \
                         "bcc 1f\n\t"                                                              \
                         "ldrd r2, r3, [lr], #8\n\t"                                               \
                         "add r7, r7, #1\n\t"                                                      \
                         "b 2f\n"                                                                  \
                         "1:\n\t"                                                                  \
                         "ldm lr!, {r0, r1, r2, r3}\n\t" QUAD("r0", "r1", stride) "2:\n\t" QUAD(   \
                             "r2", "r3", stride) "subs r7, r7, #1\n\t"                             \
                                                 "bne 1b\n\t"                                      \
                                                 "ldr r0, [sp]\n\t"                                \
                                                 "ldr r1, [sp, #16]\n\t"                           \
                                                 "stm r0!, {r8, r9, r10, r11}\n\t"                 \
                                                 "str r0, [sp]\n\t"                                \
                                                 "cmp r0, r1\n\t"                                  \
                                                 "bne 0b\n\t"                                      \
                                                 "pop {r0, r1, r2, r3, r4, r7, r11}"               \
                         : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r4)                        \
                         :                                                                         \
                         : "r5", "r6", "r8", "r9", "r10", "r12", "lr", "cc", "memory");            \
    }

DEFINE_PRODUCTS(products_32, "128", 32)
DEFINE_PRODUCTS(products_8, "32", 8)

/* Quads that are paired at a time: 128 bytes of stack. */
#define CHUNK 16

/* y[r] += W x; x int8 or int16. */
static void add_products(const elstm_matrix_s8 *w, const void *x, elstm_type type, int32_t *y) {
    const uint32_t lanes = w->gates * ELSTM_GROUP;
    uint32_t pairs[2 * CHUNK];
    for (uint32_t at = 0; at < w->quads; at += CHUNK) {
        const uint32_t quads = w->quads - at < CHUNK ? w->quads - at : CHUNK;
        if (type == ELSTM_S8)
            pair_s8((const int8_t *)x + 4 * at, pairs, quads);
        else
            pair_s16((const int16_t *)x + 4 * at, pairs, quads);
        const int8_t *weights = w->weights + (size_t)at * lanes * 4;
        for (uint32_t group = 0; group < w->groups;
             ++group, weights += (size_t)w->quads * lanes * 4) {
            if (lanes == 32)
                products_32(weights, pairs, quads, y + group * lanes);
            else
                products_8(weights, pairs, quads, y + group * lanes);
        }
    }
}

static void matmul(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const void *x,
                   elstm_type type, size_t x_stride, int32_t *y, uint32_t count) {
    const uint32_t rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, y += rows) {
        if (rescale != NULL) memset(y, 0, rows * sizeof *y);
        add_products(w, x, type, y);
        for (uint32_t r = 0; rescale != NULL && r < rows; ++r)
            y[r] = elstm_sh(y[r], rescale->shift[r]) + rescale->bias[r];
        x = (const int8_t *)x + x_stride;
    }
}

static void matmul_s8(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count) {
    matmul(w, rescale, x, ELSTM_S8, x_stride, y, count);
}

static void matmul_s16(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count) {
    matmul(w, rescale, x, ELSTM_S16, x_stride * sizeof *x, y, count);
}

/* ---- functions ---- */

static inline int32_t sat16(int32_t v) {
    int32_t y;
    __asm__("ssat %0, #16, %1" : "=r"(y) : "r"(v));
    return y;
}

/* a b + c of the lower halves of a and b. */
static inline int32_t smlabb(int32_t a, int32_t b, int32_t c) {
    int32_t y;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(c));
    return y;
}

/* Of each segment of T: 2 C3, C2, C1, C0. */
static const int32_t segments[8][4] = {
    {10, 16, 44, 37},      {10, 45, 163, 225},    {22, 98, 435, 787},      {28, 183, 983, 2146},
    {28, 285, 1916, 4972}, {0, 343, 3208, 10053}, {-56, 266, 4497, 17807}, {-88, 45, 5158, 27611}};

/* raw of docs/numerics.md. smmlar(2a, b << 16, c) is c + mh(a, b). */
static inline int32_t tanh_raw(int32_t v) {
    const int32_t n = (v >> 31) ^ 0x7FFF;
    const int32_t b = v ^ n;
    const uint32_t square = (uint32_t)smlabb(b, b, 0x4000);
    uint32_t r;
    const int32_t *segment = segments[square >> 27];
    int32_t q;
    __asm__("eor %1, %4, %3, lsl #20\n\t"
            "ldm %2, {r0, r1, r2, r3}\n\t"
            "smmlar r1, r0, %1, r1\n\t"
            "add r1, r1, r1\n\t"
            "smmlar r2, r1, %1, r2\n\t"
            "add r2, r2, r2\n\t"
            "smmlar %0, r2, %1, r3"
            : "=r"(q), "=&r"(r)
            : "r"(segment), "r"(square >> 15), "r"(0x80000000u), "m"(segments)
            : "r0", "r1", "r2", "r3");
    return q ^ n;
}

static inline int32_t tanh_one(int32_t v) { return tanh_raw(v) - (v >> 31); }

static inline int32_t sigmoid_one(int32_t v) { return 16384 + ((tanh_raw(v) + 1) >> 1); }

static void tanh_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)tanh_one(v[k]);
}

static void sigmoid_s16(int16_t *v, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)sigmoid_one(v[k]);
}

/* |acc| < 2^27, so that 4 bits more fit and no shift is to the left. */
static inline int32_t requantize_one(int32_t acc, int32_t shift, int32_t multiplier) {
    const int32_t t = sat16((int32_t)((uint32_t)acc << 4) >> (shift + 4));
    return sat16(t + (smlabb(t, multiplier, 0x4000) >> 15));
}

static void requantize_s8(const int32_t *acc, const elstm_requantize *q, int16_t *z,
                          uint32_t rows) {
    for (uint32_t r = 0; r < rows; ++r)
        z[r] = (int16_t)requantize_one(acc[r], q->shift[r], q->multiplier[r]);
}

/* ---- cell ---- */

static inline int32_t times(int32_t a, int32_t b) { return smlabb(a, b, 0x4000) >> 15; }

/* The 8 units of a group; h goes to y alone. */
static void group_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                     uint32_t group) {
    const int8_t *shift = q->shift + group * 4 * ELSTM_GROUP;
    const int16_t *multiplier = q->multiplier + group * 4 * ELSTM_GROUP;
    for (uint32_t k = group * ELSTM_GROUP; k < (group + 1) * ELSTM_GROUP;
         ++k, ++acc, ++shift, ++multiplier) {
        const int32_t i = sigmoid_one(requantize_one(acc[0], shift[0], multiplier[0]));
        const int32_t g = tanh_one(requantize_one(acc[16], shift[16], multiplier[16]));
        const int32_t added = times(times(i, g), cell->kappa);
        const int32_t f = sigmoid_one(requantize_one(acc[8], shift[8], multiplier[8]));
        const int32_t c = sat16(times(f, cell->c[k]) + added);
        cell->c[k] = (int16_t)c;
        const int32_t p = tanh_one(sat16(c << cell->doublings));
        const int32_t o = sigmoid_one(requantize_one(acc[24], shift[24], multiplier[24]));
        const int32_t h = times(times(o, p), cell->hidden_multiplier);
        if (cell->type == ELSTM_S8)
            ((int8_t *)cell->y)[k] = (int8_t)elstm_clamp(h, 127);
        else
            ((int16_t *)cell->y)[k] = (int16_t)h;
    }
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    for (uint32_t group = 0; group < groups; ++group)
        group_s8(acc + 4 * ELSTM_GROUP * group, q, cell, group);
    memcpy(cell->h, cell->y, (size_t)groups * ELSTM_GROUP * (cell->type == ELSTM_S8 ? 1 : 2));
}

static void step_s16(const elstm_plain_s8 *l, const int16_t *x, int32_t *scratch,
                     const elstm_cell_s8 *cell) {
    const elstm_matrix_s8 *w = l->kernel, *r = l->recurrent;
    uint32_t *h = (uint32_t *)scratch, pairs[2 * CHUNK];
    pair_s8(cell->h, h, r->quads);
    uint32_t paired = w->quads;
    const int8_t *weights = w->weights, *again = r->weights;
    for (uint32_t group = 0; group < w->groups; ++group) {
        int32_t sums[4 * ELSTM_GROUP];
        for (uint32_t k = 0; k < 4 * ELSTM_GROUP; ++k) sums[k] = 0;
        for (uint32_t at = 0; at < w->quads; at += CHUNK) {
            const uint32_t quads = w->quads - at < CHUNK ? w->quads - at : CHUNK;
            if (at != paired) pair_s16(x + 4 * at, pairs, quads);
            paired = at;
            products_32(weights, pairs, quads, sums);
            weights += quads * 128;
        }
        for (uint32_t k = 0; k < 4 * ELSTM_GROUP; ++k)
            sums[k] = (sums[k] >> l->rescale->shift[group * 4 * ELSTM_GROUP + k]) +
                      l->rescale->bias[group * 4 * ELSTM_GROUP + k];
        products_32(again, h, r->quads, sums);
        again += r->quads * 128;
        group_s8(sums, l->requantize, cell, group);
    }
    memcpy(cell->h, cell->y, (size_t)w->groups * ELSTM_GROUP);
}

const elstm_kernels elstm_kernels_dsp = {
    .name = "dsp",
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
    .step_scratch = 2, /* h as pairs of int16 */
#if ELSTM_LINKS_TFL8
    .lstm_tfl8 = loops_lstm_tfl8,
#endif
#if ELSTM_LINKS_GRU
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
#endif
    .tanh_s16 = tanh_s16,
    .sigmoid_s16 = sigmoid_s16,
};

#endif
