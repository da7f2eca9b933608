/* The last step of a sequence; every step when each is asked for. Where each step has a row it
 * copies nothing: the tensor written is a view. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    (void)reader, (void)op;
    return io->in[0].type == io->out[0].type && io->in[0].width == io->out[0].width &&
           io->in[0].scale == io->out[0].scale;
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op, (void)io;
    if (time->single == ELSTM_SEQUENCE) time->single = ELSTM_SINGLE;
    return 1;
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    op->as.last.kept = runner->tensors[op->out].data;
}

static void step(elstm_runner *runner, const elstm_op *op) {
    runner->tensors[op->out].data = runner->tensors[op->in].data;
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in];
    elstm_tensor *out = &runner->tensors[op->out];
    const uint32_t last = in->rows == 0 ? 0 : in->rows - runner->limits.streams;
    unsigned char *row = (unsigned char *)in->data + last * in->row;
    if (runner->every || in->single) {
        out->data = in->data;
    } else if (runner->even) {
        out->data = row;
    } else { /* the last row may have come in an earlier chunk */
        out->data = op->as.last.kept;
        if (in->rows != 0) memcpy(out->data, row, in->row);
    }
}

const elstm_layer elstm_layer_last = {
    .kind = ELSTM_KIND_LAST,
    .decode = decode,
    .time = timing,
    .prepare = prepare,
    .step = step,
    .run = run,
};
