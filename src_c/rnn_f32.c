/* Simple RNN in float32. Equation: edgelstm/layers.py. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_rnn_f32 *l = &op->as.rnn_f32;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->activation = elstm_read_activation_f32(reader);
    l->clip = elstm_read_f32(reader);
    l->gaps.options = elstm_read_u32(reader);
    elstm_read_period(reader, &l->gaps);
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_PERIOD;
    if (reader->failed || l->gaps.options & ~known || io->in[0].type != ELSTM_F32 ||
        io->out[0].type != ELSTM_F32 || io->in[0].width != inputs || io->out[0].width != l->units ||
        io->writes != 1 || !elstm_elementwise(l->activation) || l->clip < 0 ||
        !elstm_gaps_fit(&l->gaps, io, ELSTM_F32, 1))
        return 0;
    if (l->gaps.options & ELSTM_INITIAL && io->in[io->reads - 1].width != l->units) return 0;
    l->span = elstm_span(l->units);
    l->gaps.flags_at = l->span * (uint32_t)sizeof(float);
    l->kernel = elstm_read_blocks_f32(reader, 1, l->units, inputs);
    l->recurrent = elstm_read_blocks_f32(reader, 1, l->units, l->units);
    l->bias = elstm_read_array(reader, elstm_rows_f32(&l->kernel), sizeof(float), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_rnn_f32 *l = &op->as.rnn_f32;
    const elstm_matrix_f32 bias = {l->bias, l->kernel.groups, l->kernel.gates, 1};
    (void)io;
    return elstm_blocks_f32_hold(&l->kernel, 1, l->units) &&
           elstm_blocks_f32_hold(&l->recurrent, 1, l->units) &&
           elstm_blocks_f32_hold(&bias, 1, l->units);
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.rnn_f32.gaps, io, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_rnn_f32 *l = &op->as.rnn_f32;
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    (void)kernels;
    sizes->state = elstm_gaps_state(&l->gaps, l->span * sizeof(float));
    sizes->scratch = block * streams * elstm_rows_f32(&l->kernel) * sizeof(float);
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_rnn_f32 *l = &op->as.rnn_f32;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, span = l->span;
    const size_t rows = elstm_rows_f32(&l->kernel), size = runner->model->state_size;
    unsigned char *state = runner->state + op->state_offset;
    float *y = (float *)out->data + (size_t)first * out->stride;
    float *z = runner->scratch;
    kernels->matmul_f32(&l->kernel, l->bias, (const float *)in->data + (size_t)first * in->stride,
                        in->stride, z, steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *start = elstm_gaps_start(runner, op, &l->gaps, own);
            if (start != NULL)
                memcpy(own, (const unsigned char *)start->data + stream * start->row,
                       start->width * sizeof(float));
        }
        kernels->matmul_f32(&l->recurrent, NULL, (const float *)(const void *)state,
                            size / sizeof(float), z, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, z += rows, y += out->stride) {
            unsigned char *own = state + stream * size;
            float *h = (float *)(void *)own;
            if (elstm_gaps_counts(runner, op, &l->gaps, first + step * streams + stream)) {
                elstm_clip_f32(z, l->clip, span);
                elstm_activate_f32(kernels, l->activation, z, span);
                for (uint32_t u = 0; u < span; ++u)
                    h[u] = z[u] < ELSTM_TINY && z[u] > -ELSTM_TINY ? 0 : z[u];
                elstm_gaps_note(&l->gaps, own);
            }
            elstm_gaps_repeat(&l->gaps, own, h, y, span * sizeof *h);
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

const elstm_layer elstm_layer_rnn_f32 = {
    .kind = ELSTM_KIND_RNN_F32,
    .most_reads = 3,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .step = step,
    .run = run,
};
