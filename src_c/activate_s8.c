/* An activation that stands alone, in s8: int8 or int16 in, int16 out. See docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_activate_s8 *a = &op->as.activate_s8;
    a->activation = elstm_read_activation_s16(reader);
    const uint32_t shift = elstm_read_u8(reader);
    a->shift = (int32_t)shift - (shift > 127 ? 256 : 0);
    elstm_read_zeros(reader, 1);
    a->multiplier = (int32_t)elstm_read_u16(reader);
    elstm_read_zeros(reader, 2);
    elstm_read_table(reader, &a->activation);
    return !reader->failed && (in->type == ELSTM_S8 || in->type == ELSTM_S16) &&
           out->type == ELSTM_S16 && in->width == out->width && a->shift >= -4 && a->shift <= 27 &&
           a->multiplier <= 32767;
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_activate_s8 *a = &op->as.activate_s8;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k) {
        const size_t at = (size_t)k * in->stride;
        int16_t *y = (int16_t *)out->data + (size_t)k * out->stride;
        for (uint32_t j = 0; j < in->width; ++j) {
            const int32_t x = in->type == ELSTM_S8 ? ((const int8_t *)in->data)[at + j]
                                                   : ((const int16_t *)in->data)[at + j];
            y[j] = elstm_requantize_one(256 * x, a->shift, a->multiplier);
        }
        elstm_activate_s16(runner->kernels, &a->activation, y, in->width);
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_activate_s8 = {
    .kind = ELSTM_KIND_ACTIVATE_S8,
    .decode = decode,
    .step = step,
    .run = run,
};
