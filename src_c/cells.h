/* Private: what recurrent layers share, and those that the kernels' own LSTM does not serve.
 * Equations: edgelstm/layers.py; in integers: docs/numerics.md. */
#ifndef ELSTM_CELLS_H
#define ELSTM_CELLS_H

#include "activations.h"

/* Steps whose input products are made at once: enough to read W seldom, few enough to keep the sums
 * in cache. */
#define ELSTM_BLOCK_STEPS 8

/* Options of a record. */
enum {
    ELSTM_MASKED = 1,
    ELSTM_INITIAL = 2,
    ELSTM_COUPLED = 4,
    ELSTM_PEEPHOLE = 8,
    ELSTM_PROJECTION = 16,
    ELSTM_RESET_AFTER = 32,
    ELSTM_PERIOD = 64,
    ELSTM_NORM = 128,
    ELSTM_PROJECTION_BIAS = 256,
    ELSTM_PROJECTION_CLIP = 512
};

/* Steps that do not count, states to start from, and periods, each a sequence of its own. In a
 * stream's state stand the flags, where there are states to start from, then the rows of the period
 * that there were, where there are periods. */
enum { ELSTM_STARTED = 1, ELSTM_SEEN = 2 };

typedef struct {
    uint32_t options;
    uint32_t flags_at; /* bytes from the start of the op's state */
    uint32_t period;   /* rows; 0: the whole run is one sequence */
} elstm_gaps;

/* s and m that bring a state that is read to the layer's own scale. */
typedef struct {
    int32_t shift, multiplier;
} elstm_start_s8;

/* Rows in blocks of 8: gate after gate, each padded to `span` rows. Four blocks stand side by side
 * in a matrix, like the gates of an LSTM, or one where there are fewer than three. */

typedef struct {
    elstm_matrix_f32 kernel, recurrent; /* recurrent without n where the reset comes before */
    elstm_matrix_f32 candidate;         /* of n, then */
    const float *bias, *reset_bias;     /* reset_bias where the reset comes after */
    elstm_activation_f32 gate, activation;
    float clip; /* 0: none */
    uint32_t units, span;
    elstm_gaps gaps;
} elstm_gru_f32;

typedef struct {
    elstm_matrix_s8 kernel, recurrent, candidate; /* as above */
    elstm_rescale rescale;
    elstm_requantize requantize; /* of z, r and n */
    const int32_t *reset_bias;   /* and the rows that r multiplies, where the reset comes after */
    elstm_requantize reset;
    elstm_activation_s16 gate, activation;
    uint32_t gate_exponent;
    int32_t state_multiplier, hidden_multiplier, gate_limit, candidate_limit;
    elstm_start_s8 start;
    elstm_type type; /* of h */
    uint32_t units, span;
    elstm_gaps gaps;
} elstm_gru_s8;

typedef struct {
    elstm_matrix_f32 kernel, recurrent;
    const float *bias;
    elstm_activation_f32 activation;
    float clip;
    uint32_t units, span;
    elstm_gaps gaps;
} elstm_rnn_f32;

typedef struct {
    elstm_matrix_s8 kernel, recurrent;
    elstm_rescale rescale;
    elstm_requantize requantize;
    elstm_activation_s16 activation;
    int32_t hidden_multiplier, limit;
    elstm_start_s8 start;
    elstm_type type;
    uint32_t units, span;
    elstm_gaps gaps;
} elstm_rnn_s8;

/* An LSTM with options. Its gates stand side by side as in one without; peepholes and projection in
 * spans. */
typedef struct {
    elstm_matrix_f32 kernel, recurrent, projection;
    const float *bias, *peephole; /* peephole [i f o][span], or NULL */
    const float *norm;            /* like the bias, or NULL: the bias comes behind it then */
    const float *projection_bias; /* or NULL */
    elstm_activation_f32 gate, activation, cell;
    float cell_clip, clip, norm_epsilon, projection_clip; /* clips: 0 none */
    uint32_t units, span, outputs, out_span, plain;       /* plain: the kernels' cell serves it */
    elstm_gaps gaps;
} elstm_lstm_full_f32;

typedef struct {
    elstm_matrix_s8 kernel, recurrent, projection;
    elstm_rescale rescale, projected;
    elstm_requantize requantize, requantize_projected;
    const int16_t *peephole; /* [i f o][span], or NULL */
    const int8_t *peephole_shift;
    elstm_activation_s16 gate, candidate, cell;
    uint32_t gate_exponent;
    int32_t cell_multiplier, cell_limit, hidden_multiplier, gate_limit, candidate_limit;
    elstm_start_s8 start_h, start_c;
    elstm_type type;
    uint32_t units, span, outputs, out_span, plain;
    elstm_gaps gaps;
} elstm_lstm_full_s8;

#endif
