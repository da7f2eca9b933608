/* Dense in float32: y = activation(W x + b). */
#include "op.h"

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_dense_f32 *d = &op->as.dense_f32;
    d->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    d->activation = elstm_read_activation_f32(reader);
    if (reader->failed || in->type != ELSTM_F32 || out->type != ELSTM_F32 || in->width != inputs ||
        out->width != d->units)
        return 0;
    const uint32_t groups = elstm_groups(d->units);
    const uint64_t rows = (uint64_t)groups * ELSTM_GROUP;
    d->kernel = (elstm_matrix_f32){elstm_read_array(reader, rows * inputs, sizeof(float), 64),
                                   groups, 1, inputs};
    d->bias = elstm_read_array(reader, rows, sizeof(float), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_dense_f32 *d = &op->as.dense_f32;
    const elstm_matrix_f32 bias = {d->bias, d->kernel.groups, 1, 1};
    (void)io;
    return elstm_matrix_f32_holds(&d->kernel, d->units) && elstm_matrix_f32_holds(&bias, d->units);
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_dense_f32 *d = &op->as.dense_f32;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    float *y = out->data;
    runner->kernels->matmul_f32(&d->kernel, d->bias, in->data, in->stride, y, count);
    if (d->activation.kind == ELSTM_LINEAR) return;
    for (uint32_t k = 0; k < count; ++k, y += out->stride)
        elstm_activate_f32(runner->kernels, d->activation, y, d->units);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_dense_f32 = {
    .kind = ELSTM_KIND_DENSE_F32,
    .decode = decode,
    .check = check,
    .step = step,
    .run = run,
};
