/* Attention in float32: each query's mean of the values, weighted by softmax over the keys' scores.
 */
#include "op.h"

#include <string.h>

#define MASKED (-1e9f) /* the score of a key that does not count */

enum { QUERIES, VALUES, KEYS, MASK };

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_attention *a = &op->as.attention;
    a->scale = elstm_read_f32(reader);
    a->heads = elstm_read_u32(reader);
    a->causal = elstm_read_u32(reader);
    a->masked = elstm_read_u32(reader);
    const uint32_t additive = elstm_read_u32(reader), width = io->in[QUERIES].width;
    if (reader->failed || a->causal > 1 || a->masked > 1 || additive > 1 ||
        io->reads != 3 + a->masked || a->heads < 1 || (additive && a->heads != 1) ||
        io->in[KEYS].width != width || width % a->heads != 0 ||
        io->in[VALUES].width % a->heads != 0 || io->out[0].width != io->in[VALUES].width ||
        (a->masked && io->in[MASK].width != 1) || io->out[0].type != ELSTM_F32)
        return 0;
    for (uint32_t k = 0; k < io->reads; ++k)
        if (io->in[k].type != ELSTM_F32) return 0;
    if (additive) a->additive = elstm_read_array(reader, width, sizeof(float), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const uint32_t width = io->in[QUERIES].width;
    return op->as.attention.additive == NULL ||
           elstm_values_f32_hold(op->as.attention.additive, width, width);
}

/* Values, keys and their mask are sequences with as many rows as one another. */
static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    for (uint32_t k = VALUES; k < io->reads; ++k) {
        if (io->in[k].single != ELSTM_SEQUENCE) return 0;
        time->together |= 1u << k;
    }
    if (time->single == ELSTM_CONSTANT) time->single = ELSTM_SINGLE;
    time->waits = 1;
    return 1;
}

/* A score a key, then what tanh is taken of. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const uint64_t values = op->as.attention.additive == NULL ? 0 : io->in[QUERIES].width;
    (void)kernels, (void)streams;
    sizes->scratch = (io->in[KEYS].rows + values) * sizeof(float);
}

/* Eight sums side by side. */
static float product(const float *restrict a, const float *restrict b, uint32_t width) {
    float sums[8] = {0}, total = 0;
    uint32_t u = 0;
    for (; u + 8 <= width; u += 8)
        for (uint32_t k = 0; k < 8; ++k) sums[k] += a[u + k] * b[u + k];
    for (; u < width; ++u) total += a[u] * b[u];
    for (uint32_t k = 0; k < 8; ++k) total += sums[k];
    return total;
}

static float similarity(const elstm_runner *runner, const elstm_attention *a, const float *q,
                        const float *key, uint32_t width, float *sum) {
    if (a->additive == NULL) return product(q, key, width);
    for (uint32_t u = 0; u < width; ++u) sum[u] = q[u] + key[u];
    runner->kernels->tanh_f32(sum, width);
    return product(a->additive, sum, width);
}

static const float *row(const elstm_tensor *tensor, uint32_t k) {
    return (const float *)tensor->data + (size_t)k * tensor->stride;
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const elstm_attention *a = &op->as.attention;
    const elstm_tensor *queries = &runner->tensors[op->reads[QUERIES]];
    const elstm_tensor *values = &runner->tensors[op->reads[VALUES]];
    const elstm_tensor *keys = &runner->tensors[op->reads[KEYS]];
    const elstm_tensor *mask = a->masked ? &runner->tensors[op->reads[MASK]] : NULL;
    const elstm_tensor *out = &runner->tensors[op->out];
    const uint32_t width = queries->width / a->heads, part = values->width / a->heads;
    const elstm_activation_f32 softmax = {ELSTM_SOFTMAX, 0, 0, 0};
    float *scores = runner->scratch, *sum = scores + keys->rows;
    if (keys->rows == 0) return;
    for (uint32_t k = 0; k < queries->rows * a->heads; ++k) {
        const uint32_t query = k / a->heads, head = k % a->heads;
        float *restrict y = (float *)out->data + (size_t)query * out->stride + head * part;
        for (uint32_t j = 0; j < keys->rows; ++j) {
            const int counts = !(a->causal && j > query) &&
                               (mask == NULL || row(mask, j)[0] < 0 || row(mask, j)[0] > 0);
            scores[j] = counts
                            ? a->scale * similarity(runner, a, row(queries, query) + head * width,
                                                    row(keys, j) + head * width, width, sum)
                            : MASKED;
        }
        elstm_activate_f32(runner->kernels, softmax, scores, keys->rows);
        memset(y, 0, part * sizeof *y);
        for (uint32_t j = 0; j < keys->rows; ++j) {
            const float *restrict v = row(values, j) + head * part;
            const float weight = scores[j];
            for (uint32_t u = 0; u < part; ++u) y[u] += weight * v[u];
        }
    }
}

const elstm_layer elstm_layer_attention_f32 = {.kind = ELSTM_KIND_ATTENTION_F32,
                                               .most_reads = 4,
                                               .decode = decode,
                                               .check = check,
                                               .time = when,
                                               .sizes = sizes,
                                               .run = run};
