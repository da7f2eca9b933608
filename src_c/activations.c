/* Activations other than a cell's sigmoid and tanh, and the constants of those two, in s8. */
#include "activations.h"
#include "fixedpoint.h"

const int16_t elstm_tanh_c0[8] = {37, 225, 787, 2146, 4972, 10053, 17807, 27611};
const int16_t elstm_tanh_c1[8] = {44, 163, 435, 983, 1916, 3208, 4497, 5158};
const int16_t elstm_tanh_c2[8] = {16, 45, 98, 183, 285, 343, 266, 45};
const int16_t elstm_tanh_c3[8] = {5, 5, 11, 14, 14, 0, -28, -44};

/* A table's value at `at` 256ths: entry at >> 8, interpolated to the next. */
static int32_t interpolate(const int16_t *table, uint32_t at) {
    const int32_t low = table[at >> 8], high = table[(at >> 8) + 1];
    return low + (((high - low) * (int32_t)(at & 255) + 128) >> 8);
}

/* The same of v where each of two jumps ends the line of its entry and begins another. */
static int32_t interpolate_jumps(const int16_t *table, int32_t v) {
    const uint32_t entry = (uint32_t)(v + 32768) >> 8;
    int32_t low = table[entry], high = table[entry + 1];
    for (const int16_t *jump = table + 257; jump < table + 263; jump += 3) {
        if ((uint32_t)(jump[0] + 32768) >> 8 != entry) continue;
        if (v > jump[0])
            low = jump[2];
        else
            high = jump[1];
    }
    return low + (((high - low) * (v & 255) + 128) >> 8);
}

static void softmax_s16(const elstm_activation_s16 *f, int16_t *v, uint32_t count) {
    int32_t most = v[0];
    uint32_t sum = 0;
    for (uint32_t k = 1; k < count; ++k) most = v[k] > most ? v[k] : most;
    for (uint32_t k = 0; k < count; ++k) {
        uint32_t d = (uint32_t)(most - v[k]);
        for (uint32_t n = 0; n < f->doublings; ++n) d = d > 32767 ? 65535 : 2 * d;
        const int32_t e = interpolate(f->table, d);
        v[k] = (int16_t)e;
        sum += (uint32_t)e;
    }
    for (uint32_t k = 0; k < count; ++k) {
        const uint32_t e = (uint16_t)v[k];
        v[k] = (int16_t)((32767u * e + sum / 2) / sum);
    }
}

void elstm_activate_s16(const elstm_kernels *kernels, const elstm_activation_s16 *f, int16_t *v,
                        uint32_t count) {
    if (f->kind == ELSTM_S16_SOFTMAX) {
        softmax_s16(f, v, count);
        return;
    }
    for (uint32_t n = 0; n < f->doublings; ++n)
        for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)elstm_sat16(2 * v[k]);
    switch (f->kind) {
    case ELSTM_S16_SIGMOID: kernels->sigmoid_s16(v, count); return;
    case ELSTM_S16_TANH: kernels->tanh_s16(v, count); return;
    case ELSTM_S16_RELU:
        for (uint32_t k = 0; k < count; ++k) v[k] = v[k] < 0 ? 0 : v[k];
        return;
    case ELSTM_S16_TABLE:
        for (uint32_t k = 0; k < count; ++k)
            v[k] = (int16_t)interpolate(f->table, (uint32_t)(v[k] + 32768));
        return;
    case ELSTM_S16_JUMPS:
        for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)interpolate_jumps(f->table, v[k]);
        return;
    default: return;
    }
}
