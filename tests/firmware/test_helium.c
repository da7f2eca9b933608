/* The helium set against the scalar one over images in the rows layout, on a Cortex-M55: the
 * example inside each image, whose answers are those of the NumPy reference, random steps, runs of
 * several, states at their ends.
 *
 * tools/test_helium.py writes the images, and reads what this prints. */
#include "board.h"
#include "kernels.h"

#include <string.h>

typedef struct {
    const char *name;
    const unsigned char *bytes;
    uint32_t size;
} listed;

extern const listed images[];
extern const uint32_t image_count;

#define RUN 12u
#define WIDEST 512

static unsigned char arenas[2][128 << 10] __attribute__((aligned(ELSTM_ALIGN)));
static int16_t xs[RUN * WIDEST], ys[2][ELSTM_MAX_PORTS][RUN * WIDEST];
static uint32_t state = 1;

static uint32_t random_bits(void) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

/* Small values, and in some calls extremes. */
static void fill(int extreme) {
    for (uint32_t k = 0; k < RUN * WIDEST; ++k) {
        const uint32_t bits = random_bits();
        xs[k] = extreme && bits & 1 ? (int16_t)(bits & 2 ? 32767 : -32768)
                                    : (int16_t)((int32_t)bits >> (bits >> 8 & 3 ? 18 : 16));
    }
}

static int failed(const listed *image, const char *what) {
    board_print("FAIL ");
    board_print(image->name);
    board_print(": ");
    board_print(what);
    board_print("\n");
    return 1;
}

static int start(const elstm_model *model, const elstm_kernels *set, uint32_t steps, int which,
                 elstm_runner *runner) {
    const elstm_limits limits = {steps, 1};
    const size_t size = elstm_arena_size(model, set, limits);
    return size <= sizeof arenas[which] &&
           elstm_runner_init(runner, model, set, limits, arenas[which], size) == ELSTM_OK;
}

static int same(const elstm_model *model, uint32_t steps) {
    for (uint32_t k = 0; k < model->outputs; ++k)
        if (memcmp(ys[0][k], ys[1][k], steps * model->output[k].width * sizeof(int16_t)) != 0)
            return 0;
    return 1;
}

/* 0 where both sets agree. */
static int compare(const listed *image) {
    static elstm_model model;
    static elstm_runner runners[2];
    const elstm_kernels *const sets[2] = {&elstm_kernels_helium, &elstm_kernels_scalar};
    const int16_t *in[ELSTM_MAX_PORTS];
    int16_t *out[2][ELSTM_MAX_PORTS];
    if (elstm_model_open(&model, image->bytes, image->size) != ELSTM_OK)
        return failed(image, "does not open");
    for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k)
        in[k] = xs, out[0][k] = ys[0][k], out[1][k] = ys[1][k];
    const uint32_t most = model.example_steps > RUN ? model.example_steps : RUN;
    for (uint32_t steps = 1; steps <= most; steps += most - 1) {
        for (int k = 0; k < 2; ++k)
            if (!start(&model, sets[k], steps, k, &runners[k])) return failed(image, "no room");
        if (steps == most || model.causal)
            if (model.example_steps > 0 && model.example_steps <= steps &&
                elstm_self_check(&runners[0]) != ELSTM_OK)
                return failed(image, "self-check");
        for (int k = 0; k < 2; ++k) elstm_reset(&runners[k]);
        for (int round = 0; round < 40 && model.type == ELSTM_S8 && model.causal; ++round) {
            if (elstm_output_rows(&runners[0], 0, 1, ELSTM_ROWS_EVERY) != 1) break;
            fill(round % 4 == 3);
            for (int k = 0; k < 2; ++k) {
                if (round % 2 || steps == 1)
                    elstm_step_s8(&runners[k], in, out[k]);
                else if (elstm_run_s8(&runners[k], in, out[k], 5, ELSTM_ROWS_EVERY) != ELSTM_OK)
                    return failed(image, "a run is refused");
            }
            if (!same(&model, round % 2 || steps == 1 ? 1 : 5)) return failed(image, "differs");
            if (memcmp(elstm_state(&runners[0], 0), elstm_state(&runners[1], 0),
                       model.state_size) != 0)
                return failed(image, "its state differs");
        }
    }
    return 0;
}

int main(void) {
    int failures = 0;
    for (uint32_t k = 0; k < image_count; ++k) failures += compare(&images[k]);
    board_print_number(image_count);
    board_print(" images\n");
    return failures;
}
