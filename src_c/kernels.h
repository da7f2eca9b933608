/* Private: the kernel table and each kernel's promise. Kernels know pointers and lengths, not
 * layers.
 *
 * A matrix stands in groups of 8 units. `gates` rows of one unit (4 in an LSTM: i, f, g, o; 1 in a
 * Dense layer) lie side by side, so a group is 8 * gates rows and row r of a product is
 * [group][gate][unit of the group]. Rows are padded to 8 units with zeros; s8 columns to 4. In an
 * image of the rows layout, which a build with ELSTM_LAYOUT_ROWS 1 reads, the columns of an s8 row
 * follow one another; only elstm_quads_apart and elstm_lanes_apart know. */
#ifndef ELSTM_KERNELS_H
#define ELSTM_KERNELS_H

#include "edgelstm.h"
#include "fixedpoint.h"

#define ELSTM_GROUP 8

/* Which tuned sets are built, for the sets and for kernels.c. All but Helium's know the standard
 * layout alone. gcc turns an instruction set on inside a file; clang does so from 16 on for 64-bit
 * ARM (tried: 14 cannot, 22 can), before that only for the whole build. Without float registers
 * there is no NEON either. */
#if ELSTM_LAYOUT_ROWS
#if defined(__ARM_FEATURE_MVE) && __ARM_FEATURE_MVE & 1
#define ELSTM_BUILDS_HELIUM
#endif
#elif defined(__GNUC__) && defined(__x86_64__)
#define ELSTM_BUILDS_X86
#elif defined(__GNUC__) && defined(__aarch64__) && !defined(__AARCH64EB__)
#define ELSTM_BUILDS_NEON
#if !defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_DOTPROD)
#define ELSTM_BUILDS_NEON_DOTPROD
#endif
#elif defined(__GNUC__) && defined(__arm__) && defined(__linux__) && !defined(__ARMEB__) &&        \
    !defined(__SOFTFP__)
#if !defined(__clang__) || defined(__ARM_NEON) || (__clang_major__ >= 22 && __ARM_ARCH >= 7)
#define ELSTM_BUILDS_NEON
#endif
#endif

/* SIMD in ordinary registers is part of what a build is for, or left out: no system tells it. */
#if defined(__GNUC__) && defined(__arm__) && !defined(__ARMEB__) &&                                \
    defined(__ARM_FEATURE_SIMD32) && !ELSTM_LAYOUT_ROWS
#define ELSTM_BUILDS_DSP
#endif

/* Plain C for small CPUs is built for them, and where a build asks for it: the C tests do. In a
 * form of its own for Thumb-1, which has 8 registers to calculate with. */
#if ELSTM_LAYOUT_ROWS
#undef ELSTM_BUILDS_SMALL
#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#undef ELSTM_BUILDS_SMALL
#define ELSTM_BUILDS_SMALL
#elif defined(__riscv) && __riscv_xlen == 32
#undef ELSTM_BUILDS_SMALL
#define ELSTM_BUILDS_SMALL
#endif
#if !defined(ELSTM_SMALL_FEW_REGISTERS) && defined(__thumb__) && !defined(__thumb2__)
#define ELSTM_SMALL_FEW_REGISTERS
#endif

typedef struct {
    const float *weights; /* [groups][columns][gates][8] */
    uint32_t groups, gates, columns;
} elstm_matrix_f32;

typedef struct {
    const int8_t *weights;  /* [groups][quads][gates][8][4], or in the rows layout
                             * [groups][gates][8][quads][4] from a multiple of 4 on, with 16
                             * bytes readable behind the last;
                             * -127 ... 127 */
    const int32_t *surplus; /* [rows], what the set's prepare_s8 made, or NULL where it has none */
    uint32_t groups, gates, quads;
} elstm_matrix_s8;

/* Rows of a product. */
static inline uint32_t elstm_rows_f32(const elstm_matrix_f32 *w) {
    return w->groups * w->gates * ELSTM_GROUP;
}

static inline uint32_t elstm_rows_s8(const elstm_matrix_s8 *w) {
    return w->groups * w->gates * ELSTM_GROUP;
}

/* Bytes from a row's quad of columns to its next, and from a row of a group to the next. */
static inline size_t elstm_quads_apart(const elstm_matrix_s8 *w) {
    return ELSTM_LAYOUT_ROWS ? 4 : (size_t)w->gates * ELSTM_GROUP * 4;
}

static inline size_t elstm_lanes_apart(const elstm_matrix_s8 *w) {
    return ELSTM_LAYOUT_ROWS ? (size_t)w->quads * 4 : 4;
}

/* What becomes of the sums of an input: sh(sum, shift) + bias. Each array in row order. */
typedef struct {
    const int8_t *shift; /* -4 ... 27 */
    const int32_t *bias;
} elstm_rescale;

/* Requantization of s8 rows, each array in row order. */
typedef struct {
    const int8_t *shift;       /* -4 ... 27 */
    const int16_t *multiplier; /* 0 ... 32767 */
    const int32_t *prepared;   /* what the set's prepare_lstm_s8 made, or NULL where it has none */
    uint32_t up;               /* 4 where it found negative shifts, and 0 */
} elstm_requantize;

/* Room for it, in int32, for a cell of so many groups. */
static inline uint32_t elstm_prepared_lstm_size(uint32_t groups) { return (groups + 1) / 2 * 96; }

/* What a step of an s8 cell updates. */
typedef struct {
    int16_t *c;
    void *h, *y; /* int8 or int16, as `type` says */
    elstm_type type;
    int32_t kappa, hidden_multiplier;
    uint32_t doublings;
} elstm_cell_s8;

/* What a step of an s8 GRU updates. */
typedef struct {
    int16_t *state;
    void *h; /* int8 or int16, as `type` says */
    elstm_type type;
    int32_t kappa, hidden_multiplier; /* 1 ... 32768 each */
    uint32_t places;                  /* 1 ... 15, of a gate's fraction */
} elstm_update_s8;

/* A TFLite LSTM: factors of the sums over x and over h, to Q3.12, gates i f g o; of o P(c), to h.
 */
typedef struct {
    elstm_factor input[4], recurrent[4], hidden;
    int32_t hidden_zero;
    int32_t clip;     /* |c| stays within it; 0: no clip */
    uint32_t whole;   /* bits of c before the point, 0 ... 6; where bare -15 ... -1, modulo 2^32 */
    uint32_t coupled; /* 1: i = 32767 - f */
    uint32_t bare;    /* 1: of c no tanh, i in its place; 16 bits hold what c gains. scalar alone */
} elstm_cell_tfl8;

/* What a step of it updates. */
typedef struct {
    int16_t *c;
    int8_t *h, *y;
} elstm_state_tfl8;

/* A sigmoid/tanh cell without clip. */
typedef struct {
    const elstm_matrix_f32 *kernel, *recurrent;
    const float *bias;
} elstm_plain_f32;

typedef struct {
    const elstm_matrix_s8 *kernel, *recurrent;
    const elstm_rescale *rescale;
    const elstm_requantize *requantize;
    elstm_type type; /* of x */
} elstm_plain_s8;

/* The whole step of one: both products, then the cell. */
typedef void elstm_whole_s8(const elstm_plain_s8 *l, const void *x, int32_t *scratch,
                            const elstm_cell_s8 *cell);

/* Every kernel: buffers do not overlap unless said; lengths may be 1; pointers need natural
 * alignment only, s8 weights that of 4 bytes; 64 bytes are faster on x86.
 *
 * The products: one for each x[k], k < count, y [count][rows], x[k] at x + k * x_stride (elements).
 */
struct elstm_kernels {
    const char *name;
    uint32_t align; /* of the arena's blocks, for speed alone: a power of two, at least 16 */

    /* One row of values enters, finite or not (docs/numerics.md). `value` has room for a multiple
     * of 8 of them. */
    void (*enter_f32)(const float *x, float *value, uint32_t count);
    void (*enter_s16)(const float *x, float reciprocal, int16_t *value, uint32_t count);
    /* One row leaves: y[k] = value[k] * scale. */
    void (*leave_s8)(const int8_t *value, float scale, float *y, uint32_t count);
    void (*leave_s16)(const int16_t *value, float scale, float *y, uint32_t count);

    /* y[k] = bias + W x[k], or y[k] += W x[k] where bias is NULL. x [columns] finite. Each sum
     * within rounding of the exact one; regrouping and fused multiply-adds allowed. */
    void (*matmul_f32)(const elstm_matrix_f32 *w, const float *bias, const float *x,
                       size_t x_stride, float *y, uint32_t count);
    /* One step of a sigmoid/tanh cell: z [groups][4][8], c and h [groups * 8] in place, y [groups *
     * 8] = h. */
    void (*lstm_f32)(const float *z, float *c, float *h, float *y, uint32_t groups);
    /* NULL, or: what the kernels before it do for one stream, in one: z + W h, then the cell. */
    void (*recurrent_f32)(const elstm_matrix_f32 *r, const float *z, float *c, float *h, float *y);
    /* NULL, or: that and the product of x before it. z [rows] is scratch. */
    void (*step_f32)(const elstm_plain_f32 *l, const float *x, float *z, float *c, float *h,
                     float *y);
    /* v[k] = tanh(v[k]), or the sigmoid. */
    void (*tanh_f32)(float *v, uint32_t count);
    void (*sigmoid_f32)(float *v, uint32_t count);

    /* NULL, or: what the products of this set want to know of a matrix, in `surplus` [rows]. */
    void (*prepare_s8)(const elstm_matrix_s8 *w, int32_t *surplus);
    /* Exact: y[k] = rescaled W x[k], or y[k] += W x[k] where rescale is NULL. x [4 * quads]: past
     * the real columns it is readable and arbitrary, weights there are 0. */
    void (*matmul_s8)(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int8_t *x,
                      size_t x_stride, int32_t *y, uint32_t count);
    /* The same of 16-bit x. */
    void (*matmul_s16)(const elstm_matrix_s8 *w, const elstm_rescale *rescale, const int16_t *x,
                       size_t x_stride, int32_t *y, uint32_t count);
    /* NULL, or: what lstm_s8 of this set wants beside q, in `prepared` and noted in q. */
    void (*prepare_lstm_s8)(elstm_requantize *q, uint32_t groups, int32_t *prepared);
    /* z[r] = requantized acc[r], rows a multiple of 8. */
    void (*requantize_s8)(const int32_t *acc, const elstm_requantize *q, int16_t *z, uint32_t rows);
    /* One step of a sigmoid/tanh cell without clip: acc [groups][4][8], c and h [groups * 8] in
     * place, y [groups * 8] = h. kappa, hidden_multiplier (hm) and doublings as in
     * docs/numerics.md. */
    void (*lstm_s8)(const int32_t *acc, const elstm_requantize *q, const elstm_cell_s8 *cell,
                    uint32_t groups);
    /* NULL, or: acc + W h, then the cell, of one stream and an int8 h. acc is scratch afterwards.
     */
    void (*recurrent_s8)(const elstm_matrix_s8 *r, int32_t *acc, const elstm_requantize *q,
                         const elstm_cell_s8 *cell);
    /* NULL, or: that and the product of a 16-bit x before it, of which no shift is negative.
     * scratch: step_scratch bytes for each unit, the units padded to 8; at most 16, which is room
     * for the sums. */
    elstm_whole_s8 *step_s16;
    /* NULL, or: the same of x and h of any type, the shifts of x too. Of a 16-bit h scratch is
     * never more than 2 bytes for each unit. */
    elstm_whole_s8 *step_any;
    uint32_t step_scratch;
    /* A GRU. What r lets through of `kept` joins n: n[k] = sat16(n[k] + sat16(rs(r[k] * kept[k],
     * places))). */
    void (*reset_s16)(const int16_t *r, const int16_t *kept, uint32_t places, int16_t *n,
                      uint32_t count);
    /* And the state moves to where n is, as far as z does not hold it: to = rs(n[k] * kappa, 15);
     * state[k] = sat16(to + rs(z[k] * (state[k] - to), places)); h[k] = rs(state[k] *
     * hidden_multiplier, 15), clamped to +-127 where it is int8. */
    void (*update_s8)(const int16_t *z, const int16_t *n, const elstm_update_s8 *update,
                      uint32_t count);
    /* One step of a TFLite LSTM: its sums over x and over h [groups][4][8], of less than 2^30 each,
     * c and h [groups * 8] in place, y [groups * 8] = h. */
    void (*lstm_tfl8)(const int32_t *x, const int32_t *again, const elstm_cell_tfl8 *cell,
                      const elstm_state_tfl8 *state, uint32_t groups);
    /* v[k] = T(v[k]), or S. */
    void (*tanh_s16)(int16_t *v, uint32_t count);
    void (*sigmoid_s16)(int16_t *v, uint32_t count);
};

extern const elstm_kernels elstm_kernels_scalar;
extern const elstm_kernels elstm_kernels_avx2;
extern const elstm_kernels elstm_kernels_avx512vnni;
extern const elstm_kernels elstm_kernels_neon;
extern const elstm_kernels elstm_kernels_neon_dotprod;
/* For microcontrollers, of which firmware links one: plain C, SMLAD, Helium. */
extern const elstm_kernels elstm_kernels_small;
extern const elstm_kernels elstm_kernels_dsp;
extern const elstm_kernels elstm_kernels_helium;

#endif
