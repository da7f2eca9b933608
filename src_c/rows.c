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

/* Sum of |w| over a row; -1 where a weight is -128 or the padding past `columns` is not 0. */
static int64_t row_sum(const elstm_matrix_s8 *w, uint32_t row, uint32_t columns) {
    const uint32_t lanes = w->gates * ELSTM_GROUP;
    const int8_t *at =
        w->weights + (size_t)(row / lanes) * w->quads * lanes * 4 + (size_t)(row % lanes) * 4;
    int64_t sum = 0;
    for (uint32_t quad = 0; quad < w->quads; ++quad, at += (size_t)lanes * 4) {
        for (uint32_t k = 0; k < 4; ++k) {
            if (at[k] == -128 || (quad * 4 + k >= columns && at[k] != 0)) return -1;
            sum += at[k] < 0 ? -at[k] : at[k];
        }
    }
    return sum;
}

int elstm_rows_s8_hold(const elstm_rows_s8_check *rows) {
    const elstm_matrix_s8 *w = rows->kernel;
    const int wide = rows->input_type == ELSTM_S16;
    const int64_t limit = (int64_t)1 << 27;
    for (uint32_t row = 0; row < elstm_rows_s8(w); ++row) {
        const uint32_t unit = row / (w->gates * ELSTM_GROUP) * ELSTM_GROUP + row % ELSTM_GROUP;
        const int32_t kx = rows->rescale->shift[row], s = rows->requantize->shift[row];
        const int32_t m = rows->requantize->multiplier[row];
        const int64_t sum_x = row_sum(w, row, rows->inputs);
        const int64_t sum_h =
            rows->recurrent == NULL ? 0 : row_sum(rows->recurrent, row, rows->units);
        const int64_t bias = rows->rescale->bias[row];
        if (sum_x < 0 || sum_h < 0 || m < 0 || s < -4 || s > 27 || kx < rows->least || kx > 27)
            return 0;
        if (unit >= rows->units &&
            (sum_x != 0 || sum_h != 0 || bias != 0 || kx != 0 || s != 0 || m != 0))
            return 0;
        const int64_t ax = sum_x * (wide ? 32768 : 128);
        if (ax >= (int64_t)1 << 31) return 0;
        /* floor division loses less than 1 */
        const int64_t shifted = kx >= 0 ? (ax >> kx) + 1 : ax * ((int64_t)1 << -kx);
        if (shifted + (bias < 0 ? -bias : bias) + sum_h * rows->most >= limit) return 0;
    }
    return 1;
}
