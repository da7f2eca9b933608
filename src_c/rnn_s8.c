/* Simple RNN in s8: int8 weights, int8 or int16 h. Equation: docs/numerics.md. */
#include "op.h"

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_rnn_s8 *l = &op->as.rnn_s8;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->activation = elstm_read_activation_s16(reader);
    l->hidden_multiplier = (int32_t)elstm_read_u16(reader);
    l->limit = (int32_t)elstm_read_u16(reader);
    l->gaps.options = elstm_read_u16(reader);
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_PERIOD;
    if (reader->failed || l->gaps.options & ~known) return 0;
    if (l->gaps.options & ELSTM_INITIAL) l->start = elstm_read_start_s8(reader);
    elstm_read_period(reader, &l->gaps);
    if (reader->failed || (in->type != ELSTM_S8 && in->type != ELSTM_S16) ||
        (out->type != ELSTM_S8 && out->type != ELSTM_S16) || in->width != inputs ||
        out->width != l->units || io->writes != 1 || l->activation.kind == ELSTM_S16_SOFTMAX ||
        l->hidden_multiplier < 1 || l->hidden_multiplier > 32767 || l->limit < 1 ||
        l->limit > 32767 || !elstm_gaps_fit(&l->gaps, io, ELSTM_S16, 1))
        return 0;
    if (l->gaps.options & ELSTM_INITIAL && io->in[io->reads - 1].width != l->units) return 0;
    l->type = out->type;
    l->span = elstm_span(l->units);
    l->gaps.flags_at = l->span * (l->type == ELSTM_S8 ? 1 : 2);
    l->kernel = elstm_read_blocks_s8(reader, 1, l->units, inputs);
    l->recurrent = elstm_read_blocks_s8(reader, 1, l->units, l->units);
    elstm_read_rows_s8(reader, elstm_rows_s8(&l->kernel), &l->rescale, &l->requantize);
    elstm_read_table(reader, &l->activation);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_rnn_s8 *l = &op->as.rnn_s8;
    const elstm_form *in = &io->in[0];
    const int wide = in->type == ELSTM_S16;
    const int32_t most = l->type == ELSTM_S8 ? 128 : l->hidden_multiplier;
    for (uint32_t row = 0; row < elstm_rows_s8(&l->kernel); ++row) {
        const elstm_row_s8 own = {.sum_x = elstm_row_sum_s8(&l->kernel, row, in->width),
                                  .sum_h = elstm_row_sum_s8(&l->recurrent, row, l->units),
                                  .bias = l->rescale.bias[row],
                                  .kx = l->rescale.shift[row],
                                  .least = wide && l->type == ELSTM_S8 ? 0 : -4,
                                  .s = l->requantize.shift[row],
                                  .m = l->requantize.multiplier[row],
                                  .unused = row >= l->units};
        if (!elstm_row_s8_holds(&own, wide, most)) return 0;
    }
    return 1;
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.rnn_s8.gaps, io, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_rnn_s8 *l = &op->as.rnn_s8;
    const uint64_t rows = elstm_rows_s8(&l->kernel);
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    sizes->state = elstm_gaps_state(&l->gaps, l->gaps.flags_at);
    sizes->prepared = kernels->prepare_s8 == NULL ? 0 : 2 * rows * sizeof(int32_t);
    sizes->scratch = block * streams * rows * sizeof(int32_t) + l->span * sizeof(int16_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_rnn_s8 *l = &op->as.rnn_s8;
    int32_t *at = elstm_prepare_s8(runner->kernels, &l->kernel, op->prepared);
    elstm_prepare_s8(runner->kernels, &l->recurrent, at);
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_rnn_s8 *l = &op->as.rnn_s8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, span = l->span;
    const size_t rows = elstm_rows_s8(&l->kernel), size = runner->model->state_size;
    const size_t width = l->type == ELSTM_S8 ? 1 : 2; /* bytes of an h */
    unsigned char *state = runner->state + op->state_offset;
    unsigned char *y = (unsigned char *)out->data + first * out->row;
    int32_t *acc = runner->scratch;
    int16_t *z = (int16_t *)(void *)(acc + steps * streams * rows);
    elstm_product_s8(kernels, &l->kernel, &l->rescale, in->type,
                     (const unsigned char *)in->data + first * in->row, in->stride, acc,
                     steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *start = elstm_gaps_start(runner, op, &l->gaps, own);
            if (start != NULL)
                elstm_start_state_s8(start, stream, l->start,
                                     l->type == ELSTM_S8 ? 127 : l->hidden_multiplier, l->type,
                                     own);
        }
        elstm_product_s8(kernels, &l->recurrent, NULL, l->type, state, size / width, acc, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, acc += rows, y += out->row) {
            unsigned char *own = state + stream * size;
            if (elstm_gaps_counts(runner, op, &l->gaps, first + step * streams + stream)) {
                kernels->requantize_s8(acc, &l->requantize, z, span);
                elstm_clip_s16(z, l->limit, span);
                elstm_activate_s16(kernels, &l->activation, z, span);
                elstm_hidden_s16(z, l->hidden_multiplier, l->type, own, span);
                elstm_gaps_note(&l->gaps, own);
            }
            elstm_gaps_repeat(&l->gaps, own, own, y, span * width);
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) { block(runner, op, 0, 1); }

static void run(elstm_runner *runner, const elstm_op *op) {
    const uint32_t streams = runner->limits.streams, steps = runner->tensors[op->in].rows / streams;
    for (uint32_t at = 0; at < steps; at += ELSTM_BLOCK_STEPS)
        block(runner, op, at * streams,
              steps - at < ELSTM_BLOCK_STEPS ? steps - at : ELSTM_BLOCK_STEPS);
}

const elstm_layer elstm_layer_rnn_s8 = {
    .kind = ELSTM_KIND_RNN_S8,
    .most_reads = 3,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
