/* Private: the functions of a cell or a Dense layer. */
#ifndef ELSTM_ACTIVATIONS_H
#define ELSTM_ACTIVATIONS_H

#include "kernels.h"

/* Numbers as in the image; the order of edgelstm.layers.ACTIVATIONS. */
typedef enum {
    ELSTM_LINEAR,
    ELSTM_SIGMOID,
    ELSTM_TANH,
    ELSTM_RELU,
    ELSTM_RELU6,
    ELSTM_LEAKY_RELU,
    ELSTM_ELU,
    ELSTM_SELU,
    ELSTM_SOFTPLUS,
    ELSTM_SOFTSIGN,
    ELSTM_GELU,
    ELSTM_GELU_TANH,
    ELSTM_SILU,
    ELSTM_EXPONENTIAL,
    ELSTM_HARD_SIGMOID,
    ELSTM_HARD_SIGMOID_FIFTH,
    ELSTM_SOFTMAX,
    /* from here on with beta and gamma in the image */
    ELSTM_LOG_SOFTMAX,
    ELSTM_CLIP,
    ELSTM_RAMP,
    ELSTM_AFFINE,
    ELSTM_RECTIFY,
    ELSTM_THRESHOLD,
    ELSTM_SHRINK,
    ELSTM_TANH_SHRINK,
    ELSTM_SQUAREPLUS,
    ELSTM_SPARSE_PLUS,
    ELSTM_HARD_SILU,
    ELSTM_MISH,
    ELSTM_CELU,
    ELSTM_SCALED_SOFTPLUS,
    ELSTM_SCALED_TANH,
    ELSTM_ACTIVATIONS
} elstm_activation;

typedef struct {
    elstm_activation kind;
    float alpha, beta, gamma; /* docs/format.md says what they are to each */
} elstm_activation_f32;

/* Whether it works value by value, as a cell's must. */
static inline int elstm_elementwise(elstm_activation_f32 f) {
    return f.kind != ELSTM_SOFTMAX && f.kind != ELSTM_LOG_SOFTMAX;
}

/* An s8 model's functions: int16 to int16. */
typedef enum {
    ELSTM_S16_LINEAR,
    ELSTM_S16_SIGMOID,
    ELSTM_S16_TANH,
    ELSTM_S16_RELU,
    ELSTM_S16_TABLE,
    ELSTM_S16_SOFTMAX,
    ELSTM_S16_JUMPS,
    ELSTM_S16_ACTIVATIONS
} elstm_activation_kind_s16;

typedef struct {
    uint8_t kind; /* elstm_activation_kind_s16 */
    uint8_t doublings;
    const int16_t *table; /* 257 entries, or NULL; of jumps at, left and right of two more */
} elstm_activation_s16;

/* v[k] = f(v[k]) for k < count; softmax and its logarithm run over all count values. */
void elstm_activate_f32(const elstm_kernels *kernels, elstm_activation_f32 f, float *v,
                        uint32_t count);
void elstm_activate_s16(const elstm_kernels *kernels, const elstm_activation_s16 *f, int16_t *v,
                        uint32_t count);

/* 1 / sqrt(v) of a positive, normal v. */
float elstm_inverse_root_f32(float v);

/* A float c nearer to 0 than this (2^-60) becomes 0, so that an idle stream never computes with
 * denormals. */
#define ELSTM_TINY 8.67361738e-19f
/* What a float door lets in: nearer to 0 than 2^-100 counts as 0, so that nothing computes with
 * denormals; beyond 2^60 as that, so that no product of finite weights overflows to infinity -
 * infinity. */
#define ELSTM_SMALLEST 7.88860905e-31f
#define ELSTM_LARGEST 1152921504606846976.0f

/* Segments of T, docs/numerics.md. */
extern const int16_t elstm_tanh_c0[8], elstm_tanh_c1[8], elstm_tanh_c2[8], elstm_tanh_c3[8];

/* 13/6 rational tanh: coefficients of x^2, constant first, for x within +-ELSTM_TANH_CLAMP. */
#define ELSTM_TANH_CLAMP 7.9f
extern const float elstm_tanh_p[7], elstm_tanh_q[4];

#endif
