/* EdgeLSTM: runs recurrent networks from an image, on any CPU with a C99 compiler.
 *
 *     elstm_model model;
 *     elstm_runner runner;
 *     elstm_limits limits = {1, 1};
 *     elstm_model_open(&model, image, image_size);
 *     arena_size = elstm_arena_size(&model, kernels, limits);
 *     elstm_runner_init(&runner, &model, kernels, limits, arena, arena_size);
 *     for (;;) elstm_step_f32(&runner, xs, ys);
 *
 * Ownership. The caller owns image, arena and structs, and keeps image, model and arena in place
 * while a runner uses them. Nothing is ever freed here. Structs are complete so that they can be
 * static.
 *
 * Threads. Models and kernel sets are read-only and shared. A runner belongs to one thread at a
 * time. There are no mutable globals, not even a cached CPU probe.
 *
 * Alignment. Image and arena start on ELSTM_ALIGN bytes. Inputs and outputs need only natural
 * alignment.
 *
 * Aliasing. In elstm_step_* an input and an output may be one buffer. In elstm_run_* they may not
 * overlap: a chunk's answers are written before the next chunk's inputs are read. None may overlap
 * the arena.
 *
 * Trust. An image may be hostile; elstm_model_open is the guard. All other arguments are trusted.
 *
 * Failure. Errors happen while opening and initialising. A step has no error path.
 *
 * Numbers. docs/numerics.md. In a float input NaN counts as 0; s8 and tfl8 answers are the same
 * bytes on every CPU.
 */
#ifndef EDGELSTM_H
#define EDGELSTM_H

#include "elstm_build.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ELSTM_ALIGN 16
#define ELSTM_IMAGE_VERSION 1

typedef enum {
    ELSTM_OK = 0,
    ELSTM_ERR_ARGUMENT = -1,
    ELSTM_ERR_ALIGNMENT = -2,
    ELSTM_ERR_IMAGE = -3,
    ELSTM_ERR_VERSION = -4,
    ELSTM_ERR_UNSUPPORTED = -5,
    ELSTM_ERR_MEMORY = -6,
    ELSTM_ERR_SELF_CHECK = -7
} elstm_status;

/* What a status means, in English; never NULL. */
const char *elstm_status_text(elstm_status status);

/* The types a tensor's values can have, and a model. An s8 model's inputs are s16; its outputs are
 * s8 or s16. A tfl8 model is a full-int8 TFLite one, with inputs and outputs of any type. */
typedef enum { ELSTM_F32 = 1, ELSTM_S8 = 2, ELSTM_S16 = 3, ELSTM_TFL8 = 4 } elstm_type;

/* One input or output. Real value = scale * (integer - zero); scale is 1 for f32. */
typedef struct {
    elstm_type type;
    uint32_t width; /* values a step */
    float scale;
    int32_t zero;    /* 0 but for an s8 of a tfl8 model */
    uint32_t tensor; /* index, private */
    /* not 0: an input takes one row a run, an initial state say; an output gives one row in
     * ELSTM_ROWS_MODEL */
    uint32_t single;
    uint32_t own; /* 1: an input that may have another number of steps than the first */
    const float *scaler_scale;  /* width values, or NULL: model value = raw * scale + offset */
    const float *scaler_offset; /* width values, or NULL */
} elstm_port;

/* Private: at which steps a tensor has rows, made from another such clock. The first is one row a
 * step. */
typedef struct {
    uint32_t kind, parent, n[5];
} elstm_clock;

/* An opened image. Read-only after elstm_model_open. */
typedef struct {
    const unsigned char *image;
    uint32_t image_size;
    elstm_type type; /* ELSTM_F32, ELSTM_S8 or ELSTM_TFL8 */
    uint32_t inputs, outputs;
    elstm_port input[ELSTM_MAX_PORTS], output[ELSTM_MAX_PORTS];
    uint32_t tensors, ops; /* counts */
    uint32_t state_size;   /* bytes of one stream's state */
    /* 1: step exists and runs may be cut; 0: only whole runs up to max_steps */
    uint32_t causal;
    uint32_t uneven; /* 1: some step writes no row or several */
    uint32_t clocks; /* private */
    elstm_clock clock[ELSTM_MAX_CLOCKS];
    const char *meta; /* JSON, UTF-8, not NUL-terminated; NULL where there is none */
    uint32_t meta_size;
    uint32_t example_steps;  /* 0 where there is no example */
    uint32_t sections[6][2]; /* private: offset and size of each */
} elstm_model;

/* Check an image and describe it in *model. Reads every byte once or twice; keeps pointers into the
 * image. ELSTM_ERR_ALIGNMENT, ELSTM_ERR_IMAGE (damaged or inconsistent), ELSTM_ERR_VERSION,
 * ELSTM_ERR_UNSUPPORTED (an op that this build does not link). */
elstm_status elstm_model_open(elstm_model *model, const void *image, size_t size);

/* One instruction set's kernels: a constant table, an argument, never a global choice. */
typedef struct elstm_kernels elstm_kernels;

size_t elstm_kernels_count(void);                    /* sets compiled in */
const elstm_kernels *elstm_kernels_at(size_t index); /* best first; NULL where this CPU lacks it */
/* NULL: the best; else by name, or NULL. */
const elstm_kernels *elstm_kernels_find(const char *name);
const char *elstm_kernels_name(const elstm_kernels *kernels);

/* What a runner must be able to hold. */
typedef struct {
    /* steps worked on at once; causal runs of any length are cut into such chunks */
    uint32_t max_steps;
    uint32_t streams; /* independent states that step together */
} elstm_limits;

/* Bytes of arena a runner needs; SIZE_MAX where limits are 0 or the sum does not fit size_t. */
size_t elstm_arena_size(const elstm_model *model, const elstm_kernels *kernels,
                        elstm_limits limits);

typedef struct elstm_op elstm_op;
typedef struct elstm_tensor elstm_tensor;

/* Bytes of an arena that a layer takes, and a tensor, beside what elstm_arena_size adds for rows,
 * state and scratch: constants, for firmware whose arena is a static array. */
#define ELSTM_OP_SIZE                                                                              \
    (sizeof(void *) == 4 ? 248 + (ELSTM_MAX_READS + 1) / 2 * 4                                     \
                         : 376 + (ELSTM_MAX_READS + 3) / 4 * 8)
#define ELSTM_TENSOR_SIZE (24 + 8 * ELSTM_LINKS_F32 + 2 * sizeof(void *))

/* Private fields; complete so that it can be static. */
typedef struct {
    const elstm_model *model;
    const elstm_kernels *kernels;
    elstm_limits limits;
    elstm_op *ops;
    elstm_tensor *tensors;
    unsigned char *state; /* [streams][state_size] */
    void *scratch;
    uint32_t even;                     /* 1: the model is causal and each step has one row */
    uint32_t lengths[ELSTM_MAX_PORTS]; /* steps of inputs that have their own number; 0: a run's */
    uint32_t every, final; /* during a run: every row asked for; this is the last chunk */
} elstm_runner;

/* Lay out the arena and reset. ELSTM_ERR_ARGUMENT, ELSTM_ERR_ALIGNMENT, ELSTM_ERR_MEMORY (the arena
 * is too small), ELSTM_ERR_UNSUPPORTED (more than one stream of a model that is uneven or not
 * causal).
 */
elstm_status elstm_runner_init(elstm_runner *runner, const elstm_model *model,
                               const elstm_kernels *kernels, elstm_limits limits, void *arena,
                               size_t arena_size);

/* One step of every stream. xs: one pointer per input, [streams][width]; ys likewise per output.
 * _f32 takes any model and scales what is integers; _s8 takes s8 models alone, in the ports'
 * integers (an s8 output is widened to int16); _raw takes any model, each port in its own type:
 * float, int8_t or int16_t. Of an uneven model ys receives the last row that the step
 * wrote, and stays as it is where it wrote none; a run of one step gives all its rows. A model that
 * is not causal has no steps: then these calls, and the parts below, do nothing. */
void elstm_step_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys);
void elstm_step_raw(elstm_runner *runner, const void *const *xs, void *const *ys);

/* Rows that the last step wrote to an output, for as long as no run follows: 1 unless the model is
 * uneven. */
uint32_t elstm_stepped_rows(const elstm_runner *runner, uint32_t output);

/* The same step in parts, to time each: the inputs enter; each layer, from 0 to model->ops - 1 in
 * this order, reads its tensor and writes the next; the outputs leave. Every call of a layer moves
 * its state by one step. */
void elstm_enter_s8(elstm_runner *runner, const int16_t *const *xs);
void elstm_enter_raw(elstm_runner *runner, const void *const *xs);
void elstm_step_layer(elstm_runner *runner, uint32_t layer);
void elstm_leave_s8(elstm_runner *runner, int16_t *const *ys);
void elstm_leave_raw(elstm_runner *runner, void *const *ys);

/* Which steps a run writes. */
typedef enum {
    /* what the checkpoint's framework returns: an output may be the last step alone */
    ELSTM_ROWS_MODEL = 0,
    /* every output at every step: equal to calling step so many times */
    ELSTM_ROWS_EVERY = 1
} elstm_rows;

/* `steps` steps, continuing from the present state; of a model that is not causal always from a
 * reset one, and in ELSTM_ROWS_MODEL alone. xs: [steps][streams][width] per input,
 * [1][streams][width] of a single one; ys: per output [rows][streams][width] with rows =
 * elstm_output_rows. ELSTM_ERR_UNSUPPORTED for more than max_steps where the model is not causal,
 * and for what elstm_run_refusal refuses; then nothing was done. */
elstm_status elstm_run_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys,
                          uint32_t steps, elstm_rows rows);
elstm_status elstm_run_raw(elstm_runner *runner, const void *const *xs, void *const *ys,
                           uint32_t steps, elstm_rows rows);

#if ELSTM_LINKS_F32
void elstm_step_f32(elstm_runner *runner, const float *const *xs, float *const *ys);
void elstm_enter_f32(elstm_runner *runner, const float *const *xs);
void elstm_leave_f32(elstm_runner *runner, float *const *ys);
elstm_status elstm_run_f32(elstm_runner *runner, const float *const *xs, float *const *ys,
                           uint32_t steps, elstm_rows rows);
#endif

/* In the runs to come, and in what is asked of them, the steps of each input that may have a number
 * of its own: the second sequence of an encoder and decoder. 0, and NULL for all: as many as the
 * run's. The self-check forgets them. */
void elstm_set_lengths(elstm_runner *runner, const uint32_t *lengths);

/* Rows that a run of `steps` steps from the present state writes to an output. */
uint32_t elstm_output_rows(const elstm_runner *runner, uint32_t output, uint32_t steps,
                           elstm_rows rows);

/* What keeps a run from being worked out. */
typedef enum {
    ELSTM_FITS = 0,
    ELSTM_NEEDS_ROWS,    /* the layer would read `rows` rows and needs `wanted` */
    ELSTM_NEEDS_PERIODS, /* ... and needs a multiple of `wanted` */
    ELSTM_NEEDS_ALIKE,   /* ... and of another tensor `wanted`: it needs as many of each */
    ELSTM_NEEDS_A_ROW    /* it would write none, in ELSTM_ROWS_MODEL */
} elstm_misfit;

typedef struct {
    elstm_misfit why;
    uint32_t layer; /* the first that does not fit */
    uint32_t rows, wanted;
} elstm_refusal;

/* Why such a run would be refused, beside max_steps. */
elstm_refusal elstm_run_refusal(const elstm_runner *runner, uint32_t steps, elstm_rows rows);

/* State: model->state_size bytes a stream, in s8 and tfl8 the same on every CPU. Copy out, copy
 * back: what comes back is not checked, and only what this model left there makes sense. */
void elstm_reset(elstm_runner *runner);                         /* every stream */
void elstm_reset_stream(elstm_runner *runner, uint32_t stream); /* one */
void *elstm_state(elstm_runner *runner, uint32_t stream);

/* Replay the example inside the image: s8 and tfl8 answers must be equal, f32 answers within 1e-5 *
 * max(1, |y|). Resets before and after. ELSTM_ERR_SELF_CHECK on a difference; ELSTM_OK where the
 * image has no example; ELSTM_ERR_UNSUPPORTED where the model is not causal and max_steps less than
 * model->example_steps. */
elstm_status elstm_self_check(elstm_runner *runner);

#ifdef __cplusplus
}
#endif

#endif
