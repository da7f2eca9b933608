/* What layers of full-int8 TFLite models share: factors, bounds of sums, QUANTIZE. */
#include "fixedpoint.h"
#include "op.h"

int elstm_factor_holds(elstm_factor f) {
    return (f.m == 0 && f.s == 0) || (f.m >= 1 << 30 && f.s >= -31 && f.s <= 15);
}

elstm_factor elstm_read_factor(elstm_reader *reader) {
    const uint32_t m = elstm_read_u32(reader), s = elstm_read_u8(reader);
    elstm_read_zeros(reader, 3);
    const elstm_factor f = {(int32_t)(m & 0x7FFFFFFFu), (int32_t)s - (s > 127 ? 256 : 0)};
    if (m > 0x7FFFFFFFu || !elstm_factor_holds(f)) reader->failed = 1;
    return f;
}

int elstm_sums_tfl8_hold(const elstm_matrix_s8 *w, const int32_t *bias, uint32_t units,
                         uint32_t columns) {
    for (uint32_t row = 0; row < elstm_rows_s8(w); ++row) {
        const uint32_t unit = row / (w->gates * ELSTM_GROUP) * ELSTM_GROUP + row % ELSTM_GROUP;
        const int64_t sum = elstm_row_sum_s8(w, row, columns);
        const int64_t most = bias[row] < 0 ? -(int64_t)bias[row] : bias[row];
        if (sum < 0 || 128 * sum + most >= (int64_t)1 << 30) return 0;
        if (unit >= units && (sum != 0 || most != 0)) return 0;
    }
    return 1;
}

/* x - whole * scale, exact where whole is a small number next to x / scale: the product may need 33
 * bits, so the scale is cut into two halves of 12. */
static float rest_of(float x, float whole, float scale) {
    if (whole >= -1.0f && whole <= 1.0f) return x - whole * scale;
    const float wide = scale * 4097.0f, upper = wide - (wide - scale);
    return (x - whole * upper) - whole * (scale - upper);
}

int32_t elstm_quantize_tfl8(float x, const elstm_tensor *to, uint32_t ties) {
    const int32_t most = to->type == ELSTM_S8 ? 127 : 32767, least = -most - 1;
    const float q = ties == ELSTM_TIES_AWAY ? x / to->scale : x * to->reciprocal;
    if (!(q < 65536.0f)) return most; /* NaN does not enter */
    if (q < -65536.0f) return least;
    int32_t whole = (int32_t)q; /* towards 0 */
    if (ties == ELSTM_TIES_EVEN) {
        /* adding and taking away 1.5 * 2^23 rounds to nearest, ties to even */
        whole = (int32_t)((q + 12582912.0f) - 12582912.0f);
    } else {
        const float part = q - (float)whole;
        whole += (part >= 0.5f) - (part <= -0.5f);
    }
    if (ties == ELSTM_TIES_EXACT) {
        const float half = 0.5f * to->scale, rest = rest_of(x, (float)whole, to->scale);
        whole += x > 0 ? (rest >= half) - (rest < -half) : (rest > half) - (rest <= -half);
    }
    whole += to->zero;
    return whole < least ? least : whole > most ? most : whole;
}

/* To nearest, ties to even, of what may be any size. */
static int32_t nearest_f32(float v) {
    if (v > 1024.0f) return 1024;
    if (!(v > -1024.0f)) return -1024;
    const float raised = v + 12582912.0f;
    return (int32_t)(raised - 12582912.0f);
}

void elstm_mean_f32(const elstm_reduce *reduce, const int64_t *sum, uint32_t count, int8_t *y,
                    const elstm_tensor *in) {
    const float n = (float)count, factor = reduce->ratio / n;
    const float zeros = (float)in->zero * n;
    const float taken = zeros * factor, bias = (float)reduce->zero - taken;
    for (uint32_t u = 0; u < in->width; ++u) {
        const float product = (float)elstm_held(sum[u]) * factor;
        const int32_t v = nearest_f32(product + bias);
        y[u] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
    }
}

void elstm_dequantize_tfl8(const elstm_tensor *of, uint32_t row, float *y) {
    const unsigned char *at = (const unsigned char *)of->data + (size_t)row * of->row;
    for (uint32_t k = 0; k < of->width; ++k) {
        const int32_t q =
            of->type == ELSTM_S8 ? ((const int8_t *)at)[k] : ((const int16_t *)(const void *)at)[k];
        y[k] = of->scale * (float)(q - of->zero);
    }
}
