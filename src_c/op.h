/* Private: decoded layers. A model is a flat list of ops, each naming the tensors it reads and
 * writes. */
#ifndef ELSTM_OP_H
#define ELSTM_OP_H

#include "activations.h"
#include "edgelstm.h"
#include "kernels.h"

/* One value vector a step. data is [rows][stride], row by row step after step, within a step stream
 * after stream. Values past `width` are readable and writable and mean nothing. */
struct elstm_tensor {
    elstm_type type;
    uint32_t width, stride; /* elements; the stride is a multiple of 8 */
    uint32_t single; /* 1: downstream of a Last, one row a run unless every step is asked for */
    uint32_t rows;   /* valid now */
    float scale, reciprocal;
    size_t row; /* bytes from one row to the next */
    void *data;
};

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
float elstm_read_f32(elstm_reader *reader);                 /* fails on NaN and infinity */
/* count elements of `size` bytes from the weights, aligned to `align` there; NULL when they are not
 * all there. */
const void *elstm_read_array(elstm_reader *reader, uint64_t count, uint32_t size, uint32_t align);
elstm_activation_f32 elstm_read_activation_f32(elstm_reader *reader);
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
    uint32_t plain;  /* 1: the case lstm_s8 of the kernels serves */
    uint32_t joined; /* 1: a step is one call of step_s16 of the kernels, with these: */
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

/* Numbers of the layer kinds in the image. */
enum {
    ELSTM_KIND_LSTM_F32 = 1,
    ELSTM_KIND_LSTM_S8 = 2,
    ELSTM_KIND_DENSE_F32 = 3,
    ELSTM_KIND_DENSE_S8 = 4,
    ELSTM_KIND_ACTIVATE_F32 = 5,
    ELSTM_KIND_ACTIVATE_S8 = 6,
    ELSTM_KIND_LAST = 7
};

typedef struct elstm_layer elstm_layer;

struct elstm_op {
    const elstm_layer *layer;
    uint32_t in, out;      /* tensor indices */
    uint32_t state_offset; /* bytes from the start of a stream's state */
    int32_t *prepared;     /* what the kernel set made at init, or NULL */
    union {
        elstm_lstm_f32 lstm_f32;
        elstm_lstm_s8 lstm_s8;
        elstm_dense_f32 dense_f32;
        elstm_dense_s8 dense_s8;
        elstm_activation_f32 activate_f32;
        elstm_activate_s8 activate_s8;
    } as;
};

/* Bytes an op needs. */
typedef struct {
    uint64_t state;    /* per stream; as many bytes on every CPU */
    uint64_t prepared; /* kept while the runner lives */
    uint64_t scratch;  /* during one op, shared by all */
} elstm_sizes;

/* One layer kind in one number type: the constant table that ends its file. */
struct elstm_layer {
    uint32_t kind; /* number in the image */
    /* Read the record's fields and arrays; 0 where they do not fit the tensors read and written. */
    int (*decode)(elstm_reader *reader, elstm_op *op, const elstm_tensor *in,
                  const elstm_tensor *out);
    /* Check every weight once; 0 where an image could make a sum overflow or hold what no packer
     * writes. Or NULL. */
    int (*check)(const elstm_op *op, const elstm_tensor *in);
    void (*sizes)(const elstm_op *op, const elstm_tensor *in, const elstm_kernels *kernels,
                  elstm_limits limits, elstm_sizes *sizes); /* or NULL */
    /* What a runner fixes once, its arena laid out; or NULL. */
    void (*prepare)(const elstm_runner *runner, elstm_op *op);
    void (*step)(elstm_runner *runner, const elstm_op *op); /* one row a stream */
    void (*run)(elstm_runner *runner, const elstm_op *op);  /* all rows of the tensor read */
};

/* NULL where this build does not link the kind. */
const elstm_layer *elstm_layer_find(uint32_t kind);

/* The walk over an image's ops, in order. */
typedef struct {
    const elstm_model *model;
    elstm_reader reader;
    const unsigned char *record; /* of the op to come */
    uint32_t next;               /* its index */
} elstm_walk;

void elstm_walk_start(elstm_walk *walk, const elstm_model *model);
/* Decode the next op; in and out receive its tensors' descriptions. */
elstm_status elstm_walk_next(elstm_walk *walk, elstm_op *op, elstm_tensor *in, elstm_tensor *out);
void elstm_tensor_describe(const elstm_model *model, uint32_t index, elstm_tensor *tensor);
/* The recorded inputs or answers of a port in the example: [steps][width], f32, or int16 in s8
 * models. */
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
/* All finite, and 0 in the padding. */
int elstm_matrix_f32_holds(const elstm_matrix_f32 *matrix, uint32_t units);

#endif
