/* Mask: steps in which some value differs from one number count. Writes x, zeros in the other
 * steps, and the mask. */
#include "op.h"

#include <string.h>

static int decode_s8(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = io->out;
    const uint32_t value = elstm_read_u16(reader);
    op->as.mask.integer = (int32_t)value - (value > 32767 ? 65536 : 0);
    elstm_read_zeros(reader, 2);
    return !reader->failed && io->writes == 2 && in->type != ELSTM_F32 && out[0].type == in->type &&
           out[0].scale == in->scale && out[0].width == in->width && out[1].type == ELSTM_S16 &&
           out[1].width == 1 && out[1].scale == ELSTM_SCALE_ONE;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_sequence(io, time);
}

static int counts_s16(const int16_t *x, uint32_t width, int32_t value) {
    for (uint32_t u = 0; u < width; ++u)
        if (x[u] != value) return 1;
    return 0;
}

static int counts_s8(const int8_t *x, uint32_t width, int32_t value) {
    for (uint32_t u = 0; u < width; ++u)
        if (x[u] != value) return 1;
    return 0;
}

/* Row k of x, or zeros. */
static void pass(const elstm_tensor *in, const elstm_tensor *out, uint32_t k, int counts) {
    unsigned char *y = (unsigned char *)out->data + k * out->row;
    if (counts)
        memcpy(y, (const unsigned char *)in->data + k * in->row, in->row);
    else
        memset(y, 0, in->row);
}

static void rows_s8(const elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const elstm_tensor *mask = out + 1;
    const int32_t value = op->as.mask.integer;
    for (uint32_t k = 0; k < count; ++k) {
        const size_t at = (size_t)k * in->stride;
        const int counts = in->type == ELSTM_S16
                               ? counts_s16((const int16_t *)in->data + at, in->width, value)
                               : counts_s8((const int8_t *)in->data + at, in->width, value);
        pass(in, out, k, counts);
        ((int16_t *)mask->data)[(size_t)k * mask->stride] = (int16_t)counts;
    }
}

static void step_s8(elstm_runner *runner, const elstm_op *op) {
    rows_s8(runner, op, runner->limits.streams);
}

static void run_s8(elstm_runner *runner, const elstm_op *op) {
    rows_s8(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_mask_s8 = {.kind = ELSTM_KIND_MASK_S8,
                                         .most_writes = 2,
                                         .decode = decode_s8,
                                         .time = when,
                                         .step = step_s8,
                                         .run = run_s8};

#if ELSTM_LINKS_F32

static int decode_f32(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.mask.real = elstm_read_f32(reader);
    return !reader->failed && io->writes == 2 && io->in[0].type == ELSTM_F32 &&
           io->out[0].width == io->in[0].width && io->out[1].width == 1;
}

static int counts_f32(const float *x, uint32_t width, float value) {
    for (uint32_t u = 0; u < width; ++u)
        if (x[u] < value || x[u] > value) return 1;
    return 0;
}

static void rows_f32(const elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const elstm_tensor *mask = out + 1;
    for (uint32_t k = 0; k < count; ++k) {
        const float *x = (const float *)in->data + (size_t)k * in->stride;
        const int counts = counts_f32(x, in->width, op->as.mask.real);
        pass(in, out, k, counts);
        ((float *)mask->data)[(size_t)k * mask->stride] = counts ? 1.0f : 0.0f;
    }
}

static void step_f32(elstm_runner *runner, const elstm_op *op) {
    rows_f32(runner, op, runner->limits.streams);
}

static void run_f32(elstm_runner *runner, const elstm_op *op) {
    rows_f32(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_mask_f32 = {.kind = ELSTM_KIND_MASK_F32,
                                          .most_writes = 2,
                                          .decode = decode_f32,
                                          .time = when,
                                          .step = step_f32,
                                          .run = run_f32};

#endif
