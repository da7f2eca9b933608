/* What every kernel set here answers on the golden images: runs, and single steps where each step
 * has one row. It judges nothing: tests/golden_answers.py compares with tests/golden/answers.json.
 *
 *     test_answers [--kernels NAME] IMAGE...
 *
 * Standard output: a line "sets" with their names; then an output of a model after the other: a
 * line "image set way output rows width bytes", then that many bytes: float32 of f32 models, int16
 * of s8, of tfl8 the output's own type.
 */
#define _DEFAULT_SOURCE
#include "check.h"

#define STEPS 67

typedef struct {
    char name[64];
    unsigned char *bytes;
    elstm_model model;
    uint32_t steps;
    elstm_rows asked;
} image;

static size_t value_size(const image *g, const elstm_port *port) {
    const elstm_type type = g->model.type == ELSTM_TFL8 ? port->type : g->model.type;
    return type == ELSTM_F32                                ? sizeof(float)
           : type == ELSTM_S16 || g->model.type == ELSTM_S8 ? sizeof(int16_t)
                                                            : sizeof(int8_t);
}

/* The numbers of tests/golden_models.py, all inputs of one step before the next; of a single input
 * the first row counts. */
static void draw(const image *g, void **xs) {
    check_random random = check_seeded(check_crc32(0, g->name, strlen(g->name)));
    for (uint32_t k = 0; k < g->model.inputs; ++k) {
        const elstm_port *port = &g->model.input[k];
        xs[k] = check_take((size_t)g->steps * port->width * value_size(g, port), 0);
    }
    for (uint32_t at = 0; at < g->steps; ++at) {
        for (uint32_t k = 0; k < g->model.inputs; ++k) {
            const elstm_port *port = &g->model.input[k];
            const size_t size = value_size(g, port);
            for (uint32_t j = 0; j < port->width; ++j) {
                const int16_t integer = (int16_t)check_between(&random, -32768, 32767);
                const int8_t narrow = (int8_t)integer;
                const float real = (float)integer / 8192;
                const void *value = size == sizeof real      ? (const void *)&real
                                    : size == sizeof integer ? (const void *)&integer
                                                             : &narrow;
                memcpy((unsigned char *)xs[k] + ((size_t)at * port->width + j) * size, value, size);
            }
        }
    }
}

static elstm_runner start(const image *g, const elstm_kernels *set, uint32_t max_steps) {
    const elstm_limits limits = {max_steps, 1};
    const size_t size = elstm_arena_size(&g->model, set, limits);
    elstm_runner runner;
    CHECK(size != SIZE_MAX, "the limits are refused");
    void *arena = check_take(size, (ELSTM_ALIGN - size % ELSTM_ALIGN) % ELSTM_ALIGN);
    const elstm_status status = elstm_runner_init(&runner, &g->model, set, limits, arena, size);
    CHECK(status == ELSTM_OK, "%s", elstm_status_text(status));
    return runner;
}

/* s8 models at the door of their integers, all others at that of each port's own type. */
static elstm_status run(elstm_runner *runner, const image *g, void *const *xs, void *const *ys) {
    const int16_t *xi[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    if (g->model.type != ELSTM_S8)
        return elstm_run_raw(runner, (const void *const *)xs, ys, g->steps, g->asked);
    for (uint32_t k = 0; k < g->model.inputs; ++k) xi[k] = xs[k];
    for (uint32_t k = 0; k < g->model.outputs; ++k) yi[k] = ys[k];
    return elstm_run_s8(runner, xi, yi, g->steps, g->asked);
}

static void step(elstm_runner *runner, const image *g, void *const *xs, void *const *ys) {
    const int16_t *xi[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < g->model.inputs; ++k) xi[k] = xs[k];
    for (uint32_t k = 0; k < g->model.outputs; ++k) yi[k] = ys[k];
    if (g->model.type == ELSTM_S8)
        elstm_step_s8(runner, xi, yi);
    else
        elstm_step_raw(runner, (const void *const *)xs, ys);
}

static void say(const image *g, const elstm_kernels *set, const char *way, void *const *ys,
                const uint32_t *rows) {
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        const elstm_port *port = &g->model.output[k];
        const size_t bytes = (size_t)rows[k] * port->width * value_size(g, port);
        printf("%s %s %s %u %u %u %zu\n", g->name, elstm_kernels_name(set), way, k, rows[k],
               port->width, bytes);
        CHECK(fwrite(ys[k], 1, bytes, stdout) == bytes, "cannot be written");
    }
}

static void runs(const image *g, const elstm_kernels *set) {
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    uint32_t rows[ELSTM_MAX_PORTS];
    check_begin("a run of image %s, %s", g->name, elstm_kernels_name(set));
    elstm_runner runner = start(g, set, g->model.causal ? 8 : g->steps);
    draw(g, xs);
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        const elstm_port *port = &g->model.output[k];
        rows[k] = elstm_output_rows(&runner, k, g->steps, g->asked);
        ys[k] = check_take((size_t)rows[k] * port->width * value_size(g, port), 0);
    }
    CHECK(run(&runner, g, xs, ys) == ELSTM_OK, "refused");
    say(g, set, "run", ys, rows);
    check_release();
}

static void steps(const image *g, const elstm_kernels *set) {
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    void *x[ELSTM_MAX_PORTS], *y[ELSTM_MAX_PORTS];
    uint32_t rows[ELSTM_MAX_PORTS];
    check_begin("steps of image %s, %s", g->name, elstm_kernels_name(set));
    elstm_runner runner = start(g, set, 1);
    draw(g, xs);
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        const elstm_port *port = &g->model.output[k];
        rows[k] = g->steps;
        ys[k] = check_take((size_t)g->steps * port->width * value_size(g, port), 0);
    }
    for (uint32_t at = 0; at < g->steps; ++at) {
        for (uint32_t k = 0; k < g->model.inputs; ++k) {
            const elstm_port *port = &g->model.input[k];
            x[k] = (unsigned char *)xs[k] +
                   (port->single ? 0 : at * port->width * value_size(g, port));
        }
        for (uint32_t k = 0; k < g->model.outputs; ++k) {
            const elstm_port *port = &g->model.output[k];
            y[k] = (unsigned char *)ys[k] + at * port->width * value_size(g, port);
        }
        step(&runner, g, x, y);
    }
    say(g, set, "steps", ys, rows);
    check_release();
}

static image open_image(const char *path) {
    image g;
    size_t size;
    memset(&g, 0, sizeof g);
    const char *slash = strrchr(path, '/');
    snprintf(g.name, sizeof g.name, "%s", slash == NULL ? path : slash + 1);
    char *dot = strrchr(g.name, '.');
    if (dot != NULL) *dot = '\0';
    g.bytes = check_file(path, &size);
    const elstm_status status = elstm_model_open(&g.model, g.bytes, size);
    CHECK(status == ELSTM_OK, "%s", elstm_status_text(status));
    g.steps = g.model.causal ? STEPS : g.model.example_steps;
    g.asked = g.model.causal ? ELSTM_ROWS_EVERY : ELSTM_ROWS_MODEL;
    return g;
}

int main(int argc, char **argv) {
    check_start();
    check_kernels_wanted(argc, argv);
    printf("sets");
    for (size_t n = 0; n < elstm_kernels_count(); ++n)
        if (elstm_kernels_at(n) != NULL) printf(" %s", elstm_kernels_name(elstm_kernels_at(n)));
    printf("\n");
    for (int k = 1; k < argc; ++k) {
        if (strcmp(argv[k], "--kernels") == 0) {
            ++k;
            continue;
        }
        const image g = open_image(argv[k]);
        for (size_t n = 0; n < elstm_kernels_count(); ++n) {
            const elstm_kernels *set = elstm_kernels_at(n);
            if (set == NULL) continue;
            runs(&g, set);
            if (g.model.causal && !g.model.uneven) steps(&g, set);
        }
        free(g.bytes);
    }
    return 0;
}
