/* Dense in s8: int8 weights, int8 or int16 in, int16 out. Equations: docs/numerics.md. */
#include "op.h"

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_dense_s8 *d = &op->as.dense_s8;
    d->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    d->activation = elstm_read_activation_s16(reader);
    elstm_read_zeros(reader, 2);
    if (reader->failed || (in->type != ELSTM_S8 && in->type != ELSTM_S16) ||
        out->type != ELSTM_S16 || in->width != inputs || out->width != d->units)
        return 0;
    const uint32_t groups = elstm_groups(d->units), quads = (inputs + 3) / 4;
    const uint64_t rows = (uint64_t)groups * ELSTM_GROUP;
    d->kernel = (elstm_matrix_s8){elstm_read_array(reader, rows * quads * 4, 1, 64), NULL, groups,
                                  1, quads};
    d->rescale.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    d->rescale.shift = elstm_read_array(reader, rows, 1, 16);
    d->requantize.shift = elstm_read_array(reader, rows, 1, 16);
    d->requantize.multiplier = elstm_read_array(reader, rows, sizeof(int16_t), 16);
    elstm_read_table(reader, &d->activation);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0];
    const elstm_dense_s8 *d = &op->as.dense_s8;
    const int32_t least = in->type == ELSTM_S16 ? 0 : -4;
    const elstm_rows_s8_check rows = {&d->kernel, NULL,     &d->rescale, &d->requantize, d->units,
                                      in->width,  in->type, 0,           least};
    return elstm_rows_s8_hold(&rows);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const uint64_t rows = elstm_rows_s8(&op->as.dense_s8.kernel);
    (void)io;
    (void)streams;
    sizes->prepared = kernels->prepare_s8 == NULL ? 0 : rows * sizeof(int32_t);
    sizes->scratch = rows * sizeof(int32_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_prepare_s8(runner->kernels, &op->as.dense_s8.kernel, op->prepared);
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_dense_s8 *d = &op->as.dense_s8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t padded = elstm_rows_s8(&d->kernel);
    int32_t *acc = runner->scratch;
    for (uint32_t k = 0; k < count; ++k) {
        const size_t at = (size_t)k * in->stride;
        int16_t *y = (int16_t *)out->data + (size_t)k * out->stride;
        if (in->type == ELSTM_S16)
            kernels->matmul_s16(&d->kernel, &d->rescale, (const int16_t *)in->data + at, in->stride,
                                acc, 1);
        else
            kernels->matmul_s8(&d->kernel, &d->rescale, (const int8_t *)in->data + at, in->stride,
                               acc, 1);
        kernels->requantize_s8(acc, &d->requantize, y, padded);
        elstm_activate_s16(kernels, &d->activation, y, d->units);
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_dense_s8 = {
    .kind = ELSTM_KIND_DENSE_S8,
    .decode = decode,
    .check = check,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
