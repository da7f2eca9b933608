/* Arena layout, reset, doors, and the walk over the ops. */
#include "op.h"

#include <float.h>
#include <string.h>

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

/* ---- arena ---- */

static size_t value_size(elstm_type type) {
    return type == ELSTM_F32 ? sizeof(float) : type == ELSTM_S16 ? sizeof(int16_t) : sizeof(int8_t);
}

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

static arena_map map_arena(const elstm_model *model, const elstm_kernels *kernels,
                           elstm_limits limits) {
    const uint64_t rows = (uint64_t)limits.max_steps * limits.streams;
    const uint64_t align = kernels->align;
    arena_map map = {0};
    uint64_t scratch = 0, prepared = 0, data = 0;
    elstm_walk walk;
    elstm_walk_start(&walk, model);
    for (uint32_t k = 0; k < model->ops; ++k) {
        elstm_op op;
        elstm_tensor in, out;
        elstm_sizes sizes = {0, 0, 0};
        if (elstm_walk_next(&walk, &op, &in, &out) != ELSTM_OK) {
            map.total = UINT64_MAX;
            return map;
        }
        if (op.layer->sizes != NULL) op.layer->sizes(&op, &in, kernels, limits, &sizes);
        scratch = sizes.scratch > scratch ? sizes.scratch : scratch;
        reserve(&prepared, sizes.prepared, align);
    }
    for (uint32_t k = 0; k < model->tensors; ++k) {
        elstm_tensor tensor;
        elstm_tensor_describe(model, k, &tensor);
        reserve(&data, rows * tensor.stride * value_size(tensor.type), align);
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
                             .scratch = base + map.scratch};
    uint64_t data = map.data, prepared = map.prepared;
    uint32_t state = 0;
    for (uint32_t k = 0; k < model->tensors; ++k) {
        elstm_tensor *tensor = &runner->tensors[k];
        elstm_tensor_describe(model, k, tensor);
        tensor->reciprocal = 1.0f / tensor->scale;
        tensor->row = tensor->stride * value_size(tensor->type);
        const uint64_t rows = (uint64_t)limits.max_steps * limits.streams;
        tensor->data =
            base + reserve(&data, rows * tensor->stride * value_size(tensor->type), align);
    }
    elstm_walk walk;
    elstm_walk_start(&walk, model);
    for (uint32_t k = 0; k < model->ops; ++k) {
        elstm_op *op = &runner->ops[k];
        elstm_tensor in, out;
        elstm_sizes sizes = {0, 0, 0};
        const elstm_status status = elstm_walk_next(&walk, op, &in, &out);
        if (status != ELSTM_OK) return status;
        if (op->layer->sizes != NULL) op->layer->sizes(op, &in, kernels, limits, &sizes);
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

static void enter_f32(const elstm_kernels *kernels, elstm_tensor *tensor, const float *x,
                      uint32_t rows) {
    unsigned char *data = tensor->data;
    tensor->rows = rows;
    for (; rows > 0; --rows, x += tensor->width, data += tensor->row) {
        if (tensor->type == ELSTM_F32)
            kernels->enter_f32(x, (float *)(void *)data, tensor->width);
        else
            kernels->enter_s16(x, tensor->reciprocal, (int16_t *)(void *)data, tensor->width);
    }
}

static void enter_s8(elstm_tensor *tensor, const int16_t *x, uint32_t rows) {
    unsigned char *data = tensor->data;
    tensor->rows = rows;
    for (; rows > 0; --rows, x += tensor->width, data += tensor->row)
        memcpy(data, x, tensor->width * sizeof *x);
}

static void leave_f32(const elstm_kernels *kernels, const elstm_tensor *tensor, float *y,
                      uint32_t rows) {
    const unsigned char *data = tensor->data;
    for (; rows > 0; --rows, y += tensor->width, data += tensor->row) {
        if (tensor->type == ELSTM_F32)
            memcpy(y, data, tensor->width * sizeof *y);
        else if (tensor->type == ELSTM_S16)
            kernels->leave_s16((const int16_t *)(const void *)data, tensor->scale, y,
                               tensor->width);
        else
            kernels->leave_s8((const int8_t *)data, tensor->scale, y, tensor->width);
    }
}

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

/* ---- steps and runs ---- */

/* The parts are static beside their public names: inside a shared library a call to a public name
 * is never inlined. */

static void step_inputs_f32(elstm_runner *runner, const float *const *xs) {
    const uint32_t count = runner->model->inputs;
    for (uint32_t k = 0; k < count; ++k)
        enter_f32(runner->kernels, &runner->tensors[k], xs[k], runner->limits.streams);
}

static void step_inputs_s8(elstm_runner *runner, const int16_t *const *xs) {
    const uint32_t count = runner->model->inputs;
    for (uint32_t k = 0; k < count; ++k)
        enter_s8(&runner->tensors[k], xs[k], runner->limits.streams);
}

static void step_layer(elstm_runner *runner, uint32_t layer) {
    runner->ops[layer].layer->step(runner, &runner->ops[layer]);
}

static void step_layers(elstm_runner *runner) {
    const uint32_t count = runner->model->ops;
    for (uint32_t k = 0; k < count; ++k) step_layer(runner, k);
}

static void step_outputs_f32(elstm_runner *runner, float *const *ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs; ++k)
        leave_f32(runner->kernels, &runner->tensors[model->output[k].tensor], ys[k],
                  runner->limits.streams);
}

static void step_outputs_s8(elstm_runner *runner, int16_t *const *ys) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->outputs; ++k)
        leave_s8(&runner->tensors[model->output[k].tensor], ys[k], runner->limits.streams);
}

void elstm_enter_f32(elstm_runner *runner, const float *const *xs) { step_inputs_f32(runner, xs); }

void elstm_enter_s8(elstm_runner *runner, const int16_t *const *xs) { step_inputs_s8(runner, xs); }

void elstm_step_layer(elstm_runner *runner, uint32_t layer) { step_layer(runner, layer); }

void elstm_leave_f32(elstm_runner *runner, float *const *ys) { step_outputs_f32(runner, ys); }

void elstm_leave_s8(elstm_runner *runner, int16_t *const *ys) { step_outputs_s8(runner, ys); }

void elstm_step_f32(elstm_runner *runner, const float *const *xs, float *const *ys) {
    step_inputs_f32(runner, xs);
    step_layers(runner);
    step_outputs_f32(runner, ys);
}

void elstm_step_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys) {
    step_inputs_s8(runner, xs);
    step_layers(runner);
    step_outputs_s8(runner, ys);
}

uint32_t elstm_output_rows(const elstm_runner *runner, uint32_t output, uint32_t steps,
                           elstm_rows rows) {
    return rows == ELSTM_ROWS_MODEL && runner->model->output[output].single && steps > 0 ? 1
                                                                                         : steps;
}

/* The two doors of a run, so that the cutting into chunks is written once. */
typedef struct {
    const float *const *xs_f32;
    float *const *ys_f32;
    const int16_t *const *xs_s8;
    int16_t *const *ys_s8;
} run_doors;

static elstm_status run(elstm_runner *runner, const run_doors *doors, uint32_t steps,
                        elstm_rows rows) {
    const elstm_model *model = runner->model;
    const uint32_t streams = runner->limits.streams;
    if (!model->causal && steps > runner->limits.max_steps) return ELSTM_ERR_UNSUPPORTED;
    runner->every = rows == ELSTM_ROWS_EVERY;
    size_t written[ELSTM_MAX_PORTS] = {0};
    for (uint32_t at = 0; at < steps;) {
        const uint32_t left = steps - at;
        const uint32_t chunk = left < runner->limits.max_steps ? left : runner->limits.max_steps;
        runner->final = chunk == left;
        for (uint32_t k = 0; k < model->inputs; ++k) {
            const size_t offset = (size_t)at * streams * model->input[k].width;
            if (doors->xs_f32 != NULL)
                enter_f32(runner->kernels, &runner->tensors[k], doors->xs_f32[k] + offset,
                          chunk * streams);
            else
                enter_s8(&runner->tensors[k], doors->xs_s8[k] + offset, chunk * streams);
        }
        for (uint32_t k = 0; k < model->ops; ++k)
            runner->ops[k].layer->run(runner, &runner->ops[k]);
        for (uint32_t k = 0; k < model->outputs; ++k) {
            const elstm_tensor *tensor = &runner->tensors[model->output[k].tensor];
            if (doors->ys_f32 != NULL)
                leave_f32(runner->kernels, tensor, doors->ys_f32[k] + written[k], tensor->rows);
            else
                leave_s8(tensor, doors->ys_s8[k] + written[k], tensor->rows);
            written[k] += (size_t)tensor->rows * tensor->width;
        }
        at += chunk;
    }
    return ELSTM_OK;
}

elstm_status elstm_run_f32(elstm_runner *runner, const float *const *xs, float *const *ys,
                           uint32_t steps, elstm_rows rows) {
    const run_doors doors = {xs, ys, NULL, NULL};
    return run(runner, &doors, steps, rows);
}

elstm_status elstm_run_s8(elstm_runner *runner, const int16_t *const *xs, int16_t *const *ys,
                          uint32_t steps, elstm_rows rows) {
    const run_doors doors = {NULL, NULL, xs, ys};
    return run(runner, &doors, steps, rows);
}

/* ---- self-check ---- */

static int answers_agree(const elstm_tensor *tensor, const void *expected, size_t at) {
    for (uint32_t k = 0; k < tensor->width; ++k) {
        if (tensor->type == ELSTM_F32) {
            const float want = ((const float *)expected)[at + k],
                        got = ((const float *)tensor->data)[k];
            const float size = want < -1 ? -want : want > 1 ? want : 1;
            if (!(got - want <= 1e-5f * size && want - got <= 1e-5f * size)) return 0;
        } else {
            const int32_t want = ((const int16_t *)expected)[at + k];
            const int32_t got = tensor->type == ELSTM_S16 ? ((const int16_t *)tensor->data)[k]
                                                          : ((const int8_t *)tensor->data)[k];
            if (got != want) return 0;
        }
    }
    return 1;
}

/* The example enters every stream; every stream must give its answers. */
static int example_step(elstm_runner *runner, uint32_t step) {
    const elstm_model *model = runner->model;
    for (uint32_t k = 0; k < model->inputs; ++k) {
        elstm_tensor tensor = runner->tensors[k];
        const size_t at = (size_t)step * tensor.width;
        const void *x = elstm_example(model, &model->input[k]);
        for (uint32_t stream = 0; stream < runner->limits.streams; ++stream) {
            if (model->type == ELSTM_F32)
                enter_f32(runner->kernels, &tensor, (const float *)x + at, 1);
            else
                enter_s8(&tensor, (const int16_t *)x + at, 1);
            tensor.data = (unsigned char *)tensor.data + tensor.stride * value_size(tensor.type);
        }
    }
    step_layers(runner);
    for (uint32_t k = 0; k < model->outputs; ++k) {
        elstm_tensor tensor = runner->tensors[model->output[k].tensor];
        const void *y = elstm_example(model, &model->output[k]);
        for (uint32_t stream = 0; stream < runner->limits.streams; ++stream) {
            if (!answers_agree(&tensor, y, (size_t)step * tensor.width)) return 0;
            tensor.data = (unsigned char *)tensor.data + tensor.stride * value_size(tensor.type);
        }
    }
    return 1;
}

elstm_status elstm_self_check(elstm_runner *runner) {
    elstm_status status = ELSTM_OK;
    elstm_reset(runner);
    for (uint32_t step = 0; step < runner->model->example_steps && status == ELSTM_OK; ++step)
        if (!example_step(runner, step)) status = ELSTM_ERR_SELF_CHECK;
    elstm_reset(runner);
    return status;
}
