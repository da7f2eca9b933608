/* LSTM in float32. Equations: edgelstm/model.py. */
#include "op.h"

/* Steps whose input products are made at once: enough to read W seldom, few enough to keep the sums
 * in cache. */
#define BLOCK_STEPS 8

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_lstm_f32 *l = &op->as.lstm_f32;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->gate = elstm_read_activation_f32(reader);
    l->activation = elstm_read_activation_f32(reader);
    l->cell_clip = elstm_read_f32(reader);
    if (reader->failed || in->type != ELSTM_F32 || out->type != ELSTM_F32 || in->width != inputs ||
        out->width != l->units || !elstm_elementwise(l->gate) ||
        !elstm_elementwise(l->activation) || l->cell_clip < 0)
        return 0;
    const uint32_t groups = elstm_groups(l->units);
    const uint64_t rows = (uint64_t)groups * 4 * ELSTM_GROUP;
    l->kernel = (elstm_matrix_f32){elstm_read_array(reader, rows * inputs, sizeof(float), 64),
                                   groups, 4, inputs};
    l->recurrent = (elstm_matrix_f32){elstm_read_array(reader, rows * l->units, sizeof(float), 64),
                                      groups, 4, l->units};
    l->bias = elstm_read_array(reader, rows, sizeof(float), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_lstm_f32 *l = &op->as.lstm_f32;
    const elstm_matrix_f32 bias = {l->bias, l->kernel.groups, 4, 1};
    (void)io;
    return elstm_matrix_f32_holds(&l->kernel, l->units) &&
           elstm_matrix_f32_holds(&l->recurrent, l->units) &&
           elstm_matrix_f32_holds(&bias, l->units);
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_cell(io, 1, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const uint64_t units = (uint64_t)op->as.lstm_f32.kernel.groups * ELSTM_GROUP;
    const uint64_t block = io->in[0].rows < BLOCK_STEPS ? io->in[0].rows : BLOCK_STEPS;
    (void)kernels;
    sizes->state = 2 * units * sizeof(float); /* h, c */
    sizes->scratch = block * streams * 4 * units * sizeof(float);
}

/* The case that the cells of the kernels serve. */
static int is_plain(const elstm_lstm_f32 *l) {
    return l->gate.kind == ELSTM_SIGMOID && l->activation.kind == ELSTM_TANH && l->cell_clip <= 0;
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_lstm_f32 *l = &op->as.lstm_f32;
    l->all = (elstm_plain_f32){&l->kernel, &l->recurrent, l->bias};
    l->h = (float *)(void *)(runner->state + op->state_offset);
    l->c = l->h + l->kernel.groups * ELSTM_GROUP;
    l->joined = runner->limits.streams == 1 && is_plain(l) && runner->kernels->step_f32 != NULL;
}

/* Any activations, and the clip: z [groups][4][8] becomes gates in place. */
static void general(const elstm_kernels *kernels, const elstm_lstm_f32 *l, float *z, float *c,
                    float *h, float *y) {
    for (uint32_t group = 0; group < l->kernel.groups; ++group, z += 4 * ELSTM_GROUP) {
        float a[ELSTM_GROUP];
        const uint32_t at = group * ELSTM_GROUP;
        elstm_activate_f32(kernels, l->gate, z, 2 * ELSTM_GROUP);
        elstm_activate_f32(kernels, l->activation, z + 2 * ELSTM_GROUP, ELSTM_GROUP);
        elstm_activate_f32(kernels, l->gate, z + 3 * ELSTM_GROUP, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            float next = z[8 + u] * c[at + u] + z[u] * z[16 + u];
            next = next < ELSTM_TINY && next > -ELSTM_TINY ? 0 : next;
            if (l->cell_clip > 0) {
                next = next > l->cell_clip ? l->cell_clip : next;
                next = next < -l->cell_clip ? -l->cell_clip : next;
            }
            a[u] = c[at + u] = next;
        }
        elstm_activate_f32(kernels, l->activation, a, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) h[at + u] = y[at + u] = z[24 + u] * a[u];
    }
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_lstm_f32 *l = &op->as.lstm_f32;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, units = l->kernel.groups * ELSTM_GROUP;
    const size_t rows = (size_t)4 * units, stride = runner->model->state_size / sizeof(float);
    const int plain = is_plain(l);
    float *state = (float *)(void *)(runner->state + op->state_offset);
    const float *x = (const float *)in->data + (size_t)first * in->stride;
    float *y = (float *)out->data + (size_t)first * out->stride;
    float *z = runner->scratch;
    kernels->matmul_f32(&l->kernel, l->bias, x, in->stride, z, steps * streams);
    const int joined = streams == 1 && plain && kernels->recurrent_f32 != NULL;
    for (uint32_t step = 0; step < steps; ++step) {
        if (!joined) kernels->matmul_f32(&l->recurrent, NULL, state, stride, z, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, z += rows, y += out->stride) {
            float *h = state + stream * stride, *c = h + units;
            if (joined)
                kernels->recurrent_f32(&l->recurrent, z, c, h, y);
            else if (plain)
                kernels->lstm_f32(z, c, h, y, l->kernel.groups);
            else
                general(kernels, l, z, c, h, y);
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    const elstm_lstm_f32 *l = &op->as.lstm_f32;
    if (l->joined)
        runner->kernels->step_f32(&l->all, runner->tensors[op->in].data, runner->scratch, l->c,
                                  l->h, runner->tensors[op->out].data);
    else
        block(runner, op, 0, 1);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const uint32_t streams = runner->limits.streams, steps = runner->tensors[op->in].rows / streams;
    for (uint32_t at = 0; at < steps; at += BLOCK_STEPS)
        block(runner, op, at * streams, steps - at < BLOCK_STEPS ? steps - at : BLOCK_STEPS);
}

const elstm_layer elstm_layer_lstm_f32 = {
    .kind = ELSTM_KIND_LSTM_F32,
    .decode = decode,
    .check = check,
    .time = timing,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
