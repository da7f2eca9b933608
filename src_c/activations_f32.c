/* Activations other than a cell's sigmoid and tanh, and the constants of those two, in floats. No
 * libm. */
#include "activations.h"

#include <string.h>

const float elstm_tanh_p[7] = {1.0f,
                               0.131245434f,
                               0.00314964028f,
                               1.1647302e-05f,
                               -2.23497896e-08f,
                               6.39384448e-11f,
                               -1.16777573e-13f};
const float elstm_tanh_q[4] = {1.0f, 0.464578748f, 0.0246759318f, 0.00026134841f};

/* 2^k for -126 <= k <= 127. */
static float power_of_two(int32_t k) {
    const uint32_t bits = (uint32_t)(k + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* e^x - 1, relative error below 3e-7; saturates to -1 and to e^88 - 1. x = k ln 2 + r with |r| <=
 * ln 2 / 2, Taylor series in r: its first dropped term is r^9 / 9! < 2e-10. */
static float expm1_f32(float x) {
    if (x != x) return x; /* what sums of huge weights may overflow to; no integer stands for it */
    if (x < -17.5f) return -1.0f;
    if (x > 88.0f) x = 88.0f;
    const float scaled = x * 1.44269504f;
    const int32_t k = (int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    const float r = (x - (float)k * 0.693359375f) + (float)k * 2.12194440e-4f;
    float p = 2.48015873e-05f;
    p = p * r + 1.98412698e-04f;
    p = p * r + 1.38888889e-03f;
    p = p * r + 8.33333333e-03f;
    p = p * r + 4.16666667e-02f;
    p = p * r + 1.66666667e-01f;
    p = p * r + 0.5f;
    const float em1 = p * r * r + r;
    if (k == 0) return em1;
    /* 2^127 * 2 in two factors, so that k = 127 and 128 do not overflow on the way */
    const float half = power_of_two(k - 1);
    return 2.0f * (em1 * half + (half - 0.5f));
}

/* e^x, relative error below 3e-7; 0 below -87, e^88 above 88. */
static float exp_f32(float x) {
    if (x < -87.0f) return 0.0f;
    if (x < -1.0f) {
        const float inverse = expm1_f32(-x) + 1.0f;
        return 1.0f / inverse;
    }
    return expm1_f32(x) + 1.0f;
}

/* ln(1 + x) for 0 <= x <= 1: 2 atanh(s) with s = x / (2 + x) <= 1/3; first dropped term 2 s^17 / 17
 * < 1e-9. */
static float log1p_f32(float x) {
    const float s = x / (2.0f + x), u = s * s;
    float p = 1.0f / 15;
    p = p * u + 1.0f / 13;
    p = p * u + 1.0f / 11;
    p = p * u + 1.0f / 9;
    p = p * u + 1.0f / 7;
    p = p * u + 1.0f / 5;
    p = p * u + 1.0f / 3;
    return 2.0f * s * (p * u + 1.0f);
}

/* erf: Maclaurin series below 2 in steps of its own ratio, continued fraction of erfc above; error
 * below 3e-7. */
static float erf_f32(float x) {
    const float a = x < 0 ? -x : x;
    if (a > 4.0f) return x < 0 ? -1.0f : 1.0f;
    float value;
    if (a < 2.0f) {
        /* erf(a) = 2 / sqrt(pi) e^(-a^2) sum 2^n a^(2n+1) / (2n+1)!!: all terms positive, nothing
         * cancels */
        const float u = 2.0f * a * a;
        float term = a, sum = a;
        for (uint32_t n = 1; n < 28; ++n) {
            term *= u / (float)(2 * n + 1);
            sum += term;
        }
        value = 1.12837917f * exp_f32(-a * a) * sum;
    } else {
        float fraction = a;
        for (int32_t n = 24; n > 0; --n) fraction = a + 0.5f * (float)n / fraction;
        value = 1.0f - 0.564189584f * exp_f32(-a * a) / fraction;
    }
    return x < 0 ? -value : value;
}

/* 1 / (1 + e^-x) with a small relative error at both ends, where the cells' sigmoid has a small
 * absolute one. */
static float sigmoid_f32(float x) {
    const float e = exp_f32(x < 0 ? x : -x);
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

static float clip(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

/* tanh with a small relative error: e / (e + 2), e = e^2x - 1. */
static float tanh_f32(float x) {
    const float e = expm1_f32(2.0f * x);
    return e / (e + 2.0f);
}

/* x tanh(ln(1 + e)), e = e^x: (1 + e)^2 - 1 = e (e + 2) over (1 + e)^2 + 1. */
static float mish_f32(float x) {
    if (x > 20.0f) return x;
    const float e = exp_f32(x), n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
}

/* ln(1 + e^x). */
static float softplus_f32(float x) { return (x < 0 ? 0 : x) + log1p_f32(exp_f32(x < 0 ? x : -x)); }

/* sqrt of v from 0 on: a guess from the exponent within 3.5 %, then Newton's steps, each of which
 * squares the error. */
static float root_f32(float v) {
    uint32_t bits;
    float y;
    if (!(v > 0)) return v;
    memcpy(&bits, &v, sizeof bits);
    bits = 0x1FBD1DF5u + (bits >> 1);
    memcpy(&y, &bits, sizeof y);
    for (int k = 0; k < 4; ++k) y = 0.5f * (y + v / y);
    return y;
}

/* A guess as above, then Newton's steps. */
float elstm_inverse_root_f32(float v) {
    uint32_t bits;
    float y;
    memcpy(&bits, &v, sizeof bits);
    bits = 0x5F375A86u - (bits >> 1);
    memcpy(&y, &bits, sizeof y);
    for (int k = 0; k < 4; ++k) y = y * (1.5f - 0.5f * v * y * y);
    return y;
}

/* (x + sqrt(x^2 + b)) / 2; below 0 what is the same without a difference. */
static float squareplus_f32(float x, float b) {
    const float a = x < 0 ? -x : x;
    if (a > 1e18f) return x < 0 ? 0 : x; /* b is nothing beside x^2, which may overflow */
    const float sum = a + root_f32(x * x + b);
    if (x >= 0) return 0.5f * sum;
    return sum > 0 ? 0.5f * (b / sum) : 0;
}

/* ln v of v from 1 on, finite: the exponent's ln 2s and ln(1 + fraction). */
static float log_f32(float v) {
    uint32_t bits;
    float fraction;
    memcpy(&bits, &v, sizeof bits);
    const int32_t exponent = (int32_t)(bits >> 23 & 255) - 127;
    bits = (bits & 0x7FFFFFu) | 0x3F800000u;
    memcpy(&fraction, &bits, sizeof fraction);
    return (float)exponent * 0.693147181f + log1p_f32(fraction - 1.0f);
}

static void log_softmax_f32(float *v, uint32_t count) {
    float most = v[0], sum = 0;
    for (uint32_t k = 1; k < count; ++k) most = v[k] > most ? v[k] : most;
    for (uint32_t k = 0; k < count; ++k) sum += exp_f32(v[k] - most);
    sum = log_f32(sum);
    for (uint32_t k = 0; k < count; ++k) v[k] = (v[k] - most) - sum;
}

static void softmax_f32(float *v, uint32_t count) {
    float most = v[0], sum = 0;
    for (uint32_t k = 1; k < count; ++k) most = v[k] > most ? v[k] : most;
    for (uint32_t k = 0; k < count; ++k) sum += v[k] = exp_f32(v[k] - most);
    for (uint32_t k = 0; k < count; ++k) v[k] /= sum;
}

static float elementwise_f32(elstm_activation_f32 f, float v) {
    const float a = f.alpha, b = f.beta;
    switch (f.kind) {
    case ELSTM_RELU: return v < 0 ? 0 : v;
    case ELSTM_RELU6: return clip(v, 0, 6);
    case ELSTM_LEAKY_RELU: return v < 0 ? a * v : v;
    case ELSTM_ELU: return v < 0 ? a * expm1_f32(v) : v;
    case ELSTM_SELU: return 1.05070099f * (v < 0 ? 1.67326324f * expm1_f32(v) : v);
    case ELSTM_SOFTPLUS: return softplus_f32(v);
    case ELSTM_SOFTSIGN: return v / (1.0f + (v < 0 ? -v : v));
    case ELSTM_GELU: return 0.5f * v * (1.0f + erf_f32(0.707106781f * v));
    /* 0.5 (1 + tanh(t)) = sigmoid(2 t); sqrt(8 / pi) = 1.5957691 */
    case ELSTM_GELU_TANH: return v * sigmoid_f32(1.59576912f * (v + 0.044715f * v * v * v));
    case ELSTM_SILU: return v * sigmoid_f32(v);
    case ELSTM_EXPONENTIAL: return exp_f32(v);
    case ELSTM_HARD_SIGMOID: return clip(v * (1.0f / 6) + 0.5f, 0, 1);
    case ELSTM_HARD_SIGMOID_FIFTH: return clip(0.2f * v + 0.5f, 0, 1);
    case ELSTM_CLIP: v = v < a ? a : v; return v > b ? b : v; /* crossed bounds give the upper */
    case ELSTM_RAMP: return clip(a * v + b, 0, 1);
    case ELSTM_AFFINE: return a * v + b;
    case ELSTM_RECTIFY: return v > a ? (v > f.gamma ? f.gamma : v) : b * (v - a);
    case ELSTM_THRESHOLD: return v > a ? v : b;
    case ELSTM_SHRINK: return v < -a ? v + b : v > a ? v - b : 0;
    case ELSTM_TANH_SHRINK: return v - tanh_f32(v);
    case ELSTM_SQUAREPLUS: return squareplus_f32(v, a);
    case ELSTM_SPARSE_PLUS: return v < -1 ? 0 : v > 1 ? v : 0.25f * (v + 1) * (v + 1);
    case ELSTM_HARD_SILU: return v * clip(v * (1.0f / 6) + 0.5f, 0, 1);
    case ELSTM_MISH: return mish_f32(v);
    case ELSTM_CELU: return v < 0 ? a * expm1_f32(v / a) : v;
    case ELSTM_SCALED_SOFTPLUS: return a * v > b ? v : softplus_f32(a * v) / a;
    case ELSTM_SCALED_TANH: return a * tanh_f32(b * v);
    default: return v;
    }
}

void elstm_activate_f32(const elstm_kernels *kernels, elstm_activation_f32 f, float *v,
                        uint32_t count) {
    switch (f.kind) {
    case ELSTM_LINEAR: return;
    case ELSTM_SIGMOID: kernels->sigmoid_f32(v, count); return;
    case ELSTM_TANH: kernels->tanh_f32(v, count); return;
    case ELSTM_SOFTMAX: softmax_f32(v, count); return;
    case ELSTM_LOG_SOFTMAX: log_softmax_f32(v, count); return;
    default:
        for (uint32_t k = 0; k < count; ++k) v[k] = elementwise_f32(f, v[k]);
    }
}
