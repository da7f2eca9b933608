/* Private: decoded layers of full-int8 TFLite models. Equations: docs/numerics.md, "tfl8". */
#ifndef ELSTM_TFL8_H
#define ELSTM_TFL8_H

#include "kernels.h"

enum { ELSTM_TFLITE, ELSTM_MICRO, ELSTM_FLAVOURS };

/* Gates i f g o side by side, as in an LSTM in s8. */
typedef struct {
    elstm_matrix_s8 kernel, recurrent;
    elstm_rescale entering, again; /* no shifts, and the biases with the zero points in them */
    elstm_cell_tfl8 cell;
    elstm_factor update; /* of i * g, to c; of the micro flavour alone */
    int32_t state_zero;
    uint32_t units, flavour, initial;
} elstm_lstm_tfl8;

/* The order of edgelstm.tfl8.ROUNDINGS. */
enum {
    ELSTM_ROUND_DOUBLE,
    ELSTM_ROUND_HALFUP,
    ELSTM_ROUND_SINGLE,
    ELSTM_ROUND_FLOAT,
    ELSTM_ROUND_EIGHTS, /* of convolutions: whole groups of eight units halfup, others double */
    ELSTM_ROUNDINGS
};

/* A sum times a factor, in one of these ways but the last. */
static inline int32_t elstm_scaled_tfl8(int32_t v, elstm_factor f, uint32_t rounding) {
    if (rounding == ELSTM_ROUND_DOUBLE) return elstm_times(v, f);
    if (rounding == ELSTM_ROUND_SINGLE) return elstm_times_once(v, f);
    if (rounding == ELSTM_ROUND_FLOAT) return elstm_times_float(v, f);
    const uint32_t right = (uint32_t)(f.s < 0 ? -f.s : 0);
    const int32_t left = (int32_t)((uint32_t)v << (f.s > 0 ? f.s : 0));
    return (int32_t)(((int64_t)elstm_high(left, f.m) + ((1u << right) >> 1)) >> right);
}

typedef struct {
    elstm_matrix_s8 kernel;
    elstm_rescale rescale; /* as above */
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t zero, low, high;
    uint32_t units, rounding;
} elstm_dense_tfl8;

/* ADD, SUB, MUL; the last three of delegates: a product with one rounding, a sum with weights, a
 * product in float32. */
enum {
    ELSTM_JOIN_ADD,
    ELSTM_JOIN_SUBTRACT,
    ELSTM_JOIN_MULTIPLY,
    ELSTM_JOIN_SINGLE,
    ELSTM_JOIN_WEIGHTED,
    ELSTM_JOIN_FLOAT,
    ELSTM_JOINS
};

typedef struct {
    elstm_factor first, second, last; /* of weighted sums m alone, and of last s: places */
    int32_t zero, low, high;
    uint32_t kind;
} elstm_join_tfl8;

/* The order of edgelstm.tfl8.TIES. */
enum { ELSTM_TIES_AWAY, ELSTM_TIES_EXACT, ELSTM_TIES_EVEN, ELSTM_TIES };

#endif
