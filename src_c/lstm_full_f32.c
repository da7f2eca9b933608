/* LSTM with options in float32: masks, states to start from, c written too, a cell function of its
 * own, clips, peepholes, coupled gates, layer normalisation, a projection. Equations:
 * edgelstm/layers.py. */
#include "op.h"

#include <float.h>
#include <string.h>

static int is_plain(const elstm_lstm_full_f32 *l) {
    return l->gate.kind == ELSTM_SIGMOID && l->activation.kind == ELSTM_TANH &&
           l->cell.kind == ELSTM_TANH && l->cell_clip <= 0 && l->clip <= 0 &&
           !(l->gaps.options & (ELSTM_COUPLED | ELSTM_PEEPHOLE | ELSTM_PROJECTION | ELSTM_NORM));
}

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_lstm_full_f32 *l = &op->as.lstm_full_f32;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->outputs = elstm_read_u32(reader);
    l->gate = elstm_read_activation_f32(reader);
    l->activation = elstm_read_activation_f32(reader);
    l->cell = elstm_read_activation_f32(reader);
    l->cell_clip = elstm_read_f32(reader);
    l->clip = elstm_read_f32(reader);
    l->gaps.options = elstm_read_u32(reader);
    elstm_read_period(reader, &l->gaps);
    const uint32_t options = l->gaps.options;
    const uint32_t projected = ELSTM_PROJECTION_BIAS | ELSTM_PROJECTION_CLIP;
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_COUPLED | ELSTM_PEEPHOLE |
                           ELSTM_PROJECTION | ELSTM_PERIOD | ELSTM_NORM | projected;
    if (options & ELSTM_NORM && (l->norm_epsilon = elstm_read_f32(reader)) < FLT_MIN) return 0;
    if (options & ELSTM_PROJECTION_CLIP && !((l->projection_clip = elstm_read_f32(reader)) > 0))
        return 0;
    if (reader->failed || options & ~known || io->in[0].type != ELSTM_F32 ||
        io->in[0].width != inputs || io->out[0].width != l->outputs ||
        (io->writes == 2 && io->out[1].width != l->units) ||
        (!(options & ELSTM_PROJECTION) && (options & projected || l->outputs != l->units)) ||
        l->cell_clip < 0 || l->clip < 0 || !elstm_elementwise(l->gate) ||
        !elstm_elementwise(l->activation) || !elstm_elementwise(l->cell) ||
        !elstm_gaps_fit(&l->gaps, io, ELSTM_F32, 2))
        return 0;
    if (options & ELSTM_INITIAL &&
        (io->in[io->reads - 2].width != l->outputs || io->in[io->reads - 1].width != l->units))
        return 0;
    const uint32_t groups = elstm_groups(l->units);
    const uint64_t rows = (uint64_t)groups * 4 * ELSTM_GROUP;
    l->span = elstm_span(l->units);
    l->out_span = elstm_span(l->outputs);
    l->gaps.flags_at = (l->span + l->out_span) * (uint32_t)sizeof(float);
    l->kernel = (elstm_matrix_f32){elstm_read_array(reader, rows * inputs, sizeof(float), 64),
                                   groups, 4, inputs};
    l->recurrent = (elstm_matrix_f32){
        elstm_read_array(reader, rows * l->outputs, sizeof(float), 64), groups, 4, l->outputs};
    l->bias = elstm_read_array(reader, rows, sizeof(float), 16);
    if (options & ELSTM_PEEPHOLE)
        l->peephole = elstm_read_array(reader, (uint64_t)3 * l->span, sizeof(float), 16);
    if (options & ELSTM_PROJECTION)
        l->projection = elstm_read_blocks_f32(reader, 1, l->outputs, l->units);
    if (options & ELSTM_NORM) l->norm = elstm_read_array(reader, rows, sizeof(float), 16);
    if (options & ELSTM_PROJECTION_BIAS)
        l->projection_bias =
            elstm_read_array(reader, elstm_rows_f32(&l->projection), sizeof(float), 16);
    l->plain = (uint32_t)is_plain(l);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_lstm_full_f32 *l = &op->as.lstm_full_f32;
    const elstm_matrix_f32 bias = {l->bias, l->kernel.groups, 4, 1};
    const elstm_matrix_f32 norm = {l->norm, l->kernel.groups, 4, 1};
    const elstm_matrix_f32 peephole = {l->peephole, 3 * l->kernel.groups, 1, 1};
    const elstm_matrix_f32 offset = {l->projection_bias, l->projection.groups, l->projection.gates,
                                     1};
    (void)io;
    return elstm_matrix_f32_holds(&l->kernel, l->units) &&
           elstm_matrix_f32_holds(&l->recurrent, l->units) &&
           elstm_matrix_f32_holds(&bias, l->units) &&
           (l->norm == NULL || elstm_matrix_f32_holds(&norm, l->units)) &&
           (l->projection_bias == NULL || elstm_blocks_f32_hold(&offset, 1, l->outputs)) &&
           (l->peephole == NULL || elstm_blocks_f32_hold(&peephole, 3, l->units)) &&
           (!(l->gaps.options & ELSTM_PROJECTION) ||
            elstm_blocks_f32_hold(&l->projection, 1, l->outputs));
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.lstm_full_f32.gaps, io, time);
}

/* Scratch: what x gives each step of a block, then o p(c) and its projection. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_lstm_full_f32 *l = &op->as.lstm_full_f32;
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    (void)kernels;
    sizes->state = elstm_gaps_state(&l->gaps, l->gaps.flags_at);
    sizes->scratch = block * streams * elstm_rows_f32(&l->kernel) + l->span;
    if (l->gaps.options & ELSTM_PROJECTION) sizes->scratch += elstm_rows_f32(&l->projection);
    sizes->scratch *= sizeof(float);
}

/* Of a group's gate, numbered as in i f o; at: its first unit. */
static void peep(const elstm_lstm_full_f32 *l, uint32_t gate, uint32_t at, const float *c,
                 float *z) {
    if (l->peephole == NULL) return;
    const float *p = l->peephole + gate * l->span + at;
    for (uint32_t u = 0; u < ELSTM_GROUP; ++u) z[u] += p[u] * c[u];
}

/* Of a gate's values, z [groups][4][8] from its first one on, or of their squares; eight sums side
 * by side: short chains, small errors. */
static float mean_of(const float *z, uint32_t units, int squares) {
    float sums[ELSTM_GROUP] = {0}, total = 0;
    for (uint32_t u = 0; u < units; ++u) {
        const float v = z[u / ELSTM_GROUP * 4 * ELSTM_GROUP + u % ELSTM_GROUP];
        sums[u % ELSTM_GROUP] += squares ? v * v : v;
    }
    for (uint32_t k = 0; k < ELSTM_GROUP; ++k) total += sums[k];
    return total / (float)units;
}

static void centre(float *z, uint32_t units) {
    const float mean = mean_of(z, units, 0);
    for (uint32_t u = 0; u < units; ++u)
        z[u / ELSTM_GROUP * 4 * ELSTM_GROUP + u % ELSTM_GROUP] -= mean;
}

/* What enters the functions of a gate, numbered as in i f g o, of z behind the peepholes. */
static void normalise(const elstm_lstm_full_f32 *l, uint32_t gate, float *z) {
    if (l->norm == NULL) return;
    float *own = z + gate * ELSTM_GROUP;
    centre(own, l->units);
    centre(own, l->units); /* again: the mean is rounded as if its values were as large as it is */
    float variance = mean_of(own, l->units, 1);
    if (variance > FLT_MAX) { /* beside which epsilon is nothing */
        for (uint32_t u = 0; u < l->units; ++u)
            own[u / ELSTM_GROUP * 4 * ELSTM_GROUP + u % ELSTM_GROUP] *= 9.09494702e-13f; /* 2^-40 */
        variance = mean_of(own, l->units, 1);
    }
    const float root = elstm_inverse_root_f32(variance + l->norm_epsilon);
    for (uint32_t group = 0; group < l->kernel.groups; ++group) {
        const uint32_t at = (4 * group + gate) * ELSTM_GROUP;
        for (uint32_t k = at; k < at + ELSTM_GROUP; ++k)
            z[k] = z[k] * root * l->norm[k] + l->bias[k];
    }
}

/* z [groups][4][8] becomes gates in place; p = o p(c). */
static void cell(const elstm_kernels *kernels, const elstm_lstm_full_f32 *l, float *z, float *c,
                 float *p) {
    float *const own = z;
    for (uint32_t group = 0; group < l->kernel.groups; ++group, z += 4 * ELSTM_GROUP) {
        const uint32_t at = group * ELSTM_GROUP;
        peep(l, 0, at, c + at, z);
        peep(l, 1, at, c + at, z + 8);
    }
    z = own;
    for (uint32_t gate = 0; gate < 3; ++gate) normalise(l, gate, z);
    for (uint32_t group = 0; group < l->kernel.groups; ++group, z += 4 * ELSTM_GROUP) {
        const uint32_t at = group * ELSTM_GROUP;
        elstm_clip_f32(z, l->clip, 3 * ELSTM_GROUP);
        elstm_activate_f32(kernels, l->gate, z, 2 * ELSTM_GROUP);
        elstm_activate_f32(kernels, l->activation, z + 16, ELSTM_GROUP);
        if (l->gaps.options & ELSTM_COUPLED)
            for (uint32_t u = 0; u < ELSTM_GROUP; ++u) z[8 + u] = 1.0f - z[u];
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            float next = z[8 + u] * c[at + u] + z[u] * z[16 + u];
            next = next < ELSTM_TINY && next > -ELSTM_TINY ? 0 : next;
            if (l->cell_clip > 0) {
                next = next > l->cell_clip ? l->cell_clip : next;
                next = next < -l->cell_clip ? -l->cell_clip : next;
            }
            c[at + u] = next;
        }
        peep(l, 2, at, c + at, z + 24);
    }
    z = own;
    normalise(l, 3, z);
    for (uint32_t group = 0; group < l->kernel.groups; ++group, z += 4 * ELSTM_GROUP) {
        float a[ELSTM_GROUP];
        const uint32_t at = group * ELSTM_GROUP;
        memcpy(a, c + at, sizeof a);
        elstm_clip_f32(z + 24, l->clip, ELSTM_GROUP);
        elstm_activate_f32(kernels, l->gate, z + 24, ELSTM_GROUP);
        elstm_activate_f32(kernels, l->cell, a, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) p[at + u] = z[24 + u] * a[u];
    }
}

/* A stream's state is h, then c. */
static void start(const elstm_lstm_full_f32 *l, const elstm_tensor *from, const elstm_tensor *cs,
                  uint32_t stream, unsigned char *own) {
    memcpy(own, (const unsigned char *)from->data + stream * from->row,
           from->width * sizeof(float));
    memcpy(own + l->out_span * sizeof(float), (const unsigned char *)cs->data + stream * cs->row,
           cs->width * sizeof(float));
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_lstm_full_f32 *l = &op->as.lstm_full_f32;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams;
    const size_t rows = elstm_rows_f32(&l->kernel), size = runner->model->state_size;
    unsigned char *state = runner->state + op->state_offset;
    float *z = runner->scratch, *p = z + steps * streams * rows, *projected = p + l->span;
    if (l->norm != NULL) memset(z, 0, steps * streams * rows * sizeof *z);
    kernels->matmul_f32(&l->kernel, l->norm == NULL ? l->bias : NULL,
                        (const float *)in->data + (size_t)first * in->stride, in->stride, z,
                        steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *from = elstm_gaps_start(runner, op, &l->gaps, own);
            if (from != NULL)
                start(l, from, &runner->tensors[op->reads[op->read_count - 1]], stream, own);
        }
        kernels->matmul_f32(&l->recurrent, NULL, (const float *)(const void *)state,
                            size / sizeof(float), z, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, z += rows) {
            unsigned char *own = state + stream * size;
            const size_t row = first + step * streams + stream;
            float *h = (float *)(void *)own, *c = h + l->out_span;
            if (elstm_gaps_counts(runner, op, &l->gaps, row)) {
                if (l->plain) {
                    kernels->lstm_f32(z, c, h, p, l->kernel.groups);
                } else {
                    cell(kernels, l, z, c, p);
                    const float *made = p;
                    if (l->gaps.options & ELSTM_PROJECTION) {
                        memset(projected, 0, elstm_rows_f32(&l->projection) * sizeof *projected);
                        kernels->matmul_f32(&l->projection, l->projection_bias, p, 0, projected, 1);
                        elstm_clip_f32(projected, l->projection_clip, l->out_span);
                        made = projected;
                    }
                    memcpy(h, made, l->out_span * sizeof *h);
                }
                elstm_gaps_note(&l->gaps, own);
            }
            elstm_gaps_repeat(&l->gaps, own, h, (float *)out->data + row * out->stride,
                              l->out_span * sizeof *h);
            if (op->write_count == 2)
                memcpy((float *)out[1].data + row * out[1].stride, c, l->span * sizeof *c);
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

const elstm_layer elstm_layer_lstm_full_f32 = {
    .kind = ELSTM_KIND_LSTM_FULL_F32,
    .most_reads = 4,
    .most_writes = 2,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .step = step,
    .run = run,
};
