/* GRU in float32. Equations: edgelstm/layers.py. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_gru_f32 *g = &op->as.gru_f32;
    g->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    g->gate = elstm_read_activation_f32(reader);
    g->activation = elstm_read_activation_f32(reader);
    g->clip = elstm_read_f32(reader);
    g->gaps.options = elstm_read_u32(reader);
    elstm_read_period(reader, &g->gaps);
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_RESET_AFTER | ELSTM_PERIOD;
    if (reader->failed || g->gaps.options & ~known || io->in[0].type != ELSTM_F32 ||
        io->out[0].type != ELSTM_F32 || io->in[0].width != inputs || io->out[0].width != g->units ||
        io->writes != 1 || !elstm_elementwise(g->gate) || !elstm_elementwise(g->activation) ||
        g->clip < 0 || !elstm_gaps_fit(&g->gaps, io, ELSTM_F32, 1))
        return 0;
    if (g->gaps.options & ELSTM_INITIAL && io->in[io->reads - 1].width != g->units) return 0;
    const int after = (g->gaps.options & ELSTM_RESET_AFTER) != 0;
    g->span = elstm_span(g->units);
    g->gaps.flags_at = g->span * (uint32_t)sizeof(float);
    g->kernel = elstm_read_blocks_f32(reader, 3, g->units, inputs);
    g->recurrent = elstm_read_blocks_f32(reader, after ? 3 : 2, g->units, g->units);
    if (!after) g->candidate = elstm_read_blocks_f32(reader, 1, g->units, g->units);
    g->bias = elstm_read_array(reader, elstm_rows_f32(&g->kernel), sizeof(float), 16);
    if (after) g->reset_bias = elstm_read_array(reader, g->span, sizeof(float), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_gru_f32 *g = &op->as.gru_f32;
    const elstm_matrix_f32 bias = {g->bias, g->kernel.groups, g->kernel.gates, 1};
    (void)io;
    if (!elstm_blocks_f32_hold(&g->kernel, 3, g->units) ||
        !elstm_blocks_f32_hold(&bias, 3, g->units))
        return 0;
    if (g->reset_bias == NULL)
        return elstm_blocks_f32_hold(&g->recurrent, 2, g->units) &&
               elstm_blocks_f32_hold(&g->candidate, 1, g->units);
    const elstm_matrix_f32 reset = {g->reset_bias, g->span / ELSTM_GROUP, 1, 1};
    return elstm_blocks_f32_hold(&g->recurrent, 3, g->units) &&
           elstm_blocks_f32_hold(&reset, 1, g->units);
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.gru_f32.gaps, io, time);
}

/* Scratch: what x gives each step of a block, the sums of one step, and before a reset what comes
 * of it. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_gru_f32 *g = &op->as.gru_f32;
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    (void)kernels;
    sizes->state = elstm_gaps_state(&g->gaps, g->span * sizeof(float));
    sizes->scratch = (block * elstm_rows_f32(&g->kernel) + elstm_rows_f32(&g->recurrent)) * streams;
    if (g->reset_bias == NULL) sizes->scratch += g->span + elstm_rows_f32(&g->candidate);
    sizes->scratch *= sizeof(float);
}

/* What r leaves of the state goes into the sums n [span] of the candidate. */
static void reset(const elstm_kernels *kernels, const elstm_gru_f32 *g, const float *r, float *n,
                  const float *sums, const float *h, float *scratch) {
    const uint32_t span = g->span;
    if (g->reset_bias != NULL) {
        for (uint32_t u = 0; u < span; ++u) n[u] += r[u] * sums[u];
        return;
    }
    float *after = scratch + span;
    for (uint32_t u = 0; u < span; ++u) scratch[u] = r[u] * h[u];
    memcpy(after, n, span * sizeof *after);
    kernels->matmul_f32(&g->candidate, NULL, scratch, 0, after, 1);
    memcpy(n, after, span * sizeof *after);
}

/* x [3][span]: what x gives; sums [2 or 3][span]: z and r whole, and what r multiplies. */
static void cell(const elstm_kernels *kernels, const elstm_gru_f32 *g, float *x, float *sums,
                 float *h, float *scratch) {
    const uint32_t span = g->span;
    elstm_clip_f32(sums, g->clip, 2 * span);
    elstm_activate_f32(kernels, g->gate, sums, 2 * span);
    float *n = x + 2 * span;
    reset(kernels, g, sums + span, n, sums + 2 * span, h, scratch);
    elstm_clip_f32(n, g->clip, span);
    elstm_activate_f32(kernels, g->activation, n, span);
    for (uint32_t u = 0; u < span; ++u) {
        const float next = sums[u] * h[u] + (1.0f - sums[u]) * n[u];
        h[u] = next < ELSTM_TINY && next > -ELSTM_TINY ? 0 : next;
    }
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_gru_f32 *g = &op->as.gru_f32;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, span = g->span;
    const size_t rows = elstm_rows_f32(&g->kernel), rows_h = elstm_rows_f32(&g->recurrent);
    const size_t size = runner->model->state_size;
    unsigned char *state = runner->state + op->state_offset;
    float *y = (float *)out->data + (size_t)first * out->stride;
    float *x = runner->scratch, *sums = x + steps * streams * rows;
    float *scratch = sums + streams * rows_h;
    kernels->matmul_f32(&g->kernel, g->bias, (const float *)in->data + (size_t)first * in->stride,
                        in->stride, x, steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *start = elstm_gaps_start(runner, op, &g->gaps, own);
            float *z = sums + stream * rows_h;
            if (start != NULL)
                memcpy(own, (const unsigned char *)start->data + stream * start->row,
                       start->width * sizeof(float));
            memcpy(z, x + stream * rows, 2 * span * sizeof *z);
            if (g->reset_bias != NULL) memcpy(z + 2 * span, g->reset_bias, span * sizeof *z);
        }
        kernels->matmul_f32(&g->recurrent, NULL, (const float *)(const void *)state,
                            size / sizeof(float), sums, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, x += rows, y += out->stride) {
            unsigned char *own = state + stream * size;
            float *h = (float *)(void *)own;
            if (elstm_gaps_counts(runner, op, &g->gaps, first + step * streams + stream)) {
                cell(kernels, g, x, sums + stream * rows_h, h, scratch);
                elstm_gaps_note(&g->gaps, own);
            }
            elstm_gaps_repeat(&g->gaps, own, h, y, span * sizeof *h);
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

const elstm_layer elstm_layer_gru_f32 = {
    .kind = ELSTM_KIND_GRU_F32,
    .most_reads = 3,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .step = step,
    .run = run,
};
