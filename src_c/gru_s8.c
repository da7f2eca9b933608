/* GRU in s8: int8 weights, an int16 state, and h, int8 or int16, made of it. Equations:
 * docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_gru_s8 *g = &op->as.gru_s8;
    g->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    g->gate = elstm_read_activation_s16(reader);
    g->activation = elstm_read_activation_s16(reader);
    g->gate_exponent = elstm_read_u16(reader);
    g->state_multiplier = (int32_t)elstm_read_u16(reader);
    g->hidden_multiplier = (int32_t)elstm_read_u16(reader);
    g->gate_limit = (int32_t)elstm_read_u16(reader);
    g->candidate_limit = (int32_t)elstm_read_u16(reader);
    g->gaps.options = elstm_read_u16(reader);
    elstm_skip_scale(reader); /* of the state */
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_RESET_AFTER | ELSTM_PERIOD;
    if (reader->failed || g->gaps.options & ~known) return 0;
    if (g->gaps.options & ELSTM_INITIAL) g->start = elstm_read_start_s8(reader);
    elstm_read_period(reader, &g->gaps);
    if (reader->failed || (in->type != ELSTM_S8 && in->type != ELSTM_S16) ||
        (out->type != ELSTM_S8 && out->type != ELSTM_S16) || in->width != inputs ||
        out->width != g->units || io->writes != 1 || g->gate.kind == ELSTM_S16_SOFTMAX ||
        g->activation.kind == ELSTM_S16_SOFTMAX || g->gate_exponent > 14 ||
        g->state_multiplier < 1 || g->state_multiplier > 32768 || g->hidden_multiplier < 1 ||
        g->hidden_multiplier > 32768 || g->gate_limit < 1 || g->gate_limit > 32767 ||
        g->candidate_limit < 1 || g->candidate_limit > 32767 ||
        !elstm_gaps_fit(&g->gaps, io, ELSTM_S16, 1))
        return 0;
    if (g->gaps.options & ELSTM_INITIAL && io->in[io->reads - 1].width != g->units) return 0;
    const int after = (g->gaps.options & ELSTM_RESET_AFTER) != 0;
    g->type = out->type;
    g->span = elstm_span(g->units);
    g->gaps.flags_at = g->span * (g->type == ELSTM_S8 ? 3 : 4);
    g->kernel = elstm_read_blocks_s8(reader, 3, g->units, inputs);
    g->recurrent = elstm_read_blocks_s8(reader, after ? 3 : 2, g->units, g->units);
    if (!after) g->candidate = elstm_read_blocks_s8(reader, 1, g->units, g->units);
    elstm_read_rows_s8(reader, elstm_rows_s8(&g->kernel), &g->rescale, &g->requantize);
    if (after) {
        g->reset_bias = elstm_read_array(reader, g->span, sizeof(int32_t), 16);
        g->reset.shift = elstm_read_array(reader, g->span, 1, 16);
        g->reset.multiplier = elstm_read_array(reader, g->span, sizeof(int16_t), 16);
    }
    elstm_read_table(reader, &g->gate);
    elstm_read_table(reader, &g->activation);
    return !reader->failed;
}

/* What the row of the sums adds of h. */
static int64_t recurrent_sum(const elstm_gru_s8 *g, uint32_t row) {
    if (row < 2 * g->span) return elstm_row_sum_s8(&g->recurrent, row, g->units);
    if (g->reset_bias != NULL || row >= 3 * g->span) return 0;
    return elstm_row_sum_s8(&g->candidate, row - 2 * g->span, g->units);
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_gru_s8 *g = &op->as.gru_s8;
    const elstm_form *in = &io->in[0];
    const int wide = in->type == ELSTM_S16;
    const int32_t most = g->type == ELSTM_S8 ? 128 : g->hidden_multiplier;
    for (uint32_t row = 0; row < elstm_rows_s8(&g->kernel); ++row) {
        const elstm_row_s8 own = {.sum_x = elstm_row_sum_s8(&g->kernel, row, in->width),
                                  .sum_h = recurrent_sum(g, row),
                                  .bias = g->rescale.bias[row],
                                  .kx = g->rescale.shift[row],
                                  .least = wide && g->type == ELSTM_S8 ? 0 : -4,
                                  .s = g->requantize.shift[row],
                                  .m = g->requantize.multiplier[row],
                                  .unused = row >= 3 * g->span || row % g->span >= g->units};
        if (!elstm_row_s8_holds(&own, wide, most)) return 0;
    }
    if (g->reset_bias == NULL)
        return elstm_no_weights_s8(&g->recurrent, 2 * g->span) &&
               elstm_no_weights_s8(&g->candidate, g->span);
    for (uint32_t u = 0; u < g->span; ++u) {
        const elstm_row_s8 own = {.sum_h =
                                      elstm_row_sum_s8(&g->recurrent, 2 * g->span + u, g->units),
                                  .bias = g->reset_bias[u],
                                  .s = g->reset.shift[u],
                                  .m = g->reset.multiplier[u],
                                  .unused = u >= g->units};
        if (!elstm_row_s8_holds(&own, wide, most)) return 0;
    }
    return elstm_no_weights_s8(&g->recurrent, 3 * g->span);
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.gru_s8.gaps, io, time);
}

/* Scratch: what x gives each step of a block, the sums of one step, where the reset comes before
 * the candidate's, then as int16 z, r, n, what r multiplies, and what it leaves of h. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_gru_s8 *g = &op->as.gru_s8;
    const uint64_t rows = elstm_rows_s8(&g->kernel), rows_h = elstm_rows_s8(&g->recurrent);
    const uint64_t rows_n = g->reset_bias == NULL ? elstm_rows_s8(&g->candidate) : 0;
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    sizes->state = elstm_gaps_state(&g->gaps, g->gaps.flags_at);
    sizes->prepared = kernels->prepare_s8 == NULL ? 0 : (rows + rows_h + rows_n) * sizeof(int32_t);
    sizes->scratch = ((block * rows + rows_h) * streams + rows_n) * sizeof(int32_t) +
                     (uint64_t)5 * g->span * sizeof(int16_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_gru_s8 *g = &op->as.gru_s8;
    int32_t *at = elstm_prepare_s8(runner->kernels, &g->kernel, op->prepared);
    at = elstm_prepare_s8(runner->kernels, &g->recurrent, at);
    if (g->reset_bias == NULL) elstm_prepare_s8(runner->kernels, &g->candidate, at);
}

/* n [span] of the sums x [span] that x gives and those of h that r multiplies. */
static void reset_after(const elstm_kernels *kernels, const elstm_gru_s8 *g, const int32_t *x,
                        const int32_t *sums, const int16_t *r, int16_t *n) {
    const uint32_t span = g->span, places = 15 - g->gate_exponent;
    const elstm_requantize rows = {g->requantize.shift + 2 * span,
                                   g->requantize.multiplier + 2 * span, NULL, 0};
    int16_t *kept = n + span;
    kernels->requantize_s8(x, &rows, n, span);
    kernels->requantize_s8(sums, &g->reset, kept, span);
    kernels->reset_s16(r, kept, places, n, span);
}

/* n [span] of the sums x [span] that x gives and of what r leaves of the state; acc: for its sums.
 */
static void reset_before(const elstm_kernels *kernels, const elstm_gru_s8 *g, const int32_t *x,
                         const int16_t *state, const int16_t *r, int32_t *acc, int16_t *n) {
    const uint32_t span = g->span, places = 15 - g->gate_exponent;
    const elstm_requantize rows = {g->requantize.shift + 2 * span,
                                   g->requantize.multiplier + 2 * span, NULL, 0};
    int16_t *kept = n + span, *h = n + 2 * span;
    for (uint32_t u = 0; u < span; ++u)
        kept[u] = (int16_t)elstm_sat16(elstm_rs(r[u] * state[u], places));
    elstm_hidden_s16(kept, g->hidden_multiplier, g->type, h, span);
    memcpy(acc, x, span * sizeof *acc);
    elstm_product_s8(kernels, &g->candidate, NULL, g->type, h, 0, acc, 1);
    kernels->requantize_s8(acc, &rows, n, span);
}

/* x [3][span]: what x gives; sums [2 or 3][span]: z and r whole, and what r multiplies. work: 5 *
 * span. */
static void cell(const elstm_kernels *kernels, const elstm_gru_s8 *g, const int32_t *x,
                 const int32_t *sums, unsigned char *own, int32_t *acc, int16_t *work) {
    const uint32_t span = g->span;
    int16_t *state = (int16_t *)(void *)own, *n = work + 2 * span;
    kernels->requantize_s8(sums, &g->requantize, work, 2 * span);
    elstm_clip_s16(work, g->gate_limit, 2 * span);
    elstm_activate_s16(kernels, &g->gate, work, 2 * span);
    if (g->reset_bias != NULL)
        reset_after(kernels, g, x + 2 * span, sums + 2 * span, work + span, n);
    else
        reset_before(kernels, g, x + 2 * span, state, work + span, acc, n);
    elstm_clip_s16(n, g->candidate_limit, span);
    elstm_activate_s16(kernels, &g->activation, n, span);
    const elstm_update_s8 update = {state,
                                    state + span,
                                    g->type,
                                    g->state_multiplier,
                                    g->hidden_multiplier,
                                    15 - g->gate_exponent};
    kernels->update_s8(work, n, &update, span);
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_gru_s8 *g = &op->as.gru_s8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, span = g->span;
    const size_t rows = elstm_rows_s8(&g->kernel), rows_h = elstm_rows_s8(&g->recurrent);
    const size_t size = runner->model->state_size;
    const size_t width = g->type == ELSTM_S8 ? 1 : 2; /* bytes of an h */
    const size_t h_at = 2 * (size_t)span;
    unsigned char *state = runner->state + op->state_offset;
    unsigned char *y = (unsigned char *)out->data + first * out->row;
    int32_t *x = runner->scratch, *sums = x + steps * streams * rows;
    int32_t *acc = sums + streams * rows_h;
    int16_t *work =
        (int16_t *)(void *)(acc + (g->reset_bias == NULL ? elstm_rows_s8(&g->candidate) : 0));
    elstm_product_s8(kernels, &g->kernel, &g->rescale, in->type,
                     (const unsigned char *)in->data + first * in->row, in->stride, x,
                     steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *start = elstm_gaps_start(runner, op, &g->gaps, own);
            int32_t *z = sums + stream * rows_h;
            if (start != NULL) {
                elstm_start_state_s8(start, stream, g->start, 32767, ELSTM_S16, own);
                elstm_hidden_s16((const int16_t *)(const void *)own, g->hidden_multiplier, g->type,
                                 own + h_at, span);
            }
            memcpy(z, x + stream * rows, 2 * span * sizeof *z);
            if (g->reset_bias != NULL) memcpy(z + 2 * span, g->reset_bias, span * sizeof *z);
        }
        elstm_product_s8(kernels, &g->recurrent, NULL, g->type, state + h_at, size / width, sums,
                         streams);
        for (uint32_t stream = 0; stream < streams; ++stream, x += rows, y += out->row) {
            unsigned char *own = state + stream * size;
            if (elstm_gaps_counts(runner, op, &g->gaps, first + step * streams + stream)) {
                cell(kernels, g, x, sums + stream * rows_h, own, acc, work);
                elstm_gaps_note(&g->gaps, own);
            }
            elstm_gaps_repeat(&g->gaps, own, own + h_at, y, span * width);
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

const elstm_layer elstm_layer_gru_s8 = {
    .kind = ELSTM_KIND_GRU_S8,
    .most_reads = 3,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
