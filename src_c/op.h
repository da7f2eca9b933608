/* Private: decoded layers. A model is a flat list of ops, each naming the tensors it reads and
 * writes. */
#ifndef ELSTM_OP_H
#define ELSTM_OP_H

#include "activations.h"
#include "cells.h"
#include "edgelstm.h"
#include "kernels.h"
#include "tfl8.h"

/* Rows of a tensor in a run: one a step or as its clock says; one, known when the run ends; one,
 * known when it starts. When every step is asked for, what is known at the end has a row a step. */
enum { ELSTM_SEQUENCE = 0, ELSTM_SINGLE = 1, ELSTM_CONSTANT = 2 };

/* One value vector a step. data is [rows][stride], row by row step after step, within a step stream
 * after stream. Values past `width` are readable and writable and mean nothing. */
struct elstm_tensor {
    uint8_t type;
    uint8_t single;         /* ELSTM_SEQUENCE, ELSTM_SINGLE or ELSTM_CONSTANT */
    uint8_t clock;          /* index into the model's */
    int8_t zero;            /* the integer that stands for 0; of a tfl8 model's s8 alone */
    uint32_t width, stride; /* elements; the stride is a multiple of 8 */
    uint32_t rows;          /* of all streams, valid now */
    uint64_t first; /* rows before data's first since the reset; 0 unless the model is uneven */
#if ELSTM_LINKS_F32
    float scale, reciprocal;
#endif
    size_t row; /* bytes from one row to the next */
    void *data;
};

static inline uint32_t elstm_value_size(elstm_type type) {
    return type == ELSTM_F32 ? sizeof(float) : type == ELSTM_S16 ? sizeof(int16_t) : sizeof(int8_t);
}

#define ELSTM_MAX_WRITES 2

/* A tensor as the image describes it. */
typedef struct {
    elstm_type type;
    uint32_t width, single, clock;
    uint32_t scale; /* bits of a positive, normal float: scales are equal where these are */
    int32_t zero;
    uint32_t rows; /* the most that a stream has at once; 1 while opening */
} elstm_form;

#define ELSTM_SCALE_ONE 0x3F800000u

/* Whether the integers of both mean the same. */
static inline int elstm_alike(const elstm_form *a, const elstm_form *b) {
    return a->type == b->type && a->scale == b->scale && a->zero == b->zero;
}

/* What an op reads and writes. */
typedef struct {
    uint32_t reads, writes;
    elstm_form in[ELSTM_MAX_READS], out[ELSTM_MAX_WRITES];
} elstm_io;

/* The next bytes of an op's record and the next array of the weights, both checked. The first
 * failure sticks: all later reads give 0 or NULL, and `failed` is set. */
typedef struct {
    const unsigned char *at, *end;
    const unsigned char *image;
    uint32_t weights_at, weights_end;
    int failed;
} elstm_reader;

uint32_t elstm_read_u8(elstm_reader *reader);
uint32_t elstm_read_u16(elstm_reader *reader);
uint32_t elstm_read_u32(elstm_reader *reader);
void elstm_read_zeros(elstm_reader *reader, uint32_t size); /* fails on anything else */
#if ELSTM_LINKS_F32
float elstm_read_f32(elstm_reader *reader); /* fails on NaN and infinity */
elstm_activation_f32 elstm_read_activation_f32(elstm_reader *reader);
#endif
void elstm_skip_scale(elstm_reader *reader); /* of what people read; fails unless above 0 */
/* count elements of `size` bytes from the weights, aligned to `align` there; NULL when they are not
 * all there. */
const void *elstm_read_array(elstm_reader *reader, uint64_t count, uint32_t size, uint32_t align);
/* The period that ends a mover's record, where there is one; else 0, the whole run. */
uint32_t elstm_read_own_period(elstm_reader *reader);
/* Kind and doublings; the table comes with elstm_read_table, after the layer's other arrays. */
elstm_activation_s16 elstm_read_activation_s16(elstm_reader *reader);
void elstm_read_table(elstm_reader *reader, elstm_activation_s16 *f);

typedef struct {
    elstm_matrix_f32 kernel, recurrent;
    const float *bias;
    elstm_activation_f32 gate, activation;
    float cell_clip; /* 0: none */
    uint32_t units;
    uint32_t joined; /* 1: a step is one call of step_f32 of the kernels, with these: */
    elstm_plain_f32 all;
    float *h, *c;
} elstm_lstm_f32;

typedef struct {
    elstm_matrix_s8 kernel, recurrent;
    elstm_rescale rescale;
    elstm_requantize requantize;
    elstm_activation_s16 gate, candidate, cell;
    uint32_t gate_exponent;
    int32_t cell_multiplier, cell_limit, hidden_multiplier;
    elstm_type type; /* of h */
    uint32_t units;
    uint32_t plain;        /* 1: the case lstm_s8 of the kernels serves */
    elstm_whole_s8 *whole; /* NULL, or the kernel that a step is one call of, with these: */
    elstm_plain_s8 all;
    elstm_cell_s8 own;
} elstm_lstm_s8;

typedef struct {
    elstm_matrix_f32 kernel;
    const float *bias;
    elstm_activation_f32 activation;
    uint32_t units;
} elstm_dense_f32;

typedef struct {
    elstm_matrix_s8 kernel;
    elstm_rescale rescale;
    elstm_requantize requantize;
    elstm_activation_s16 activation;
    uint32_t units;
} elstm_dense_s8;

typedef struct {
    elstm_activation_s16 activation;
    int32_t shift, multiplier;
} elstm_activate_s8;

typedef struct {
    void *kept;      /* the memory of the tensor written */
    uint32_t period; /* 0: the whole run is one sequence */
} elstm_last;

/* What a layer that moves rows was given, as far as it takes it. */
typedef struct {
    uint32_t count, single, left, right;
    uint32_t period; /* of a Reverse: 0: the whole run is one sequence */
    uint32_t width;  /* of what it reads */
} elstm_mover;

#define ELSTM_MOST_COUNT 65536u /* rows of a window, a padding, a repetition or a period */

/* Windows that slide over the rows of a sequence, as in edgelstm/layers.py. */
typedef struct {
    uint32_t reach, stride; /* rows */
    uint32_t left, right;   /* rows of padding */
    uint32_t same;          /* 1: as many windows as rows / stride, rounded up */
    uint32_t period;        /* 0: the whole run is one sequence */
} elstm_window;

/* A table's rows, f32 or int16. */
typedef struct {
    const void *table; /* [vocabulary][columns] */
    uint32_t vocabulary, columns;
} elstm_embedding;

typedef struct {
    float real;
    int32_t integer; /* of an s8 model */
} elstm_mask;

/* Numbers as in the image; the order of edgelstm.layers.COMBINATIONS. */
typedef enum {
    ELSTM_CONCATENATE,
    ELSTM_ADD,
    ELSTM_SUBTRACT,
    ELSTM_MULTIPLY,
    ELSTM_AVERAGE,
    ELSTM_MAXIMUM,
    ELSTM_MINIMUM,
    ELSTM_COMBINATIONS
} elstm_combination;

typedef struct {
    elstm_combination kind;
    int8_t shift[ELSTM_MAX_READS]; /* of an s8 model */
    int16_t multiplier[ELSTM_MAX_READS];
} elstm_combine;

/* A convolution in `groups` parts, each a matrix over the taps and its own inputs; depthwise, one
 * number a tap and value. */
typedef struct {
    elstm_window window;
    uint32_t units, taps, dilation, groups;
    uint32_t columns;   /* inputs of one group */
    uint32_t depthwise; /* 1: each group is one input and one unit */
} elstm_conv1d;

typedef struct {
    elstm_conv1d shape;
    const float *weights; /* matrices one after the other; depthwise [taps][units padded to 8] */
    const float *bias;    /* in their rows' order */
    elstm_activation_f32 activation;
} elstm_conv1d_f32;

typedef struct {
    elstm_conv1d shape;
    const int8_t *weights;
    const int32_t *surplus; /* of all matrices, or NULL */
    elstm_rescale rescale;
    elstm_requantize requantize;
    elstm_activation_s16 activation;
} elstm_conv1d_s8;

typedef struct {
    elstm_window window;
    uint32_t average;       /* 0: the maximum */
    uint32_t count_padding; /* 1: an average divides by all rows of its window */
    uint32_t raised;        /* of an s8 model */
    int32_t low, high;      /* of a tfl8 model: what it clamps its answers to */
} elstm_pool1d;

enum { ELSTM_MEAN, ELSTM_MAX, ELSTM_SUM, ELSTM_REDUCTIONS };

typedef struct {
    uint32_t kind, masked, period;
    int32_t raised; /* of an s8 model */
    /* of a tfl8 model: of a mean, by the factor, or where the ratio is not 0 in float32 */
    elstm_factor factor;
    float ratio;
    int32_t zero;      /* of what it writes */
    uint32_t in_float; /* 1: by the ratio */
} elstm_reduce;

typedef struct {
    elstm_conv1d shape;
    const int8_t *weights;
    const int32_t *surplus; /* of all matrices, or NULL */
    elstm_rescale rescale;  /* no shifts, and the zero points in the biases */
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t zero, low, high;
    uint32_t rounding;
} elstm_conv1d_tfl8;

typedef struct {
    const float *scale, *offset;
    float epsilon;
    uint32_t rms;
} elstm_layer_norm;

typedef struct {
    const float *additive; /* or NULL */
    float scale;
    uint32_t heads, causal, masked;
} elstm_attention;

/* Numbers of the layer kinds in the image. */
enum {
    ELSTM_KIND_LSTM_F32 = 1,
    ELSTM_KIND_LSTM_S8 = 2,
    ELSTM_KIND_DENSE_F32 = 3,
    ELSTM_KIND_DENSE_S8 = 4,
    ELSTM_KIND_ACTIVATE_F32 = 5,
    ELSTM_KIND_ACTIVATE_S8 = 6,
    ELSTM_KIND_LAST = 7,
    ELSTM_KIND_REVERSE = 8,
    ELSTM_KIND_CROP = 9,
    ELSTM_KIND_PAD = 10,
    ELSTM_KIND_REPEAT = 11,
    ELSTM_KIND_SPLIT = 12,
    ELSTM_KIND_GROUP = 13,
    ELSTM_KIND_TRANSPOSE = 14,
    ELSTM_KIND_GRU_F32 = 16,
    ELSTM_KIND_GRU_S8 = 17,
    ELSTM_KIND_RNN_F32 = 18,
    ELSTM_KIND_RNN_S8 = 19,
    ELSTM_KIND_EMBEDDING_F32 = 20,
    ELSTM_KIND_EMBEDDING_S8 = 21,
    ELSTM_KIND_MASK_F32 = 22,
    ELSTM_KIND_MASK_S8 = 23,
    ELSTM_KIND_COMBINE_F32 = 24,
    ELSTM_KIND_COMBINE_S8 = 25,
    ELSTM_KIND_CONV1D_F32 = 26,
    ELSTM_KIND_CONV1D_S8 = 27,
    ELSTM_KIND_POOL1D_F32 = 28,
    ELSTM_KIND_POOL1D_S8 = 29,
    ELSTM_KIND_REDUCE_F32 = 30,
    ELSTM_KIND_REDUCE_S8 = 31,
    ELSTM_KIND_LAYER_NORM_F32 = 32,
    ELSTM_KIND_SOFTMAX_STEPS_F32 = 33,
    ELSTM_KIND_ATTENTION_F32 = 34,
    ELSTM_KIND_LSTM_FULL_F32 = 35,
    ELSTM_KIND_LSTM_FULL_S8 = 36,
    ELSTM_KIND_CONSTANT_F32 = 37,
    ELSTM_KIND_CONSTANT_S8 = 38,
    ELSTM_KIND_LSTM_TFL8 =
        40, /* from here on of tfl8 models, which have beside these only movers */
    ELSTM_KIND_DENSE_TFL8 = 41,
    ELSTM_KIND_SOFTMAX_TFL8 = 42,
    ELSTM_KIND_MAP_TFL8 = 43,
    ELSTM_KIND_QUANTIZE_TFL8 = 44,
    ELSTM_KIND_DEQUANTIZE_TFL8 = 45,
    ELSTM_KIND_EMBEDDING_TFL8 = 46,
    ELSTM_KIND_CONCATENATE_TFL8 = 47,
    ELSTM_KIND_JOIN_TFL8 = 48,
    ELSTM_KIND_CONSTANT_TFL8 = 49,
    ELSTM_KIND_CONV1D_TFL8 = 50,
    ELSTM_KIND_POOL1D_TFL8 = 51,
    ELSTM_KIND_REDUCE_TFL8 = 52
};

/* ---- a layer ----
 *
 * How to write one. A layer kind in one number type is a file that ends in an elstm_layer, named in
 * ops.c; its number stands above, its equations in edgelstm/layers.py, when it has rows in
 * edgelstm/timing.py, its record in docs/format.md. Functions that are NULL do nothing.
 *
 * Tensors. runner->tensors[op->in] and [op->out] are the first it reads and writes,
 * runner->tensors[op->reads[k]] all it reads; a second one written is [op->out + 1]. Before a layer
 * runs, the `rows` and `first` of all its tensors are set: it never sets them.
 *
 * step: one row a stream of every tensor read, and of every one written; a single input too has its
 * row, in every step. Called only where no step of the model is uneven.
 *
 * run: the rows there are, 0 included. Streams may be many where each step has one row; where a
 * model is uneven or not causal there is one. A run is cut into chunks unless the model is not
 * causal; `rows` counts those of this chunk. What a layer needs of rows before it keeps in its
 * state, all zeros after a reset; `first` tells how many there were, as far as its phase matters. A
 * tensor that is ELSTM_CONSTANT has its row in each chunk. A layer that writes ELSTM_SINGLE of a
 * sequence (Last, Reduce) has every row to write where runner->every, else one in the chunk which
 * is runner->final, and none before: the last row of the sequence may have come in an earlier
 * chunk.
 *
 * State. sizes says how many bytes a stream; they lie at runner->state + op->state_offset, a
 * stream's after model->state_size bytes the next one's. */

typedef struct elstm_layer elstm_layer;

/* Both are in the arena: their sizes stand in edgelstm.h. */
struct elstm_op {
    const elstm_layer *layer;
    uint32_t in, out; /* indices of the first tensor read and written */
    uint16_t reads[ELSTM_MAX_READS];
    uint8_t read_count, write_count;
    uint16_t together;        /* bits: tensors read that have as many rows as one another */
    uint32_t exact, multiple; /* rows of the first tensor read that a run must have; 0: any */
    uint32_t state_offset;    /* bytes from the start of a stream's state */
    int32_t *prepared;        /* what the kernel set made at init, or NULL */
    union {
        elstm_lstm_f32 lstm_f32;
        elstm_lstm_s8 lstm_s8;
        elstm_lstm_full_f32 lstm_full_f32;
        elstm_lstm_full_s8 lstm_full_s8;
        elstm_gru_f32 gru_f32;
        elstm_gru_s8 gru_s8;
        elstm_rnn_f32 rnn_f32;
        elstm_rnn_s8 rnn_s8;
        elstm_dense_f32 dense_f32;
        elstm_dense_s8 dense_s8;
        elstm_activation_f32 activate_f32;
        elstm_activate_s8 activate_s8;
        elstm_lstm_tfl8 lstm_tfl8;
        elstm_dense_tfl8 dense_tfl8;
        const int32_t *softmax_tfl8; /* e^-d in Q0.31, [256] */
        const int8_t *map_tfl8;      /* [256], from -128 up */
        uint32_t ties_tfl8;
        elstm_join_tfl8 join_tfl8;
        elstm_embedding embedding;
        const void *constant; /* a row of the tensor written */
        elstm_mask mask;
        elstm_combine combine;
        elstm_conv1d_f32 conv1d_f32;
        elstm_conv1d_s8 conv1d_s8;
        elstm_conv1d_tfl8 conv1d_tfl8;
        elstm_pool1d pool1d;
        elstm_reduce reduce;
        elstm_layer_norm layer_norm;
        elstm_attention attention;
        elstm_last last;
        elstm_mover mover;
    } as;
};

/* What firmware adds an arena up from is true of this compiler. */
typedef char elstm_op_size_holds[sizeof(elstm_op) == ELSTM_OP_SIZE ? 1 : -1];
typedef char elstm_tensor_size_holds[sizeof(elstm_tensor) == ELSTM_TENSOR_SIZE ? 1 : -1];

/* Bytes an op needs. */
typedef struct {
    uint64_t state;    /* per stream; as many bytes on every CPU, however many rows */
    uint64_t prepared; /* kept while the runner lives */
    uint64_t scratch;  /* during one op, shared by all */
} elstm_sizes;

/* How a clock comes of another. Numbers in n. */
enum {
    ELSTM_CLOCK_STEPS,   /* the first: one row a step */
    ELSTM_CLOCK_SPLIT,   /* n[0] rows for each */
    ELSTM_CLOCK_GROUP,   /* one row for n[0] */
    ELSTM_CLOCK_FIXED,   /* n[0] rows, whatever the run */
    ELSTM_CLOCK_CROP,    /* all but n[0] at the start and n[1] at the end */
    ELSTM_CLOCK_PAD,     /* n[0] more at the start and n[1] at the end */
    ELSTM_CLOCK_INPUT,   /* as many as the n[0]th input has; such a model is not causal */
    ELSTM_CLOCK_WINDOWS, /* windows of n[0] rows, n[1] apart; n[2] and n[3] rows of padding, n[4]
                            1: as many as make ceil(rows / n[1]) windows */
};

/* When a layer writes. */
typedef struct {
    uint32_t single, clock; /* of all it writes; preset to those of the first tensor read */
    elstm_clock change[2];  /* what is done to the clock, in order */
    uint32_t changes;
    uint32_t waits;           /* 1: it needs steps to come */
    uint32_t together;        /* bits: tensors read that must have as many rows as one another */
    uint32_t exact, multiple; /* rows of the first tensor read that a run must have; 0: any */
} elstm_time;

/* The clock after the changes; ELSTM_ERR_UNSUPPORTED where there are too many, or too many rows. */
elstm_status elstm_clock_find(elstm_model *model, elstm_time *time);

/* For the `time` of layers; each gives 0 where a single tensor is read for a sequence or the other
 * way round. A cell reads so many sequences, then its initial state. A joining layer reads any
 * tensors that fit row by row. A window as in ELSTM_CLOCK_WINDOWS; with a period every so many rows
 * are a sequence of their own. */
int elstm_time_sequence(const elstm_io *io, elstm_time *time);
int elstm_time_cell(const elstm_io *io, uint32_t sequences, elstm_time *time);
int elstm_time_join(const elstm_io *io, elstm_time *time);
int elstm_time_window(const elstm_io *io, const uint32_t n[5], uint32_t period, elstm_time *time);
void elstm_time_change(elstm_time *time, uint32_t kind, uint32_t a, uint32_t b);

/* One layer kind in one number type: the constant table that ends its file. */
struct elstm_layer {
    uint32_t kind;                    /* number in the image */
    uint32_t most_reads, most_writes; /* 0 counts as 1 */
    /* Read the record's fields and arrays; 0 where they do not fit the tensors read and written, or
     * their number. */
    int (*decode)(elstm_reader *reader, elstm_op *op, const elstm_io *io);
    /* Check every weight once; 0 where an image could make a sum overflow or hold what no packer
     * writes. */
    int (*check)(const elstm_op *op, const elstm_io *io);
    /* When it writes, as edgelstm/timing.py has it. NULL: whenever there is a row to read. */
    int (*time)(const elstm_op *op, const elstm_io *io, elstm_time *time);
    void (*sizes)(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes);
    /* What a runner fixes once, its arena laid out. */
    void (*prepare)(const elstm_runner *runner, elstm_op *op);
    void (*step)(elstm_runner *runner, const elstm_op *op);
    void (*run)(elstm_runner *runner, const elstm_op *op);
};

/* NULL where this build does not link the kind. */
const elstm_layer *elstm_layer_find(uint32_t kind);

/* The walk over an image's ops, in order. */
typedef struct {
    const elstm_model *model;
    elstm_reader reader;
    const unsigned char *record; /* of the op to come */
    uint32_t next;               /* the first tensor that it writes */
    elstm_model *opening;        /* the model while its clocks are being found, else NULL */
} elstm_walk;

void elstm_walk_start(elstm_walk *walk, const elstm_model *model);
/* Decode the next op; io receives its tensors' descriptions. */
elstm_status elstm_walk_next(elstm_walk *walk, elstm_op *op, elstm_io *io);
void elstm_form_describe(const elstm_model *model, uint32_t index, elstm_form *form);
/* An uneven model's state starts with the steps since the reset, a uint64_t. */
#define ELSTM_COUNTER_SIZE ELSTM_ALIGN
/* Rows of a clock since the reset, after so many steps, where inputs with a clock of their own have
 * so many (NULL or 0: as many as the others); and the most that so many steps bring. */
uint64_t elstm_clock_rows(const elstm_model *model, uint32_t clock, uint64_t steps,
                          const uint32_t *lengths);
uint64_t elstm_clock_most(const elstm_model *model, uint32_t clock, uint32_t steps);
/* Rows of the port's tensor when the example is run as the model would be: every row of a causal
 * one.
 */
uint64_t elstm_example_rows(const elstm_model *model, const elstm_port *port);
/* The recorded inputs or answers of a port in the example: [rows][width], f32, int16 in s8 models,
 * the port's own type in tfl8 models. */
const void *elstm_example(const elstm_model *model, const elstm_port *port);

uint32_t elstm_groups(uint32_t units); /* of 8 */
/* What the kernel set wants to know of a matrix, if anything, kept from `at` on; where that ends.
 */
int32_t *elstm_prepare_s8(const elstm_kernels *kernels, elstm_matrix_s8 *matrix, int32_t *at);

/* Bounds of docs/numerics.md for one matrix and its rows; see rows.c. */
typedef struct {
    const elstm_matrix_s8 *kernel, *recurrent; /* recurrent may be NULL */
    const elstm_rescale *rescale;
    const elstm_requantize *requantize;
    uint32_t units, inputs;
    elstm_type input_type;
    int32_t most;  /* |h| stays within it */
    int32_t least; /* of kx */
} elstm_rows_s8_check;

int elstm_rows_s8_hold(const elstm_rows_s8_check *rows);
/* Sum of |w| over a row; -1 where a weight is -128 or the padding past `columns` is not 0. */
int64_t elstm_row_sum_s8(const elstm_matrix_s8 *w, uint32_t row, uint32_t columns);

/* All finite, and 0 in the padding. */
int elstm_matrix_f32_holds(const elstm_matrix_f32 *matrix, uint32_t units);

/* One row of such: the sums of its |w|, and its numbers. */
typedef struct {
    int64_t sum_x, sum_h;
    int64_t added; /* the most that comes from elsewhere */
    int32_t bias, kx, s, m;
    int32_t least;   /* of kx */
    uint32_t unused; /* 1: padding, where all must be 0 */
} elstm_row_s8;

/* Whether it keeps its bounds, x being int16 where `wide` and int8 else, |h| at most `most`. */
int elstm_row_s8_holds(const elstm_row_s8 *row, int wide, int32_t most);

/* ---- tfl8.c: what layers of tfl8 models share ---- */

elstm_factor elstm_read_factor(elstm_reader *reader);
int elstm_factor_holds(elstm_factor factor);
/* Sums of a product, its bias among them, stay below 2^30, and its padding is 0; rows of `units`.
 */
int elstm_sums_tfl8_hold(const elstm_matrix_s8 *w, const int32_t *bias, uint32_t units,
                         uint32_t columns);
/* The mean of so many rows as a delegate computes it, in float32. */
void elstm_mean_f32(const elstm_reduce *reduce, const int64_t *sum, uint32_t count, int8_t *y,
                    const elstm_tensor *in);
/* QUANTIZE of one number, ties as in tfl8.h; DEQUANTIZE of a row. */
int32_t elstm_quantize_tfl8(float x, const elstm_tensor *to, uint32_t ties);
void elstm_dequantize_tfl8(const elstm_tensor *of, uint32_t row, float *y);

/* ---- windows: windows.c ---- */

/* Windows over rows at hand, those of each stream over rows of its own; outputs in order, all
 * streams of a window together. */
typedef struct {
    const unsigned char *rows; /* the first stream's first row */
    size_t row;                /* bytes from one row to the next */
    int64_t count;             /* rows of a stream */
    int64_t start;             /* the first window's first row; before 0 lie the past and padding */
    uint32_t windows;          /* of a stream */
    uint32_t streams;
    const unsigned char *past; /* the first stream's state, or NULL where no row before 0 counts */
    size_t state_size;
    uint32_t kept; /* rows that a stream's state has room for */
    int32_t fill;  /* the byte that padding is made of */
    unsigned char *y;
    size_t y_row;
} elstm_windows;

/* Row `at` of a stream; NULL where it is padding. */
const void *elstm_windows_row(const elstm_windows *windows, uint32_t stream, int64_t at);
/* What `compute` makes of the rows there are, sequence by sequence; what later windows need is
 * kept.
 */
typedef void elstm_windows_compute(elstm_runner *runner, const elstm_op *op,
                                   const elstm_windows *windows);
void elstm_windows_step(elstm_runner *runner, const elstm_op *op, const elstm_window *window,
                        elstm_windows_compute *compute);
void elstm_windows_run(elstm_runner *runner, const elstm_op *op, const elstm_window *window,
                       elstm_windows_compute *compute);
/* Bytes of a stream's state, for rows of such a tensor. */
uint64_t elstm_windows_state(const elstm_window *window, const elstm_form *in);
/* Stride, left, right, same; the period stands elsewhere. Fails on what no layer has. */
void elstm_read_window(elstm_reader *reader, elstm_window *window);
int elstm_window_time(const elstm_window *window, const elstm_io *io, elstm_time *time);

/* A Conv1d's fields up to its activation; 0 where they do not fit. */
int elstm_read_conv1d(elstm_reader *reader, elstm_conv1d *shape, const elstm_io *io);
/* A Pool1d's. */
int elstm_read_pool1d(elstm_reader *reader, elstm_pool1d *pool, const elstm_io *io);
/* Rows of all groups' matrices, padded. */
uint64_t elstm_conv1d_rows(const elstm_conv1d *shape);
/* The k-th window and those after it, `most` at most, as rows of x [taps][columns] of a group,
 * x_row bytes apart; returns how many. */
uint32_t elstm_windows_gather(const elstm_windows *windows, const elstm_conv1d *shape, uint32_t k,
                              uint32_t group, uint32_t most, void *x, size_t x_row);
/* All finite, and 0 from `count` to `padded`. */
int elstm_values_f32_hold(const float *values, uint32_t count, uint32_t padded);
/* What the rows of a Reduce came to: what follows is of its number type. */
typedef struct {
    uint32_t count, unused[3]; /* rows that counted, at most 2^31 - 1 */
} elstm_reduced;

/* A Reduce in one number type: bytes of a stream's state, a row added to it, and its answer. */
typedef struct {
    uint64_t (*state)(const elstm_reduce *reduce, uint32_t width);
    void (*add)(const elstm_reduce *reduce, elstm_reduced *reduced, const void *row,
                const elstm_tensor *in);
    void (*answer)(const elstm_reduce *reduce, const elstm_reduced *reduced, void *row,
                   const elstm_tensor *in);
} elstm_reduction;

int elstm_read_reduce(elstm_reader *reader, elstm_reduce *reduce, const elstm_io *io);
int elstm_reduce_time(const elstm_op *op, const elstm_io *io, elstm_time *time);
void elstm_reduce_rows(elstm_runner *runner, const elstm_op *op, uint32_t rows, int every,
                       const elstm_reduction *reduction);

/* A Combine's kind; 0 where the tensors' widths do not fit it. */
int elstm_read_combination(elstm_reader *reader, elstm_combine *combine, const elstm_io *io);
/* The row of a tensor read that serves row k of the one written. */
const void *elstm_combined_row(const elstm_runner *runner, const elstm_tensor *in, uint32_t k);

/* ---- cells.c: what recurrent layers share ---- */

uint32_t elstm_span(uint32_t units); /* rounded up to 8 */
elstm_matrix_f32 elstm_read_blocks_f32(elstm_reader *reader, uint32_t gates, uint32_t units,
                                       uint32_t columns);
elstm_matrix_s8 elstm_read_blocks_s8(elstm_reader *reader, uint32_t gates, uint32_t units,
                                     uint32_t columns);
void elstm_read_rows_s8(elstm_reader *reader, uint32_t rows, elstm_rescale *rescale,
                        elstm_requantize *requantize);
elstm_start_s8 elstm_read_start_s8(elstm_reader *reader);
/* All finite, and 0 in the padding of gates of so many units. */
int elstm_blocks_f32_hold(const elstm_matrix_f32 *matrix, uint32_t gates, uint32_t units);
/* From a row on there is nothing but padding. */
int elstm_no_weights_s8(const elstm_matrix_s8 *matrix, uint32_t row);

/* Whether a cell reads as many tensors as its options say, a mask of its type among them. */
int elstm_gaps_fit(const elstm_gaps *gaps, const elstm_io *io, elstm_type mask, uint32_t states);
/* Where the options say so, the period that ends a record. */
void elstm_read_period(elstm_reader *reader, elstm_gaps *gaps);
int elstm_gaps_time(const elstm_gaps *gaps, const elstm_io *io, elstm_time *time);
/* Bytes of a state whose cells take `size`, which is a multiple of 4. */
uint64_t elstm_gaps_state(const elstm_gaps *gaps, uint64_t size);
/* Whether a row of the mask counts. */
int elstm_gaps_counts(const elstm_runner *runner, const elstm_op *op, const elstm_gaps *gaps,
                      size_t row);
/* Called before each row of a stream. Where it is the first, of all or of a period, and starts from
 * a state that is read: the first tensor of that state, else NULL. */
const elstm_tensor *elstm_gaps_start(const elstm_runner *runner, const elstm_op *op,
                                     const elstm_gaps *gaps, unsigned char *state);
/* A step has counted. */
void elstm_gaps_note(const elstm_gaps *gaps, unsigned char *state);
/* y [size bytes] = h, or zeros where no step has counted yet. */
void elstm_gaps_repeat(const elstm_gaps *gaps, unsigned char *state, const void *h, void *y,
                       size_t size);
/* A stream's row of a state that is read, in the layer's own scale and within `limit`. */
void elstm_start_state_s8(const elstm_tensor *from, uint32_t stream, elstm_start_s8 start,
                          int32_t limit, elstm_type type, void *state);

#if ELSTM_LINKS_F32
void elstm_clip_f32(float *v, float clip, uint32_t count); /* 0: none */
#endif
void elstm_clip_s16(int16_t *v, int32_t limit, uint32_t count); /* 32767: none */
/* h of an int16 p: rs(p * multiplier, 15), clamped where it is int8. */
void elstm_hidden_s16(const int16_t *p, int32_t multiplier, elstm_type type, void *h,
                      uint32_t count);
/* matmul_s8 or matmul_s16, as the type of x wants. */
void elstm_product_s8(const elstm_kernels *kernels, const elstm_matrix_s8 *w,
                      const elstm_rescale *rescale, elstm_type type, const void *x, size_t stride,
                      int32_t *y, uint32_t count);

#endif
