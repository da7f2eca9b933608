/* What must hold of an image's weights before a kernel may run over them. */
#include "op.h"

#include <string.h>

uint32_t elstm_groups(uint32_t units) { return (units + ELSTM_GROUP - 1) / ELSTM_GROUP; }

int32_t *elstm_prepare_s8(const elstm_kernels *kernels, elstm_matrix_s8 *matrix, int32_t *at) {
    if (kernels->prepare_s8 == NULL) return at;
    kernels->prepare_s8(matrix, at);
    matrix->surplus = at;
    return at + elstm_rows_s8(matrix);
}

int elstm_matrix_f32_holds(const elstm_matrix_f32 *matrix, uint32_t units) {
    const float *w = matrix->weights;
    for (uint32_t group = 0; group < matrix->groups; ++group) {
        for (uint64_t k = 0; k < (uint64_t)matrix->columns * matrix->gates * ELSTM_GROUP;
             ++k, ++w) {
            uint32_t bits;
            memcpy(&bits, w, sizeof bits);
            if ((bits & 0x7F800000u) == 0x7F800000u) return 0; /* NaN or infinite */
            if (group * ELSTM_GROUP + k % ELSTM_GROUP >= units && bits != 0) return 0;
        }
    }
    return 1;
}

int elstm_values_f32_hold(const float *values, uint32_t count, uint32_t padded) {
    for (uint32_t k = 0; k < padded; ++k) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if ((bits & 0x7F800000u) == 0x7F800000u || (k >= count && bits != 0)) return 0;
    }
    return 1;
}

int64_t elstm_row_sum_s8(const elstm_matrix_s8 *w, uint32_t row, uint32_t columns) {
    const uint32_t lanes = w->gates * ELSTM_GROUP;
    const int8_t *at = w->weights + (size_t)(row / lanes) * w->quads * lanes * 4 +
                       row % lanes * elstm_lanes_apart(w);
    int64_t sum = 0;
    for (uint32_t quad = 0; quad < w->quads; ++quad, at += elstm_quads_apart(w)) {
        for (uint32_t k = 0; k < 4; ++k) {
            if (at[k] == -128 || (quad * 4 + k >= columns && at[k] != 0)) return -1;
            sum += at[k] < 0 ? -at[k] : at[k];
        }
    }
    return sum;
}

int elstm_row_s8_holds(const elstm_row_s8 *row, int wide, int32_t most) {
    const int64_t bias = row->bias < 0 ? -(int64_t)row->bias : row->bias;
    const int32_t kx = row->kx;
    if (row->sum_x < 0 || row->sum_h < 0 || row->m < 0 || row->s < -4 || row->s > 27 ||
        kx < row->least || kx > 27)
        return 0;
    if (row->unused &&
        (row->sum_x != 0 || row->sum_h != 0 || bias != 0 || kx != 0 || row->s != 0 || row->m != 0))
        return 0;
    const int64_t ax = row->sum_x * (wide ? 32768 : 128);
    if (ax >= (int64_t)1 << 31) return 0;
    /* floor division loses less than 1 */
    const int64_t shifted = kx >= 0 ? (ax >> kx) + 1 : ax * ((int64_t)1 << -kx);
    return shifted + bias + row->added + row->sum_h * most < (int64_t)1 << 27;
}

int elstm_rows_s8_hold(const elstm_rows_s8_check *rows) {
    const elstm_matrix_s8 *w = rows->kernel;
    elstm_row_s8 row = {.least = rows->least};
    for (uint32_t r = 0; r < elstm_rows_s8(w); ++r) {
        const uint32_t unit = r / (w->gates * ELSTM_GROUP) * ELSTM_GROUP + r % ELSTM_GROUP;
        row.sum_x = elstm_row_sum_s8(w, r, rows->inputs);
        if (rows->recurrent != NULL) row.sum_h = elstm_row_sum_s8(rows->recurrent, r, rows->units);
        row.bias = rows->rescale->bias[r];
        row.kx = rows->rescale->shift[r];
        row.s = rows->requantize->shift[r];
        row.m = rows->requantize->multiplier[r];
        row.unused = unit >= rows->units;
        if (!elstm_row_s8_holds(&row, rows->input_type == ELSTM_S16, rows->most)) return 0;
    }
    return 1;
}
