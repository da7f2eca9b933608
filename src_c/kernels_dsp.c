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
        __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pairs[0]) : "r"(low), "r"(high));
        __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pairs[1]) : "r"(high), "r"(low));
    }
}

static void pair(const void *x, elstm_type type, uint32_t *pairs, uint32_t quads) {
    if (type == ELSTM_S8)
        pair_s8(x, pairs, quads);
    else
        pair_s16(x, pairs, quads);
}

/* Bytes of so many quads. */
static inline size_t bytes_of(uint32_t quads, elstm_type type) {
    return (size_t)quads * (type == ELSTM_S8 ? 4 : 8);
}

/* One quad of four rows: their sums, where the weights stand, columns, bytes to the next quad. */
#define QUAD(a, b, c, d, weights, x02, x13, stride)                                                \
    "ldrd r4, r5, [" weights ", #8]\n\t"                                                           \
    "sxtb16 r6, r4, ror #8\n\t"                                                                    \
    "sxtb16 r4, r4\n\t"                                                                            \
    "smlad " c ", r6, " x13 ", " c "\n\t"                                                          \
    "sxtb16 r6, r5, ror #8\n\t"                                                                    \
    "sxtb16 r5, r5\n\t"                                                                            \
    "smlad " c ", r4, " x02 ", " c "\n\t"                                                          \
    "smlad " d ", r6, " x13 ", " d "\n\t"                                                          \
    "smlad " d ", r5, " x02 ", " d "\n\t"                                                          \
    "ldrd r4, r5, [" weights "], #" stride "\n\t"                                                  \
    "sxtb16 r6, r4, ror #8\n\t"                                                                    \
    "sxtb16 r4, r4\n\t"                                                                            \
    "smlad " a ", r6, " x13 ", " a "\n\t"                                                          \
    "sxtb16 r6, r5, ror #8\n\t"                                                                    \
    "sxtb16 r5, r5\n\t"                                                                            \
    "smlad " a ", r4, " x02 ", " a "\n\t"                                                          \
    "smlad " b ", r6, " x13 ", " b "\n\t"                                                          \
    "smlad " b ", r5, " x02 ", " b "\n\t"
#define QUAD_OF_32(x02, x13) QUAD("r8", "r9", "r10", "r11", "r12", x02, x13, "128")

/* So many quads, at least one: r7 counts them, r12 walks over weights, lr over columns. */
#define PRODUCTS                                                                                   \
    "lsrs r7, r7, #1\n\t"                                                                          \
    "bcc 2f\n\t"                                                                                   \
    "ldrd r2, r3, [lr], #8\n\t"                                                                    \
    "add r7, r7, #1\n\t"                                                                           \
    "b 3f\n"                                                                                       \
    "2:\n\t"                                                                                       \
    "ldm lr!, {r0, r1, r2, r3}\n\t" QUAD_OF_32("r0", "r1") /* */                                   \
        "3:\n\t" QUAD_OF_32("r2", "r3")                    /* */                                   \
        "subs r7, r7, #1\n\t"                                                                      \
        "bne 2b\n\t"

/* What the rows of a group come from; all but the columns move on with the rows. Weights stand at 4
 * bytes, as ldrd demands. */
typedef struct {
    int32_t *z;
    uint32_t goes_on; /* 0: sums start at 0, 1: as z stands */
    uint32_t quads;
    const int8_t *weights;
    const uint32_t *x;
    const int8_t *kx;
    const int32_t *bias;
    uint32_t quads_h;
    const int8_t *recurrent;
    const uint32_t *h;
    const int8_t *shift;
    const int16_t *multiplier;
    const int32_t *end;
    uint32_t fours; /* 0x04040404 */
    uint32_t
        alone; /* 1: z becomes the sums of x, 0: all of it, LEFT: and shifts of x may be negative */
} group_rows;

#define LEFT 0x80000000u

/* Two rows' z of their sums; shifts + 4 in the bytes of r2, 0x4000 in r12. */
#define REQUANTIZE(a, b, multipliers)                                                              \
    "lsl " a ", " a ", #4\n\t"                                                                     \
    "lsl " b ", " b ", #4\n\t"                                                                     \
    "asr " a ", " a ", r2\n\t"                                                                     \
    "lsr r2, r2, #8\n\t"                                                                           \
    "asr " b ", " b ", r2\n\t"                                                                     \
    "lsr r2, r2, #8\n\t"                                                                           \
    "ssat " a ", #16, " a "\n\t"                                                                   \
    "ssat " b ", #16, " b "\n\t"                                                                   \
    "smlabb r3, " a ", " multipliers ", r12\n\t"                                                   \
    "smlabt r7, " b ", " multipliers ", r12\n\t"                                                   \
    "add " a ", " a ", r3, asr #15\n\t"                                                            \
    "add " b ", " b ", r7, asr #15\n\t"                                                            \
    "ssat " a ", #16, " a "\n\t"                                                                   \
    "ssat " b ", #16, " b "\n\t"

/* z of a group's rows, four at a time, whose sums never see memory: x, its shift and bias, h, and
 * requantized; or the sums of x alone. All registers are in use, so those that may hold the
 * frame (r7, r11) or the base of static data (r9) are saved by hand. */
static void group_products(group_rows *rows) {
    register group_rows *r0 __asm__("r0") = rows;
    __asm__ volatile(".syntax unified\n\t"
                     "push {r0, r7, r9, r11}\n"
                     "0:\n\t"
                     "ldr r6, [sp]\n\t"
                     "ldm r6!, {r0, r1, r7, r12, lr}\n\t"
                     "mov r8, #0\n\t"
                     "mov r9, #0\n\t"
                     "mov r10, #0\n\t"
                     "mov r11, #0\n\t"
                     "cmp r1, #0\n\t"
                     "beq 1f\n\t"
                     "ldm r0, {r8, r9, r10, r11}\n"
                     "1:\n\t"
                     "add r1, r12, #16\n\t"
                     "str r1, [r6, #-8]\n\t" PRODUCTS /* */
                     "ldr r6, [sp]\n\t"
                     "ldr r2, [r6, #56]\n\t"
                     "ldrd r0, r1, [r6, #20]\n\t"
                     "cmp r2, #0\n\t"
                     "bne 4f\n\t"
                     "ldr r2, [r0], #4\n"
                     "6:\n\t" /* no shift of x is to the left any more */
                     "ldm r1!, {r3, r4, r5, r12}\n\t"
                     "asr r8, r8, r2\n\t"
                     "lsr r2, r2, #8\n\t"
                     "asr r9, r9, r2\n\t"
                     "lsr r2, r2, #8\n\t"
                     "asr r10, r10, r2\n\t"
                     "lsr r2, r2, #8\n\t"
                     "asr r11, r11, r2\n\t"
                     "add r8, r8, r3\n\t"
                     "add r9, r9, r4\n\t"
                     "add r10, r10, r5\n\t"
                     "add r11, r11, r12\n\t"
                     "strd r0, r1, [r6, #20]\n\t"
                     "add r6, r6, #28\n\t"
                     "ldm r6, {r7, r12, lr}\n\t"
                     "add r1, r12, #16\n\t"
                     "str r1, [r6, #4]\n\t" PRODUCTS /* */
                     "ldr r6, [sp]\n\t"
                     "ldrd r0, r1, [r6, #40]\n\t"
                     "ldr r3, [r6, #52]\n\t"
                     "ldr r2, [r0], #4\n\t"
                     "ldr r5, [r1, #4]\n\t"
                     "ldr r4, [r1], #8\n\t"
                     "mov r12, #0x4000\n\t"
                     "uadd8 r2, r2, r3\n\t"
                     "strd r0, r1, [r6, #40]\n\t" REQUANTIZE("r8", "r9", "r4")
                         REQUANTIZE("r10", "r11", "r5") /* */ "5:\n\t"
                                                              "ldr r0, [r6]\n\t"
                                                              "ldr r1, [r6, #48]\n\t"
                                                              "stm r0!, {r8, r9, r10, r11}\n\t"
                                                              "str r0, [r6]\n\t"
                                                              "cmp r0, r1\n\t"
                                                              "bne 0b\n\t"
                                                              "pop {r0, r7, r9, r11}\n\t"
                                                              "b 7f\n"
                                                              "4:\n\t"
                                                              "bpl 5b\n\t"
                                                              "ldr r2, [r0], #4\n\t"
                                                              "ldr r12, [r6, #52]\n\t"
                                                              "tst r2, r12, lsl #5\n\t"
                                                              "beq 6b\n\t"
                                                              "uadd8 r2, r2, r12\n\t"
                                                              "uqsub8 r3, r12, r2\n\t"
                                                              "uqsub8 r2, r2, r12\n\t"
                                                              "lsl r8, r8, r3\n\t"
                                                              "lsr r3, r3, #8\n\t"
                                                              "lsl r9, r9, r3\n\t"
                                                              "lsr r3, r3, #8\n\t"
                                                              "lsl r10, r10, r3\n\t"
                                                              "lsr r3, r3, #8\n\t"
                                                              "lsl r11, r11, r3\n\t"
                                                              "b 6b\n"
                                                              "7:"
                     : "+r"(r0)
                     :
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r10", "r12", "lr", "cc",
                       "memory");
}

/* Quads that are paired at a time: 128 bytes of stack. */
#define CHUNK 16

/* The sums of 8 rows that stand together, of a matrix of one gate: a Dense layer's. Registers are
 * named: left to choose, gcc finds none where it does not optimize. */
static void products_8(const group_rows *rows) {
    for (uint32_t r = 0; r < ELSTM_GROUP; r += 4) {
        const uint32_t *x = rows->x;
        int32_t *z = rows->z + r;
        register const int8_t *at __asm__("r1") = rows->weights + 4 * r;
        register int32_t a __asm__("r8") = 0;
        register int32_t b __asm__("r10") = 0;
        register int32_t c __asm__("r12") = 0;
        register int32_t d __asm__("r0") = 0;
        for (uint32_t quad = rows->quads; quad > 0; --quad, x += 2) {
            register uint32_t x02 __asm__("r2") = x[0];
            register uint32_t x13 __asm__("r3") = x[1];
            __asm__(QUAD("r8", "r10", "r12", "r0", "r1", "r2", "r3", "32")
                    : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(at)
                    : "r"(x02), "r"(x13)
                    : "r4", "r5", "r6", "memory");
        }
        z[0] = a + (rows->goes_on ? z[0] : 0);
        z[1] = b + (rows->goes_on ? z[1] : 0);
        z[2] = c + (rows->goes_on ? z[2] : 0);
        z[3] = d + (rows->goes_on ? z[3] : 0);
    }
}

static void rescale_rows(const elstm_rescale *rescale, int32_t *y, uint32_t rows) {
    for (uint32_t r = 0; r < rows; ++r) y[r] = elstm_sh(y[r], rescale->shift[r]) + rescale->bias[r];
}

static void matmul(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const void *x,
                   elstm_type type, size_t stride, int32_t *y, uint32_t count) {
    const uint32_t lanes = w->gates * ELSTM_GROUP, rows = elstm_rows_s8(w);
    for (uint32_t k = 0; k < count; ++k, y += rows, x = (const int8_t *)x + stride) {
        for (uint32_t at = 0; at < w->quads; at += CHUNK) {
            uint32_t pairs[2 * CHUNK];
            group_rows from = {.goes_on = rescale == NULL || at > 0, .x = pairs, .alone = 1};
            from.quads = w->quads - at < CHUNK ? w->quads - at : CHUNK;
            pair((const int8_t *)x + bytes_of(at, type), type, pairs, from.quads);
            for (uint32_t group = 0; group < w->groups; ++group) {
                from.weights = w->weights + (size_t)(group * w->quads + at) * lanes * 4;
                from.z = y + group * lanes;
                from.end = from.z + lanes;
                if (w->gates == 4)
                    group_products(&from);
                else
                    products_8(&from);
            }
        }
        if (rescale != NULL) rescale_rows(rescale, y, rows);
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

/* Units whose z are at hand, as the loop below wants them; c, h and y move on. */
typedef struct {
    int16_t *c;
    void *h, *y;
    int32_t kappa;
    uint32_t doublings;
    int32_t hidden_multiplier;
    uint32_t wide; /* 1: h and y are int16 */
    const int32_t *end;
    const int32_t *z; /* [4][8] */
    const int32_t (*segments)[4];
} group_units;

static group_units units_of(const elstm_cell_s8 *cell, int32_t *z) {
    return (group_units){cell->c,
                         cell->h,
                         cell->y,
                         cell->kappa,
                         cell->doublings,
                         cell->hidden_multiplier,
                         cell->type == ELSTM_S16,
                         z + ELSTM_GROUP,
                         z,
                         segments};
}

/* r3 = raw of docs/numerics.md of r8, as tanh_raw; 0x80000000 in r4. */
#define TANH_RAW                                                                                   \
    "eor r7, r11, r8, asr #31\n\t"                                                                 \
    "eor r5, r8, r7\n\t"                                                                           \
    "smlabb r5, r5, r5, lr\n\t"                                                                    \
    "lsr r6, r5, #27\n\t"                                                                          \
    "add r6, r12, r6, lsl #4\n\t"                                                                  \
    "lsr r5, r5, #15\n\t"                                                                          \
    "ldm r6, {r0, r1, r2, r3}\n\t"                                                                 \
    "eor r5, r4, r5, lsl #20\n\t"                                                                  \
    "smmlar r1, r0, r5, r1\n\t"                                                                    \
    "add r1, r1, r1\n\t"                                                                           \
    "smmlar r2, r1, r5, r2\n\t"                                                                    \
    "add r2, r2, r2\n\t"                                                                           \
    "smmlar r3, r2, r5, r3\n\t"                                                                    \
    "eor r3, r3, r7\n\t"
/* Of a raw: S and T. */
#define SIGMOID(y) "add r3, r3, #1\n\tadd " y ", lr, r3, asr #1\n\t"
#define TANH(y) "sub " y ", r3, r8, asr #31\n\t"

/* The cells of a group's 8 units. */
static void group_s8(group_units *units) {
    register group_units *r0 __asm__("r0") = units;
    __asm__ volatile(".syntax unified\n\t"
                     "push {r0, r7, r9, r11}\n\t"
                     "ldm r0, {r1, r2, r3, r4, r5, r6, r8, r9, r10, r12}\n\t"
                     "push {r1, r2, r3, r4, r5, r6, r8, r9}\n\t"
                     "mov r4, #0x80000000\n\t"
                     "mov r11, #0x8000\n\t"
                     "sub r11, r11, #1\n\t"
                     "mov lr, #0x4000\n"
                     "0:\n\t"
                     "ldr r8, [r10], #4\n\t" TANH_RAW SIGMOID("r9") /* */
                     "ldr r8, [r10, #60]\n\t" TANH_RAW TANH("r3")   /* */
                     "smlabb r9, r9, r3, lr\n\t"
                     "ldr r0, [sp, #12]\n\t"
                     "asr r9, r9, #15\n\t"
                     "smlabb r9, r9, r0, lr\n\t" /* added to c, times 2^15 */
                     "ldr r8, [r10, #28]\n\t" TANH_RAW SIGMOID(
                         "r3") "ldr r0, [sp]\n\t"
                               "ldr r2, [sp, #16]\n\t"
                               "ldrsh r1, [r0]\n\t"
                               "smlabb r1, r3, r1, lr\n\t"
                               "asr r1, r1, #15\n\t"
                               "add r1, r1, r9, asr #15\n\t"
                               "ssat r1, #16, r1\n\t"
                               "strh r1, [r0], #2\n\t"
                               "str r0, [sp]\n\t"
                               "lsl r8, r1, r2\n\t"
                               "ssat r8, #16, r8\n\t" TANH_RAW TANH("r9") /* */
                     "ldr r8, [r10, #92]\n\t" TANH_RAW SIGMOID("r3")      /* */
                     "ldr r0, [sp, #20]\n\t"
                     "smlabb r3, r3, r9, lr\n\t"
                     "ldr r2, [sp, #24]\n\t"
                     "asr r3, r3, #15\n\t"
                     "smlabb r3, r3, r0, lr\n\t"
                     "ldrd r0, r1, [sp, #4]\n\t"
                     "cmp r2, #0\n\t"
                     "bne 1f\n\t"
                     "ssat r3, #8, r3, asr #15\n\t" /* within -127 ... 127 */
                     "rsb r3, r3, #0\n\t"
                     "ssat r3, #8, r3\n\t"
                     "rsb r3, r3, #0\n\t"
                     "strb r3, [r0], #1\n\t"
                     "strb r3, [r1], #1\n\t"
                     "b 2f\n"
                     "1:\n\t"
                     "asr r3, r3, #15\n\t"
                     "strh r3, [r0], #2\n\t"
                     "strh r3, [r1], #2\n"
                     "2:\n\t"
                     "ldr r2, [sp, #28]\n\t"
                     "strd r0, r1, [sp, #4]\n\t"
                     "cmp r10, r2\n\t"
                     "bne 0b\n\t"
                     "pop {r1, r2, r3, r4, r5, r6, r8, r9}\n\t"
                     "pop {r0, r7, r9, r11}\n\t"
                     "stm r0, {r1, r2, r3}"
                     : "+r"(r0)
                     :
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r10", "r12", "lr", "cc",
                       "memory");
}

static void lstm_s8(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups) {
    int32_t z[4 * ELSTM_GROUP];
    group_units units = units_of(cell, z);
    for (uint32_t at = 0; at < groups * 4 * ELSTM_GROUP; at += 4 * ELSTM_GROUP) {
        for (uint32_t r = 0; r < 4 * ELSTM_GROUP; ++r)
            z[r] = requantize_one(acc[at + r], q->shift[at + r], q->multiplier[at + r]);
        group_s8(&units);
    }
}

static void step(const elstm_plain_s8 *l, const void *x, int32_t *scratch,
                 const elstm_cell_s8 *cell) {
    const elstm_matrix_s8 *w = l->kernel, *r = l->recurrent;
    uint32_t *h = (uint32_t *)scratch, pairs[2 * CHUNK];
    int32_t z[4 * ELSTM_GROUP];
    const int8_t *weights = w->weights, *again = r->weights;
    group_units units = units_of(cell, z);
    group_rows rows; /* field by field: zeros beside them would be a call of memset */
    rows.x = pairs;
    rows.kx = l->rescale->shift;
    rows.bias = l->rescale->bias;
    rows.quads_h = r->quads;
    rows.h = h;
    rows.shift = l->requantize->shift;
    rows.multiplier = l->requantize->multiplier;
    rows.end = z + 4 * ELSTM_GROUP;
    rows.fours = 0x04040404;
    pair(cell->h, cell->type, h, r->quads);
    const elstm_type type = l->type;
    const uint32_t whole = type == ELSTM_S16 && cell->type == ELSTM_S8 ? 0 : LEFT;
    uint32_t paired = UINT32_MAX; /* from where on x stands in pairs */
    for (uint32_t group = 0; group < w->groups; ++group) {
        rows.goes_on = 0;
        for (uint32_t at = 0; at < w->quads; at += CHUNK, rows.goes_on = 1) {
            const uint32_t more = w->quads - at > CHUNK;
            rows.alone = more ? 1 : whole;
            rows.quads = more ? CHUNK : w->quads - at;
            if (at != paired) pair((const int8_t *)x + bytes_of(at, type), type, pairs, rows.quads);
            paired = at;
            rows.weights = weights;
            rows.z = z;
            rows.recurrent = again;
            group_products(&rows);
            weights += rows.quads * 128;
        }
        again += r->quads * 128;
        group_s8(&units);
    }
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
    .step_s16 = step,
    .step_any = step,
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
