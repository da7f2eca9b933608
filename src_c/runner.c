/* Arena layout, reset, doors, and the walk over the ops. */
#include "op.h"

#include <string.h>

#if ELSTM_LINKS_F32
#include <float.h>

/* The float door rounds by adding and taking away, and sees NaN by comparing: both hold only where
 * float arithmetic is IEEE's, each result rounded to float at once. 16 is 0 with half floats beside
 * it; a compiler that cannot say (-1) is none to build with. */
#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || defined(__ASSOCIATIVE_MATH__) ||              \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "EdgeLSTM needs IEEE float arithmetic: build without -ffast-math, -Ofast and their parts"
#endif
#if !defined(FLT_EVAL_METHOD)
#error "EdgeLSTM needs float.h of C99, whose FLT_EVAL_METHOD says how floats are computed"
#elif FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "EdgeLSTM needs floats computed as float: on 32-bit x86 build with -msse2 -mfpmath=sse"
#endif
#endif

/* ---- arena ---- */

/* Bytes so far, or UINT64_MAX once a sum has overflowed. Returns where the new block starts. */
static uint64_t reserve(uint64_t *total, uint64_t bytes, uint64_t align) {
    const uint64_t at = *total;
    if (at == UINT64_MAX || bytes > UINT64_MAX / 4 - at) {
        *total = UINT64_MAX;
        return 0;
    }
    *total = at + (bytes + align - 1) / align * align;
    return at;
}

/* Where everything lies in an arena. */
typedef struct {
    uint64_t ops, tensors, data, prepared, state, scratch, total;
} arena_map;

/* The most rows of a tensor that a stream has at once. */
static uint64_t most_rows(const elstm_model *model, const elstm_form *form, elstm_limits limits) {
    if (form->single == ELSTM_CONSTANT || (form->single == ELSTM_SINGLE && !model->causal))
        return 1;
    return elstm_clock_most(model, form->clock, limits.max_steps);
}

/* A tensor without its data, and the bytes of that. */
static uint64_t describe(const elstm_model *model, uint32_t index, elstm_limits limits,
                         elstm_tensor *tensor) {
    elstm_form form;
    elstm_form_describe(model, index, &form);
    *tensor = (elstm_tensor){.type = (uint8_t)form.type,
                             .single = (uint8_t)form.single,
                             .clock = (uint8_t)form.clock,
                             .zero = (int8_t)form.zero,
                             .width = form.width,
                             .stride = (form.width + 7) / 8 * 8};
#if ELSTM_LINKS_F32
    memcpy(&tensor->scale, &form.scale, sizeof tensor->scale);
    tensor->reciprocal = 1.0f / tensor->scale;
#endif
    tensor->row = tensor->stride * elstm_value_size(tensor->type);
    /* 2^49 rows at most, of 2^18 bytes; times streams it may not fit, and reserve refuses */
    const uint64_t bytes = most_rows(model, &form, limits) * tensor->row;
    return bytes > UINT64_MAX / 4 / limits.streams ? UINT64_MAX : bytes * limits.streams;
}

/* Decode the next op, and what it needs where there are so many steps and streams. */
static elstm_status next_op(elstm_walk *walk, const elstm_kernels *kernels, elstm_limits limits,
                            elstm_op *op, elstm_sizes *sizes) {
    elstm_io io;
    const elstm_status status = elstm_walk_next(walk, op, &io);
    *sizes = (elstm_sizes){0, 0, 0};
    if (status != ELSTM_OK || op->layer->sizes == NULL) return status;
    for (uint32_t k = 0; k < io.reads + io.writes; ++k) {
        elstm_form *form = k < io.reads ? &io.in[k] : &io.out[k - io.reads];
        const uint64_t most = most_rows(walk->model, form, limits);
        form->rows = most > UINT32_MAX ? UINT32_MAX : (uint32_t)most;
    }
    op->layer->sizes(op, &io, kernels, limits.streams, sizes);
    return ELSTM_OK;
}

static arena_map map_arena(const elstm_model *model, const elstm_kernels *kernels,
                           elstm_limits limits) {
    const uint64_t align = kernels->align;
    arena_map map = {0};
    uint64_t scratch = 0, prepared = 0, data = 0;
    elstm_walk walk;
    elstm_walk_start(&walk, model);
    for (uint32_t k = 0; k < model->ops; ++k) {
        elstm_op op;
        elstm_sizes sizes;
        if (next_op(&walk, kernels, limits, &op, &sizes) != ELSTM_OK) {
            map.total = UINT64_MAX;
            return map;
        }
        scratch = sizes.scratch > scratch ? sizes.scratch : scratch;
        reserve(&prepared, sizes.prepared, align);
    }
    for (uint32_t k = 0; k < model->tensors; ++k) {
        elstm_tensor tensor;
        reserve(&data, describe(model, k, limits, &tensor), align);
    }
    map.ops = reserve(&map.total, model->ops * sizeof(elstm_op), align);
    map.tensors = reserve(&map.total, model->tensors * sizeof(elstm_tensor), align);
    map.data = reserve(&map.total, data, align);
    map.prepared = reserve(&map.total, prepared, align);
    map.state = reserve(&map.total, (uint64_t)model->state_size * limits.streams, align);
    map.scratch = reserve(&map.total, scratch, align);
    return map;
}

size_t elstm_arena_size(const elstm_model *model, const elstm_kernels *kernels,
                        elstm_limits limits) {
    if (limits.max_steps == 0 || limits.streams == 0 ||
        (uint64_t)limits.max_steps * limits.streams > (uint64_t)1 << 31)
        return SIZE_MAX;
    const arena_map map = map_arena(model, kernels, limits);
    return map.total >= SIZE_MAX ? SIZE_MAX : (size_t)map.total;
}

elstm_status elstm_runner_init(elstm_runner *runner, const elstm_model *model,
                               const elstm_kernels *kernels, elstm_limits limits, void *arena,
                               size_t arena_size) {
    if (runner == NULL || model == NULL || kernels == NULL || arena == NULL)
        return ELSTM_ERR_ARGUMENT;
    memset(runner, 0, sizeof *runner);
    if ((uintptr_t)arena % ELSTM_ALIGN != 0) return ELSTM_ERR_ALIGNMENT;
    const size_t needed = elstm_arena_size(model, kernels, limits);
    if (needed == SIZE_MAX) return ELSTM_ERR_ARGUMENT;
    if (limits.streams > 1 && (!model->causal || model->uneven)) return ELSTM_ERR_UNSUPPORTED;
    if (needed > arena_size) return ELSTM_ERR_MEMORY;
    const arena_map map = map_arena(model, kernels, limits);
    const uint64_t align = kernels->align;
    unsigned char *base = arena;
    memset(base, 0, needed);
    *runner = (elstm_runner){.model = model,
                             .kernels = kernels,
                             .limits = limits,
                             .ops = (elstm_op *)(void *)(base + map.ops),
                             .tensors = (elstm_tensor *)(void *)(base + map.tensors),
                             .state = base + map.state,
                             .scratch = base + map.scratch,
                             .even = model->causal && !model->uneven};
    uint64_t data = map.data, prepared = map.prepared;
    uint32_t state = model->uneven ? ELSTM_COUNTER_SIZE : 0;
    for (uint32_t k = 0; k < model->tensors; ++k) {
        elstm_tensor *tensor = &runner->tensors[k];
        tensor->data = base + reserve(&data, describe(model, k, limits, tensor), align);
    }
    elstm_walk walk;
    elstm_walk_start(&walk, model);
    for (uint32_t k = 0; k < model->ops; ++k) {
        elstm_op *op = &runner->ops[k];
        elstm_sizes sizes;
        const elstm_status status = next_op(&walk, kernels, limits, op, &sizes);
        if (status != ELSTM_OK) return status;
        op->state_offset = state;
        state += (uint32_t)((sizes.state + ELSTM_ALIGN - 1) / ELSTM_ALIGN * ELSTM_ALIGN);
        if (sizes.prepared != 0)
            op->prepared = (int32_t *)(void *)(base + reserve(&prepared, sizes.prepared, align));
        if (op->layer->prepare != NULL) op->layer->prepare(runner, op);
    }
    return ELSTM_OK;
}

void elstm_reset(elstm_runner *runner) {
    memset(runner->state, 0, (size_t)runner->model->state_size * runner->limits.streams);
}

void elstm_reset_stream(elstm_runner *runner, uint32_t stream) {
    memset(elstm_state(runner, stream), 0, runner->model->state_size);
}

void *elstm_state(elstm_runner *runner, uint32_t stream) {
    return runner->state + (size_t)runner->model->state_size * stream;
}

/* ---- doors ---- */

#if ELSTM_LINKS_F32

static void enter_f32(const elstm_kernels *kernels, const elstm_tensor *tensor, const float *x,
                      uint32_t rows) {
    unsigned char *data = tensor->data;
    for (; rows > 0; --rows, x += tensor->width, data += tensor->row) {
        if (tensor->type == ELSTM_F32)
            kernels->enter_f32(x, (float *)(void *)data, tensor->width);
        else if (tensor->type == ELSTM_S16)
            kernels->enter_s16(x, tensor->reciprocal, (int16_t *)(void *)data, tensor->width);
        else
            for (uint32_t k = 0; k < tensor->width; ++k)
                ((int8_t *)data)[k] =
                    (int8_t)elstm_quantize_tfl8(x[k] != x[k] ? 0 : x[k], tensor, ELSTM_TIES_EVEN);
    }
}

#endif

/* A row of the tensor's own type; NaN and their like stay out all the same. */
static void enter_raw(const elstm_kernels *kernels, const elstm_tensor *tensor, const void *x,
                      uint32_t rows) {
    const size_t size = tensor->width * elstm_value_size(tensor->type);
    const unsigned char *from = x;
    unsigned char *data = tensor->data;
#if ELSTM_LINKS_F32
    if (tensor->type == ELSTM_F32) {
        enter_f32(kernels, tensor, x, rows);
        return;
    }
#else
    (void)kernels;
#endif
    for (; rows > 0; --rows, from += size, data += tensor->row) memcpy(data, from, size);
}

static void enter_s8(const elstm_tensor *tensor, const int16_t *x, uint32_t rows) {
    unsigned char *data = tensor->data;
    for (; rows > 0; --rows, x += tensor->width, data += tensor->row)
        memcpy(data, x, tensor->width * sizeof *x);
}

static void leave_raw(const elstm_tensor *tensor, void *y, uint32_t rows) {
    const size_t size = tensor->width * elstm_value_size(tensor->type);
    const unsigned char *data = tensor->data;
    unsigned char *to = y;
    for (; rows > 0; --rows, to += size, data += tensor->row) memcpy(to, data, size);
}

#if ELSTM_LINKS_F32
static void leave_f32(const elstm_kernels *kernels, const elstm_tensor *tensor, float *y,
                      uint32_t rows) {
    const unsigned char *data = tensor->data;
    for (uint32_t row = 0; row < rows && tensor->zero != 0; ++row)
        elstm_dequantize_tfl8(tensor, row, y + (size_t)row * tensor->width);
    for (; rows > 0 && tensor->zero == 0; --rows, y += tensor->width, data += tensor->row) {
        if (tensor->type == ELSTM_F32)
            memcpy(y, data, tensor->width * sizeof *y);
        else if (tensor->type == ELSTM_S16)
            kernels->leave_s16((const int16_t *)(const void *)data, tensor->scale, y,
                               tensor->width);
        else
            kernels->leave_s8((const int8_t *)data, tensor->scale, y, tensor->width);
    }
}

#endif

/* int8 to int16 */
static void widen(const int8_t *restrict value, int16_t *restrict y, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) y[k] = value[k];
}

static void leave_s8(const elstm_tensor *tensor, int16_t *y, uint32_t rows) {
    const unsigned char *data = tensor->data;
    for (; rows > 0; --rows, y += tensor->width, data += tensor->row) {
        if (tensor->type == ELSTM_S16)
            memcpy(y, data, tensor->width * sizeof *y);
        else
            widen((const int8_t *)data, y, tensor->width);
    }
}

/* ---- which rows there are ---- */

void elstm_set_lengths(elstm_runner *runner, const uint32_t *lengths) {
    for (uint32_t k = 0; k < runner->model->inputs; ++k)
        runner->lengths[k] = lengths == NULL ? 0 : lengths[k];
}

/* Steps since the reset; of an uneven model alone, the others have no use for it. Whatever a caller
 * put back as state, steps can be added. */
static uint64_t steps_before(const elstm_runner *runner) {
    uint64_t steps = 0;
    if (runner->model->uneven) memcpy(&steps, runner->state, sizeof steps);
    return steps >> 62 == 0 ? steps : (uint64_t)1 << 62;
}

/* So many more steps: every tensor's rows, and in an uneven model what came before them. */
static void begin_rows(elstm_runner *runner, uint32_t steps) {
    const elstm_model *model = runner->model;
    const uint64_t before = steps_before(runner);
    uint64_t first[ELSTM_MAX_CLOCKS];
    uint32_t rows[ELSTM_MAX_CLOCKS];
    for (uint32_t k = 0; k < model->clocks; ++k) {
        first[k] = elstm_clock_rows(model, k, before, runner->lengths);
        rows[k] =
            (uint32_t)(elstm_clock_rows(model, k, before + steps, runner->lengths) - first[k]);
    }
    for (uint32_t k = 0; k < model->tensors; ++k) {
        elstm_tensor *tensor = &runner->tensors[k];
        const uint32_t streams = runner->limits.streams;
        if (tensor->single == ELSTM_CONSTANT) {
            tensor->rows = streams;
            tensor->first = 0;
        } else if (tensor->single == ELSTM_SINGLE && !runner->every) {
            tensor->rows = runner->final ? streams : 0;
            tensor->first = 0;
        } else {
            tensor->rows = rows[tensor->clock] * streams;
            tensor->first = first[tensor->clock];
        }
    }
}

static void end_rows(elstm_runner *runner, uint32_t steps) {
    const uint64_t now = steps_before(runner) + steps;
    if (runner->model->uneven) memcpy(runner->state, &now, sizeof now);
}

/* Rows of a stream in a run of so many steps from here on. */
static uint64_t run_rows(const elstm_runner *runner, const elstm_tensor *tensor, uint32_t steps,
                         elstm_rows rows) {
    const elstm_model *model = runner->model;
    const uint64_t before = model->causal ? steps_before(runner) : 0;
    if (tensor->single == ELSTM_CONSTANT) return steps > 0;
    const uint64_t all = elstm_clock_rows(model, tensor->clock, before + steps, runner->lengths) -
                         elstm_clock_rows(model, tensor->clock, before, runner->lengths);
    return tensor->single == ELSTM_SINGLE && rows == ELSTM_ROWS_MODEL && all > 0 ? 1 : all;
}

/* Whether an op can run on the rows that it would have. */
static elstm_refusal op_refusal(const elstm_runner *runner, const elstm_op *op, uint32_t steps,
                                elstm_rows rows) {
    elstm_refusal refusal = {ELSTM_FITS, 0, 0, 0};
    const uint64_t read = run_rows(runner, &runner->tensors[op->in], steps, rows);
    uint64_t joined = UINT64_MAX;
    if (op->exact != 0 && read != op->exact) {
        refusal = (elstm_refusal){ELSTM_NEEDS_ROWS, 0, (uint32_t)read, op->exact};
    } else if (op->multiple != 0 && read % op->multiple != 0) {
        refusal = (elstm_refusal){ELSTM_NEEDS_PERIODS, 0, (uint32_t)read, op->multiple};
    }
    for (uint32_t k = 0; k < op->read_count && !refusal.why; ++k) {
        if (!(op->together >> k & 1)) continue;
        const uint64_t other = run_rows(runner, &runner->tensors[op->reads[k]], steps, rows);
        if (joined != UINT64_MAX && other != joined)
            refusal = (elstm_refusal){ELSTM_NEEDS_ALIKE, 0, (uint32_t)joined, (uint32_t)other};
        joined = other;
    }
    if (!refusal.why && rows == ELSTM_ROWS_MODEL &&
        run_rows(runner, &runner->tensors[op->out], steps, rows) == 0)
        refusal.why = ELSTM_NEEDS_A_ROW;
    return refusal;
}

elstm_refusal elstm_run_refusal(const elstm_runner *runner, uint32_t steps, elstm_rows rows) {
    elstm_refusal refusal = {ELSTM_FITS, 0, 0, 0};
    if (runner->even || steps == 0) return refusal;
    for (uint32_t k = 0; k < runner->model->ops && !refusal.why; ++k) {
        refusal = op_refusal(runner, &runner->ops[k], steps, rows);
        refusal.layer = k;
    }
    return refusal;
}

uint32_t elstm_output_rows(const elstm_runner *runner, uint32_t output, uint32_t steps,
                           elstm_rows rows) {
    const elstm_port *port = &runner->model->output[output];
    const uint64_t count = run_rows(runner, &runner->tensors[port->tensor], steps, rows);
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

/* ---- steps ---- */

/* The parts are static beside their public names: inside a shared library a call to a public name
 * is never inlined. */

static void step_inputs_s8(elstm_runner *runner, const int16_t *const *xs) {
    const uint32_t count = runner->model->inputs;
    for (uint32_t k = 0; k < count; ++k)
        enter_s8(&runner->tensors[k], xs[k], runner->limits.streams);
}

static void step_inputs_raw(elstm_runner *runner, const void *const *xs) {
    const uint32_t count = runner->model->inputs;
    for (uint32_t k = 0; k < count; ++k)
        enter_raw(runner->kernels, &runner->tensors[k], xs[k], runner->limits.streams);
}

static void step_layer(elstm_runner *runner, uint32_t layer) {
    runner->ops[layer].layer->step(runner, &runner->ops[layer]);
}

static void step_layers(elstm_runner *runner) {
    const uint32_t count = runner->model->ops;
    for (uint32_t k = 0; k < count; ++k) step_layer(runner, k);
}

static void step_outputs_s8(elstm_runner *runner, int16_t *const *ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs; ++k)
        leave_s8(&runner->tensors[model->output[k].tensor], ys[k], runner->limits.streams);
}

static void step_outputs_raw(elstm_runner *runner, void *const *ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs; ++k)
        leave_raw(&runner->tensors[model->output[k].tensor], ys[k], runner->limits.streams);
}

/* A step of an uneven model, of which there is one stream, is a run of one step; the parts of one
 * of a model that is not causal do nothing. */

static int uneven_begins(elstm_runner *runner) {
    if (!runner->model->causal) return 0;
    runner->every = runner->final = 1;
    begin_rows(runner, 1);
    return 1;
}

static void uneven_layer(elstm_runner *runner, uint32_t layer) {
    if (runner->model->causal) runner->ops[layer].layer->run(runner, &runner->ops[layer]);
}

static void uneven_layers(elstm_runner *runner) {
    for (uint32_t k = 0; k < runner->model->ops; ++k) uneven_layer(runner, k);
}

/* Where a step's answers go; two of them are NULL. */
typedef struct {
    float *const *f32;
    int16_t *const *s8;
    void *const *raw;
} step_answers;

/* The last row of those that a step wrote; none: what left before stays. */
static void uneven_outputs(elstm_runner *runner, step_answers ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs && model->causal; ++k) {
        elstm_tensor tensor = runner->tensors[model->output[k].tensor];
        if (tensor.rows == 0) continue;
        tensor.data = (unsigned char *)tensor.data + (tensor.rows - 1) * tensor.row;
        if (ys.s8 != NULL) leave_s8(&tensor, ys.s8[k], 1);
        if (ys.raw != NULL) leave_raw(&tensor, ys.raw[k], 1);
#if ELSTM_LINKS_F32
        if (ys.f32 != NULL) leave_f32(runner->kernels, &tensor, ys.f32[k], 1);
#endif
    }
    end_rows(runner, 1);
}

uint32_t elstm_stepped_rows(const elstm_runner *runner, uint32_t output) {
    const elstm_model *model = runner->model;
    return runner->even ? 1 : model->causal * runner->tensors[model->output[output].tensor].rows;
}

void elstm_enter_s8(elstm_runner *runner, const int16_t *const *xs) {
    if (runner->even || uneven_begins(runner)) step_inputs_s8(runner, xs);
}

void elstm_enter_raw(elstm_runner *runner, const void *const *xs) {
    if (runner->even || uneven_begins(runner)) step_inputs_raw(runner, xs);
}

void elstm_step_layer(elstm_runner *runner, uint32_t layer) {
    if (runner->even)
        step_layer(runner, layer);
    else
        uneven_layer(runner, layer);
}

void elstm_leave_s8(elstm_runner *runner, int16_t *const *ys) {
    if (runner->even)
        step_outputs_s8(runner, ys);
    else
        uneven_outputs(runner, (step_answers){.s8 = ys});
}

void elstm_leave_raw(elstm_runner *runner, void *const *ys) {
    if (runner->even)
        step_outputs_raw(runner, ys);
    else
        uneven_outputs(runner, (step_answers){.raw = ys});
}

void elstm_step_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys) {
    if (!runner->even) {
        if (!uneven_begins(runner)) return;
        step_inputs_s8(runner, xs);
        uneven_layers(runner);
        uneven_outputs(runner, (step_answers){.s8 = ys});
        return;
    }
    step_inputs_s8(runner, xs);
    step_layers(runner);
    step_outputs_s8(runner, ys);
}

void elstm_step_raw(elstm_runner *runner, const void *const *xs, void *const *ys) {
    if (!runner->even) {
        if (!uneven_begins(runner)) return;
        step_inputs_raw(runner, xs);
        uneven_layers(runner);
        uneven_outputs(runner, (step_answers){.raw = ys});
        return;
    }
    step_inputs_raw(runner, xs);
    step_layers(runner);
    step_outputs_raw(runner, ys);
}

#if ELSTM_LINKS_F32

static void step_inputs_f32(elstm_runner *runner, const float *const *xs) {
    const uint32_t count = runner->model->inputs;
    for (uint32_t k = 0; k < count; ++k)
        enter_f32(runner->kernels, &runner->tensors[k], xs[k], runner->limits.streams);
}

static void step_outputs_f32(elstm_runner *runner, float *const *ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs; ++k)
        leave_f32(runner->kernels, &runner->tensors[model->output[k].tensor], ys[k],
                  runner->limits.streams);
}

void elstm_enter_f32(elstm_runner *runner, const float *const *xs) {
    if (runner->even || uneven_begins(runner)) step_inputs_f32(runner, xs);
}

void elstm_leave_f32(elstm_runner *runner, float *const *ys) {
    if (runner->even)
        step_outputs_f32(runner, ys);
    else
        uneven_outputs(runner, (step_answers){.f32 = ys});
}

void elstm_step_f32(elstm_runner *runner, const float *const *xs, float *const *ys) {
    if (!runner->even) {
        if (!uneven_begins(runner)) return;
        step_inputs_f32(runner, xs);
        uneven_layers(runner);
        uneven_outputs(runner, (step_answers){.f32 = ys});
        return;
    }
    step_inputs_f32(runner, xs);
    step_layers(runner);
    step_outputs_f32(runner, ys);
}

#endif

/* ---- runs ---- */

/* Of a port's values as they stand in the example: f32, int16 of an s8 model, else its own. */
static const void *example_at(const elstm_model *model, const elstm_port *port, size_t at) {
    const elstm_type type = model->type == ELSTM_S8 ? ELSTM_S16 : port->type;
    return (const unsigned char *)elstm_example(model, port) + at * elstm_value_size(type);
}

static void enter_example(const elstm_runner *runner, uint32_t input, const elstm_tensor *tensor,
                          size_t at, uint32_t rows) {
    enter_raw(runner->kernels, tensor, example_at(runner->model, &runner->model->input[input], at),
              rows);
}

/* expected: a row of what example_at gives. */
static int answers_agree(const elstm_model *model, const elstm_tensor *tensor,
                         const void *expected) {
    if (model->type == ELSTM_TFL8)
        return memcmp(expected, tensor->data, tensor->width * elstm_value_size(tensor->type)) == 0;
    for (uint32_t k = 0; k < tensor->width; ++k) {
#if ELSTM_LINKS_F32
        if (tensor->type == ELSTM_F32) {
            const float want = ((const float *)expected)[k], got = ((const float *)tensor->data)[k];
            const float size = want < -1 ? -want : want > 1 ? want : 1;
            if (!(got - want <= 1e-5f * size && want - got <= 1e-5f * size)) return 0;
            continue;
        }
#endif
        const int32_t want = ((const int16_t *)expected)[k];
        const int32_t got = tensor->type == ELSTM_S16 ? ((const int16_t *)tensor->data)[k]
                                                      : ((const int8_t *)tensor->data)[k];
        if (got != want) return 0;
    }
    return 1;
}

/* Where a run's inputs come from and its answers go, so that the cutting into chunks is written
 * once: floats, integers, or the example inside the image, against which the answers are held. */
typedef struct {
    const float *const *xs_f32;
    float *const *ys_f32;
    const int16_t *const *xs_s8;
    int16_t *const *ys_s8;
    const void *const *xs_raw;
    void *const *ys_raw;
} run_doors;

/* Values that have left or entered before this chunk: `at`. */
static void run_enters(elstm_runner *runner, const run_doors *doors, uint32_t input, size_t at) {
    const elstm_tensor *tensor = &runner->tensors[input];
#if ELSTM_LINKS_F32
    if (doors->xs_f32 != NULL) {
        enter_f32(runner->kernels, tensor, doors->xs_f32[input] + at, tensor->rows);
        return;
    }
#endif
    if (doors->xs_s8 != NULL)
        enter_s8(tensor, doors->xs_s8[input] + at, tensor->rows);
    else if (doors->xs_raw != NULL)
        enter_raw(runner->kernels, tensor,
                  (const unsigned char *)doors->xs_raw[input] + at * elstm_value_size(tensor->type),
                  tensor->rows);
    else
        enter_example(runner, input, tensor, at, tensor->rows);
}

static int run_leaves(elstm_runner *runner, const run_doors *doors, uint32_t output, size_t at) {
    const elstm_port *port = &runner->model->output[output];
    elstm_tensor tensor = runner->tensors[port->tensor];
#if ELSTM_LINKS_F32
    if (doors->ys_f32 != NULL) {
        leave_f32(runner->kernels, &tensor, doors->ys_f32[output] + at, tensor.rows);
        return 1;
    }
#endif
    if (doors->ys_s8 != NULL) {
        leave_s8(&tensor, doors->ys_s8[output] + at, tensor.rows);
    } else if (doors->ys_raw != NULL) {
        leave_raw(&tensor,
                  (unsigned char *)doors->ys_raw[output] + at * elstm_value_size(tensor.type),
                  tensor.rows);
    } else {
        for (uint32_t row = 0; row < tensor.rows; ++row, at += tensor.width) {
            if (!answers_agree(runner->model, &tensor, example_at(runner->model, port, at)))
                return 0;
            tensor.data = (unsigned char *)tensor.data + tensor.row;
        }
    }
    return 1;
}

static elstm_status run(elstm_runner *runner, const run_doors *doors, uint32_t steps,
                        elstm_rows rows) {
    const elstm_model *model = runner->model;
    if (!model->causal && (steps > runner->limits.max_steps || rows == ELSTM_ROWS_EVERY))
        return ELSTM_ERR_UNSUPPORTED;
    for (uint32_t k = 0; k < model->inputs && !model->causal; ++k)
        if (runner->lengths[k] > runner->limits.max_steps) return ELSTM_ERR_UNSUPPORTED;
    if (elstm_run_refusal(runner, steps, rows).why != ELSTM_FITS) return ELSTM_ERR_UNSUPPORTED;
    if (!model->causal) elstm_reset(runner);
    runner->every = rows == ELSTM_ROWS_EVERY;
    size_t read[ELSTM_MAX_PORTS] = {0}, written[ELSTM_MAX_PORTS] = {0};
    for (uint32_t at = 0; at < steps;) {
        const uint32_t left = steps - at;
        const uint32_t chunk = left < runner->limits.max_steps ? left : runner->limits.max_steps;
        runner->final = chunk == left;
        begin_rows(runner, chunk);
        for (uint32_t k = 0; k < model->inputs; ++k) {
            const elstm_tensor *tensor = &runner->tensors[k];
            if (tensor->single && at > 0) continue;
            run_enters(runner, doors, k, read[k]);
            read[k] += (size_t)tensor->rows * tensor->width;
        }
        for (uint32_t k = 0; k < model->ops; ++k)
            runner->ops[k].layer->run(runner, &runner->ops[k]);
        for (uint32_t k = 0; k < model->outputs; ++k) {
            const elstm_tensor *tensor = &runner->tensors[model->output[k].tensor];
            if (tensor->single == ELSTM_CONSTANT && at > 0) continue;
            if (!run_leaves(runner, doors, k, written[k])) return ELSTM_ERR_SELF_CHECK;
            written[k] += (size_t)tensor->rows * tensor->width;
        }
        end_rows(runner, chunk);
        at += chunk;
    }
    return ELSTM_OK;
}

#if ELSTM_LINKS_F32
elstm_status elstm_run_f32(elstm_runner *runner, const float *const *xs, float *const *ys,
                           uint32_t steps, elstm_rows rows) {
    const run_doors doors = {.xs_f32 = xs, .ys_f32 = ys};
    return run(runner, &doors, steps, rows);
}
#endif

elstm_status elstm_run_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys,
                          uint32_t steps, elstm_rows rows) {
    const run_doors doors = {.xs_s8 = xs, .ys_s8 = ys};
    return run(runner, &doors, steps, rows);
}

elstm_status elstm_run_raw(elstm_runner *runner, const void *const *xs, void *const *ys,
                           uint32_t steps, elstm_rows rows) {
    const run_doors doors = {.xs_raw = xs, .ys_raw = ys};
    return run(runner, &doors, steps, rows);
}

/* ---- self-check ---- */

/* The example enters every stream; every stream must give its answers. */
static int example_step(elstm_runner *runner, uint32_t step) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->inputs; ++k) {
        elstm_tensor tensor = runner->tensors[k];
        const size_t at = tensor.single ? 0 : (size_t)step * tensor.width;
        for (uint32_t stream = 0; stream < runner->limits.streams; ++stream) {
            enter_example(runner, k, &tensor, at, 1);
            tensor.data = (unsigned char *)tensor.data + tensor.row;
        }
    }
    step_layers(runner);
    for (uint32_t k = 0; k < model->outputs; ++k) {
        elstm_tensor tensor = runner->tensors[model->output[k].tensor];
        const size_t at = tensor.single == ELSTM_CONSTANT ? 0 : (size_t)step * tensor.width;
        const void *y = example_at(model, &model->output[k], at);
        for (uint32_t stream = 0; stream < runner->limits.streams; ++stream) {
            if (!answers_agree(model, &tensor, y)) return 0;
            tensor.data = (unsigned char *)tensor.data + tensor.row;
        }
    }
    return 1;
}

elstm_status elstm_self_check(elstm_runner *runner) {
    static const run_doors example = {.xs_f32 = NULL};
    const elstm_model *model = runner->model;
    elstm_status status = ELSTM_OK;
    elstm_reset(runner);
    elstm_set_lengths(runner, NULL);
    if (!runner->even && model->example_steps > 0)
        status = run(runner, &example, model->example_steps,
                     model->causal ? ELSTM_ROWS_EVERY : ELSTM_ROWS_MODEL);
    for (uint32_t step = 0; runner->even && step < model->example_steps && status == ELSTM_OK;
         ++step)
        if (!example_step(runner, step)) status = ELSTM_ERR_SELF_CHECK;
    elstm_reset(runner);
    return status;
}
