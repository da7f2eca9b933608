/* An activation that stands alone, in float32. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    op->as.activate_f32 = elstm_read_activation_f32(reader);
    return !reader->failed && in->type == ELSTM_F32 && out->type == ELSTM_F32 &&
           in->width == out->width;
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k) {
        float *y = (float *)out->data + (size_t)k * out->stride;
        memcpy(y, (const float *)in->data + (size_t)k * in->stride, in->width * sizeof *y);
        elstm_activate_f32(runner->kernels, op->as.activate_f32, y, in->width);
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_activate_f32 = {
    .kind = ELSTM_KIND_ACTIVATE_F32,
    .decode = decode,
    .step = step,
    .run = run,
};
