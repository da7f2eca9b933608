/* The golden images whose model needs steps to come, or of which some step has no row or several,
 * on every kernel set this machine can run: the example inside each, a run however it is cut, rows
 * that steps emit, states that move, what is refused. Whether the answers are the right ones
 * test_answers tells.
 *
 *     test_rows [--kernels NAME] IMAGE...
 */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>

#define STEPS 67

typedef struct {
    char name[64];
    unsigned char *bytes;
    size_t size;
    elstm_model model;
    uint32_t steps;
    elstm_rows asked;
} image;

/* The arrays of all inputs or outputs at one door. */
typedef struct {
    void *data[ELSTM_MAX_PORTS];
    size_t rows[ELSTM_MAX_PORTS];
} arrays;

/* Which pair of doors: floats, the integers of an s8 model, or the bytes of a tfl8 model all of
 * whose ports are int8. */
enum { FLOATS, INTEGERS, RAW };

static size_t value_size(int door) {
    return door == FLOATS ? sizeof(float) : door == INTEGERS ? sizeof(int16_t) : sizeof(int8_t);
}

static int fits(const image *g, int door) {
    int narrow = g->model.type == ELSTM_TFL8;
    for (uint32_t k = 0; k < g->model.inputs; ++k) narrow &= g->model.input[k].type == ELSTM_S8;
    for (uint32_t k = 0; k < g->model.outputs; ++k) narrow &= g->model.output[k].type == ELSTM_S8;
    return door == FLOATS || (door == INTEGERS ? g->model.type == ELSTM_S8 : narrow);
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

static elstm_status run(elstm_runner *runner, int door, const arrays *x, const arrays *y,
                        uint32_t steps, elstm_rows asked) {
    const float *xf[ELSTM_MAX_PORTS];
    const int16_t *xi[ELSTM_MAX_PORTS];
    float *yf[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < runner->model->inputs; ++k) xf[k] = x->data[k], xi[k] = x->data[k];
    for (uint32_t k = 0; k < runner->model->outputs; ++k) yf[k] = y->data[k], yi[k] = y->data[k];
    if (door == RAW)
        return elstm_run_raw(runner, (const void *const *)x->data, (void *const *)y->data, steps,
                             asked);
    return door == INTEGERS ? elstm_run_s8(runner, xi, yi, steps, asked)
                            : elstm_run_f32(runner, xf, yf, steps, asked);
}

static void step(elstm_runner *runner, int door, const arrays *x, const arrays *y) {
    const float *xf[ELSTM_MAX_PORTS];
    const int16_t *xi[ELSTM_MAX_PORTS];
    float *yf[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < runner->model->inputs; ++k) xf[k] = x->data[k], xi[k] = x->data[k];
    for (uint32_t k = 0; k < runner->model->outputs; ++k) yf[k] = y->data[k], yi[k] = y->data[k];
    if (door == RAW)
        elstm_step_raw(runner, (const void *const *)x->data, (void *const *)y->data);
    else if (door == INTEGERS)
        elstm_step_s8(runner, xi, yi);
    else
        elstm_step_f32(runner, xf, yf);
}

/* Inputs from step `at` on. */
static arrays from(const image *g, const arrays *x, uint32_t at, int door) {
    arrays later = *x;
    for (uint32_t k = 0; k < g->model.inputs; ++k)
        if (!g->model.input[k].single)
            later.data[k] = (unsigned char *)x->data[k] +
                            (size_t)at * g->model.input[k].width * value_size(door);
    return later;
}

/* Room for just the rows that a run from here on gives. */
static arrays take_answers(const elstm_runner *runner, int door, uint32_t steps, elstm_rows asked) {
    const elstm_model *model = runner->model;
    arrays y;
    for (uint32_t k = 0; k < model->outputs; ++k) {
        y.rows[k] = elstm_output_rows(runner, k, steps, asked);
        y.data[k] = check_take(y.rows[k] * model->output[k].width * value_size(door), 0);
    }
    return y;
}

/* Rows of an output against rows of the expected ones, from `at` on: integers are equal, floats as
 * near as regrouped sums leave them. */
static void compare(const image *g, int door, uint32_t output, const void *y, size_t rows,
                    const arrays *expected, size_t at) {
    const size_t width = g->model.output[output].width, size = value_size(door);
    const unsigned char *want = (unsigned char *)expected->data[output] + at * width * size;
    CHECK(at + rows <= expected->rows[output], "output %u has %zu rows from %zu on", output, rows,
          at);
    if (door != FLOATS || g->model.type != ELSTM_F32) {
        CHECK(rows == 0 || memcmp(y, want, rows * width * size) == 0, "output %u differs", output);
        return;
    }
    for (size_t k = 0; k < rows * width; ++k) {
        const double a = (double)((const float *)y)[k];
        const double b = (double)((const float *)(const void *)want)[k];
        CHECK(fabs(a - b) <= 4e-6 * fmax(1, fabs(b)), "output %u, value %zu: %.9g, expected %.9g",
              output, k, a, b);
    }
}

static void begin(const image *g, const elstm_kernels *set, const char *what, uint32_t max_steps) {
    check_begin("%s of image %s, %s, max_steps %u", what, g->name, elstm_kernels_name(set),
                max_steps);
}

/* A whole run, and where the model is causal one in three calls. */
static void runs(const image *g, const elstm_kernels *set, int door, uint32_t max_steps,
                 const arrays *x, const arrays *expected) {
    static const uint32_t parts[3] = {5, 1, STEPS - 6};
    for (int cut = 0; cut < (g->model.causal ? 2 : 1); ++cut) {
        const int fences = check_fences_taken;
        size_t at[ELSTM_MAX_PORTS] = {0};
        uint32_t done = 0;
        begin(g, set, cut ? "a run in three calls" : "a run", max_steps);
        elstm_runner runner = start(g, set, max_steps);
        for (int call = 0; call < (cut ? 3 : 1); ++call) {
            const uint32_t steps = cut ? parts[call] : g->steps;
            const int inner = check_fences_taken;
            const arrays here = from(g, x, done, door);
            const arrays y = take_answers(&runner, door, steps, g->asked);
            CHECK(run(&runner, door, &here, &y, steps, g->asked) == ELSTM_OK, "refused");
            for (uint32_t k = 0; k < g->model.outputs; ++k) {
                compare(g, door, k, y.data[k], y.rows[k], expected, at[k]);
                at[k] += y.rows[k];
            }
            done += steps;
            check_release_from(inner);
        }
        for (uint32_t k = 0; k < g->model.outputs; ++k)
            CHECK(at[k] == expected->rows[k], "output %u has %zu rows", k, at[k]);
        check_release_from(fences);
    }
}

/* Steps emit the rows of the run, and the state of an s8 model moves between two runners. */
static void steps(const image *g, const elstm_kernels *set, int door, const arrays *x,
                  const arrays *expected) {
    const int fences = check_fences_taken;
    size_t at[ELSTM_MAX_PORTS] = {0};
    begin(g, set, "steps", 1);
    elstm_runner here = start(g, set, 1), there = start(g, elstm_kernels_find("scalar"), 3);
    arrays y;
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        const size_t bytes = g->model.output[k].width * value_size(door);
        y.data[k] = check_take(bytes, 0);
        memset(y.data[k], 0, bytes);
    }
    for (uint32_t n = 0; n < g->steps; ++n) {
        const arrays now = from(g, x, n, door);
        const int moved = g->model.type == ELSTM_S8 && n % 20 >= 10;
        elstm_runner *runner = moved ? &there : &here;
        if (g->model.type == ELSTM_S8 && n > 0 && n % 10 == 0)
            memcpy(elstm_state(runner, 0), elstm_state(moved ? &here : &there, 0),
                   g->model.state_size);
        step(runner, door, &now, &y);
        for (uint32_t k = 0; k < g->model.outputs; ++k) {
            at[k] += elstm_stepped_rows(runner, k);
            if (at[k] > 0) compare(g, door, k, y.data[k], 1, expected, at[k] - 1);
        }
    }
    for (uint32_t k = 0; k < g->model.outputs; ++k)
        CHECK(at[k] == expected->rows[k], "steps gave %zu rows of output %u", at[k], k);
    check_release_from(fences);
}

/* A model that needs steps to come cannot be stepped, cut, continued or asked for every row. */
static void whole(const image *g, const elstm_kernels *set, int door, const arrays *x) {
    const int fences = check_fences_taken;
    begin(g, set, "what is refused", g->steps);
    elstm_runner runner = start(g, set, g->steps), small = start(g, set, g->steps - 1);
    const arrays y = take_answers(&runner, door, g->steps, ELSTM_ROWS_MODEL);
    unsigned char *state = check_take(g->model.state_size, 0);
    CHECK(run(&runner, door, x, &y, g->steps, ELSTM_ROWS_MODEL) == ELSTM_OK, "refused");
    for (uint32_t k = 0; k < g->model.outputs; ++k)
        memset(y.data[k], 0x5A, y.rows[k] * g->model.output[k].width * value_size(door));
    memcpy(state, elstm_state(&runner, 0), g->model.state_size);
    CHECK(run(&runner, door, x, &y, g->steps, ELSTM_ROWS_EVERY) == ELSTM_ERR_UNSUPPORTED,
          "every row is not refused");
    CHECK(run(&small, door, x, &y, g->steps, ELSTM_ROWS_MODEL) == ELSTM_ERR_UNSUPPORTED,
          "more than max_steps are not refused");
    CHECK(elstm_self_check(&small) == ELSTM_ERR_UNSUPPORTED, "a longer example is not refused");
    step(&runner, door, x, &y);
    for (uint32_t layer = 0; layer < g->model.ops; ++layer) elstm_step_layer(&runner, layer);
    CHECK(memcmp(state, elstm_state(&runner, 0), g->model.state_size) == 0, "the state changed");
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        CHECK(elstm_stepped_rows(&runner, k) == 0, "a step wrote rows");
        for (size_t j = 0; j < y.rows[k] * g->model.output[k].width * value_size(door); ++j)
            CHECK(((unsigned char *)y.data[k])[j] == 0x5A, "answers were written");
    }
    check_release_from(fences);
}

/* Rows that do not fit a layer are refused before anything is computed. */
static void misfits(const image *g, const elstm_kernels *set) {
    const int fences = check_fences_taken;
    int refused = 0;
    elstm_runner runner = start(g, set, g->steps + 3);
    for (uint32_t steps = 1; steps <= g->steps + 3; ++steps) {
        begin(g, set, "a run that may not fit", steps);
        const elstm_refusal why = elstm_run_refusal(&runner, steps, ELSTM_ROWS_MODEL);
        if (why.why == ELSTM_FITS) continue;
        const arrays nothing = {{NULL}, {0}};
        CHECK(why.layer < g->model.ops, "it names layer %u", why.layer);
        CHECK(run(&runner, 0, &nothing, &nothing, steps, ELSTM_ROWS_MODEL) == ELSTM_ERR_UNSUPPORTED,
              "it is not refused");
        ++refused;
    }
    begin(g, set, "runs that fit", 0);
    CHECK(elstm_run_refusal(&runner, g->steps, g->asked).why == ELSTM_FITS, "none does");
    if (strstr(g->name, "moved_fixed") != NULL) CHECK(refused > 0, "all do");
    check_release_from(fences);
}

/* Bytes of a port's value in the example. */
static size_t example_size(const image *g, const elstm_port *port) {
    if (g->model.type == ELSTM_S8) return sizeof(int16_t);
    return port->type == ELSTM_F32 ? 4 : port->type == ELSTM_S16 ? 2 : 1;
}

static void self_checks(const image *g, const elstm_kernels *set) {
    const elstm_limits two = {8, 2};
    const uint32_t max_steps = g->model.causal ? 3 : g->model.example_steps;
    const int fences = check_fences_taken;
    begin(g, set, "the example", max_steps);
    CHECK(g->model.example_steps > 0, "there is none");
    elstm_runner runner = start(g, set, max_steps), none;
    CHECK(elstm_self_check(&runner) == ELSTM_OK, "it differs");
    for (size_t at = 0; at < g->model.state_size; ++at)
        CHECK(((unsigned char *)elstm_state(&runner, 0))[at] == 0, "it leaves a state");
    const size_t size = elstm_arena_size(&g->model, set, two);
    void *arena = check_take(size, (ELSTM_ALIGN - size % ELSTM_ALIGN) % ELSTM_ALIGN);
    CHECK(elstm_runner_init(&none, &g->model, set, two, arena, size) == ELSTM_ERR_UNSUPPORTED,
          "two streams are not refused");
    unsigned char *copy = NULL;
    CHECK(posix_memalign((void **)&copy, ELSTM_ALIGN, g->size) == 0, "no memory");
    memcpy(copy, g->bytes, g->size);
    size_t at = g->model.sections[5][0] + 8; /* the first answer, past the inputs */
    for (uint32_t k = 0; k < g->model.inputs; ++k) {
        const elstm_port *port = &g->model.input[k];
        const size_t rows = port->single ? 1 : g->model.example_steps;
        at += (rows * port->width * example_size(g, port) + 3) / 4 * 4;
    }
    copy[g->model.type == ELSTM_F32 ? g->size - 2 : at] ^= 0x41; /* of floats the last */
    check_mend(copy, g->size);
    image other = *g;
    other.bytes = copy;
    CHECK(elstm_model_open(&other.model, copy, g->size) == ELSTM_OK, "cannot be opened");
    elstm_runner wrong = start(&other, set, max_steps);
    CHECK(elstm_self_check(&wrong) == ELSTM_ERR_SELF_CHECK, "a wrong answer went unseen");
    check_release_from(fences);
    free(copy);
}

/* Inputs of every size. */
static arrays draw(const image *g, int door) {
    check_random random = check_seeded(check_crc32(0, g->name, strlen(g->name)));
    arrays x;
    for (uint32_t k = 0; k < g->model.inputs; ++k) {
        x.rows[k] = g->model.input[k].single ? 1 : g->steps;
        x.data[k] = malloc(x.rows[k] * g->model.input[k].width * value_size(door));
        CHECK(x.data[k] != NULL, "no memory");
    }
    for (uint32_t at = 0; at < g->steps; ++at) {
        for (uint32_t k = 0; k < g->model.inputs; ++k) {
            const elstm_port *port = &g->model.input[k];
            for (uint32_t j = 0; j < port->width; ++j) {
                const int16_t integer = (int16_t)check_between(&random, -32768, 32767);
                const size_t place = (size_t)at * port->width + j;
                if (at >= x.rows[k]) continue;
                if (door == RAW)
                    ((int8_t *)x.data[k])[place] = (int8_t)integer;
                else if (door == INTEGERS)
                    ((int16_t *)x.data[k])[place] = integer;
                else
                    ((float *)x.data[k])[place] =
                        (float)integer * (g->model.type == ELSTM_S8 ? port->scale : 1 / 16384.0f);
            }
        }
    }
    return x;
}

static void test_door(const image *g, int door) {
    const uint32_t chunks[3] = {1, 3, g->steps};
    const arrays x = draw(g, door);
    arrays expected;
    check_begin("image %s on scalar", g->name);
    elstm_runner runner = start(g, elstm_kernels_find("scalar"), g->steps);
    const arrays y = take_answers(&runner, door, g->steps, g->asked);
    CHECK(run(&runner, door, &x, &y, g->steps, g->asked) == ELSTM_OK, "it is refused");
    for (uint32_t k = 0; k < g->model.outputs; ++k) {
        const size_t bytes = y.rows[k] * g->model.output[k].width * value_size(door);
        expected.rows[k] = y.rows[k];
        expected.data[k] = malloc(bytes + 1);
        CHECK(expected.data[k] != NULL, "no memory");
        memcpy(expected.data[k], y.data[k], bytes);
    }
    check_release();
    for (size_t n = 0; n < elstm_kernels_count(); ++n) {
        const elstm_kernels *set = elstm_kernels_at(n);
        if (set == NULL) continue;
        for (int k = g->model.causal ? 0 : 2; k < 3; ++k)
            runs(g, set, door, chunks[k], &x, &expected);
        if (g->model.causal)
            steps(g, set, door, &x, &expected);
        else
            whole(g, set, door, &x);
    }
    for (uint32_t k = 0; k < g->model.inputs; ++k) free(x.data[k]);
    for (uint32_t k = 0; k < g->model.outputs; ++k) free(expected.data[k]);
}

int main(int argc, char **argv) {
    uint32_t count = 0;
    check_start();
    check_kernels_wanted(argc, argv);
    for (int k = 1; k < argc; ++k) {
        if (strcmp(argv[k], "--kernels") == 0) {
            ++k;
            continue;
        }
        image g;
        memset(&g, 0, sizeof g);
        const char *slash = strrchr(argv[k], '/');
        snprintf(g.name, sizeof g.name, "%s", slash == NULL ? argv[k] : slash + 1);
        char *dot = strrchr(g.name, '.');
        if (dot != NULL) *dot = '\0';
        g.bytes = check_file(argv[k], &g.size);
        const elstm_status status = elstm_model_open(&g.model, g.bytes, g.size);
        CHECK(status == ELSTM_OK, "%s", elstm_status_text(status));
        g.steps = g.model.causal ? STEPS : g.model.example_steps;
        g.asked = g.model.causal ? ELSTM_ROWS_EVERY : ELSTM_ROWS_MODEL;
        if (g.model.uneven || !g.model.causal) {
            for (int d = FLOATS; d <= RAW; ++d)
                if (fits(&g, d)) test_door(&g, d);
            for (size_t n = 0; n < elstm_kernels_count(); ++n) {
                if (elstm_kernels_at(n) == NULL) continue;
                self_checks(&g, elstm_kernels_at(n));
                misfits(&g, elstm_kernels_at(n));
            }
            ++count;
        }
        free(g.bytes);
    }
    check_begin("the command line");
    CHECK(count > 0, "no image given");
    printf("test_rows: %u images\n", count);
    return 0;
}
