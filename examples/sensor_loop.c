/* A sensor, a model, an answer a sample, and no heap. From the root of the repository:
 *
 *     cc -std=c99 -O3 -Isrc_c examples/sensor_loop.c src_c/<all>.c -o sensor_loop
 *     ./sensor_loop model.elstm < samples.txt
 *
 * On a microcontroller the image is a constant array in flash, and the sensor is a register.
 */
#include <stdio.h>

#include "edgelstm.h"

enum { MAX_IMAGE = 1 << 20, MAX_ARENA = 1 << 16, MAX_WIDTH = 16 };

static unsigned char image[MAX_IMAGE] __attribute__((aligned(ELSTM_ALIGN)));
static unsigned char arena[MAX_ARENA] __attribute__((aligned(ELSTM_ALIGN)));
static elstm_model model;
static elstm_runner runner;

/* One value of a sample; 0 at the end. Put your sensor here. */
static int read_sensor(float *value) { return scanf("%f", value) == 1; }

static int failed(const char *what, elstm_status status) {
    fprintf(stderr, "%s: %s\n", what, elstm_status_text(status));
    return 1;
}

int main(int count, char **arguments) {
    const elstm_limits limits = {1, 1}; /* a step at a time, one stream */
    const elstm_kernels *kernels = elstm_kernels_find(NULL);
    float x[MAX_WIDTH], y[MAX_WIDTH];
    const float *xs[] = {x};
    float *ys[] = {y};
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL) return failed("usage: sensor_loop MODEL.elstm", ELSTM_ERR_ARGUMENT);
    const size_t size = fread(image, 1, sizeof image, file);
    fclose(file);

    elstm_status status = elstm_model_open(&model, image, size);
    if (status != ELSTM_OK) return failed("model", status);
    const elstm_port *in = &model.input[0], *out = &model.output[0];
    if (model.inputs != 1 || model.outputs != 1 || in->width > MAX_WIDTH || out->width > MAX_WIDTH)
        return failed("model", ELSTM_ERR_UNSUPPORTED);
    status = elstm_runner_init(&runner, &model, kernels, limits, arena, sizeof arena);
    if (status != ELSTM_OK) return failed("arena", status);
    status = elstm_self_check(&runner); /* does this very board compute what it should? */
    if (status != ELSTM_OK) return failed("self check", status);

    for (;;) {
        for (uint32_t k = 0; k < in->width; ++k) {
            if (!read_sensor(&x[k])) return 0;
            if (in->scaler_scale != NULL) x[k] = x[k] * in->scaler_scale[k] + in->scaler_offset[k];
        }
        elstm_step_f32(&runner, xs, ys); /* cannot fail */
        for (uint32_t k = 0; k < out->width; ++k) {
            float value = y[k];
            if (out->scaler_scale != NULL)
                value = (value - out->scaler_offset[k]) / out->scaler_scale[k];
            printf("%.9g%c", value, k + 1 < out->width ? ' ' : '\n');
        }
    }
}
