/* On a board, an exported folder: its self-test, then answers to inputs that samples.h holds (which
 * tools/test_firmware.py writes), as a checksum an output. */
#include "board.h"
#include "model.h"
#include "samples.h"

int self_test(void); /* main of the folder's self_test.c */

static elstm_model model;
static elstm_runner runner;
MODEL_ALIGNED static unsigned char arena[MODEL_ARENA_SIZE];

/* FNV-1a */
static uint32_t added(uint32_t sum, const void *data, size_t size) {
    const unsigned char *at = data;
    for (size_t k = 0; k < size; ++k) sum = (sum ^ at[k]) * 16777619u;
    return sum;
}

static void say(const char *what, uint32_t value) {
    board_print(what);
    board_print_number(value);
    board_print("\n");
}

int main(void) {
    const elstm_limits limits = {MODEL_MAX_STEPS, 1};
    uint32_t sum[OUTPUTS];
    board_paint_stack();
    const int status = self_test();
    say("start ", board_stack_used());
    say("arena ", MODEL_ARENA_SIZE);
    say("structs ", sizeof model + sizeof runner);
    if (status != 0) return status;
    if (elstm_model_open(&model, model_image, sizeof model_image) != ELSTM_OK ||
        elstm_runner_init(&runner, &model, elstm_kernels_at(0), limits, arena, sizeof arena) !=
            ELSTM_OK)
        return 20;
    for (uint32_t k = 0; k < OUTPUTS; ++k) sum[k] = 2166136261u;
    board_paint_stack();
#if RUNS
    if (RUN(&runner, xs, ys, STEPS, ROWS) != ELSTM_OK) return 21;
    for (uint32_t k = 0; k < OUTPUTS; ++k) sum[k] = added(sum[k], ys[k], y_size[k]);
#else
    for (uint32_t step = 0; step < STEPS; ++step) {
        const X *at[INPUTS];
        for (uint32_t k = 0; k < INPUTS; ++k)
            at[k] = (const X *)(const void *)((const unsigned char *)xs[k] + step * x_size[k]);
        STEP(&runner, at, ys);
        for (uint32_t k = 0; k < OUTPUTS; ++k) sum[k] = added(sum[k], ys[k], y_size[k]);
    }
#endif
    say("step ", board_stack_used());
    say("state ", model.state_size);
    board_print(elstm_kernels_name(elstm_kernels_at(0)));
    for (uint32_t k = 0; k < OUTPUTS; ++k) {
        board_print(" ");
        board_print_hex(sum[k]);
    }
    board_print("\n");
    return 0;
}
