/* The golden images of which each step has one row on every kernel set this machine can run: the
 * example inside each, a run equal to its steps however it is cut, streams apart from one another,
 * states that move. Whether the answers are the right ones test_answers tells.
 *
 *     test_images [--kernels NAME] IMAGE...
 */
#define _DEFAULT_SOURCE
#include "check.h"
#include "kernels.h"

#include <math.h>

#define STEPS 67
#define STREAMS 16

typedef struct {
    char name[64];
    unsigned char *bytes;
    size_t size;
    elstm_model model;
    uint32_t x_values, y_values; /* of one step, all inputs or outputs */
} image;

/* Which pair of doors: floats, the integers of an s8 model, or the bytes of a tfl8 model all of
 * whose ports are int8. */
typedef enum { FLOATS, INTEGERS, RAW } door;

static size_t value_size(door d) {
    return d == FLOATS ? sizeof(float) : d == INTEGERS ? sizeof(int16_t) : sizeof(int8_t);
}

static int fits(const image *g, door d) {
    int narrow = g->model.type == ELSTM_TFL8;
    for (uint32_t k = 0; k < g->model.inputs; ++k) narrow &= g->model.input[k].type == ELSTM_S8;
    for (uint32_t k = 0; k < g->model.outputs; ++k) narrow &= g->model.output[k].type == ELSTM_S8;
    return d == FLOATS || (d == INTEGERS ? g->model.type == ELSTM_S8 : narrow);
}

/* Sequences of one door: [STREAMS][STEPS][values of a step], and the answers of single steps. */
typedef struct {
    const image *of;
    door door;
    unsigned char *xs, *ys;
} sequences;

/* ---- runners between fences ---- */

static elstm_runner start(const image *g, const elstm_kernels *set, uint32_t max_steps,
                          uint32_t streams) {
    const elstm_limits limits = {max_steps, streams};
    const size_t size = elstm_arena_size(&g->model, set, limits);
    elstm_runner runner;
    CHECK(size != SIZE_MAX, "the limits are refused");
    void *arena = check_take(size, (ELSTM_ALIGN - size % ELSTM_ALIGN) % ELSTM_ALIGN);
    const elstm_status status = elstm_runner_init(&runner, &g->model, set, limits, arena, size);
    CHECK(status == ELSTM_OK, "%s", elstm_status_text(status));
    return runner;
}

/* Pointers to a block's arrays, one a port: [rows][width] each, one after the other. */
static void *take_ports(const elstm_port *ports, uint32_t count, const size_t *rows, door d,
                        void **pointers) {
    size_t total = 0;
    for (uint32_t k = 0; k < count; ++k) total += rows[k] * ports[k].width;
    unsigned char *data = check_take(total * value_size(d), 0);
    unsigned char *at = data;
    for (uint32_t k = 0; k < count; ++k) {
        pointers[k] = at;
        at += rows[k] * ports[k].width * value_size(d);
    }
    return data;
}

static void step(elstm_runner *runner, door d, void *const *xs, void *const *ys) {
    const float *xf[ELSTM_MAX_PORTS];
    const int16_t *xi[ELSTM_MAX_PORTS];
    float *yf[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < runner->model->inputs; ++k) xf[k] = xs[k], xi[k] = xs[k];
    for (uint32_t k = 0; k < runner->model->outputs; ++k) yf[k] = ys[k], yi[k] = ys[k];
    if (d == FLOATS)
        elstm_step_f32(runner, xf, yf);
    else if (d == INTEGERS)
        elstm_step_s8(runner, xi, yi);
    else
        elstm_step_raw(runner, (const void *const *)xs, ys);
}

static elstm_status run(elstm_runner *runner, door d, void *const *xs, void *const *ys,
                        uint32_t steps, elstm_rows rows) {
    const float *xf[ELSTM_MAX_PORTS];
    const int16_t *xi[ELSTM_MAX_PORTS];
    float *yf[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < runner->model->inputs; ++k) xf[k] = xs[k], xi[k] = xs[k];
    for (uint32_t k = 0; k < runner->model->outputs; ++k) yf[k] = ys[k], yi[k] = ys[k];
    if (d == RAW) return elstm_run_raw(runner, (const void *const *)xs, ys, steps, rows);
    return d == FLOATS ? elstm_run_f32(runner, xf, yf, steps, rows)
                       : elstm_run_s8(runner, xi, yi, steps, rows);
}

/* One step of a stream's input into row `row` of the ports' arrays; where an input takes one row a
 * run, that of its first step. */
static void put(const sequences *s, uint32_t stream, uint32_t at, void *const *xs, size_t row) {
    const size_t size = value_size(s->door), step_size = s->of->x_values * size;
    const unsigned char *first = s->xs + (size_t)stream * STEPS * step_size;
    for (uint32_t k = 0; k < s->of->model.inputs; ++k) {
        const elstm_port *port = &s->of->model.input[k];
        const size_t bytes = port->width * size;
        memcpy((unsigned char *)xs[k] + row * bytes, first + (port->single ? 0 : at * step_size),
               bytes);
        first += bytes;
    }
}

/* Row `row` of an output's array against the answer of a stream's step: integers are equal, floats
 * as near as regrouped sums leave them. */
static void compare(const sequences *s, uint32_t stream, uint32_t at, uint32_t output,
                    const void *y, size_t row) {
    const elstm_model *model = &s->of->model;
    size_t place = ((size_t)stream * STEPS + at) * s->of->y_values;
    for (uint32_t k = 0; k < output; ++k) place += model->output[k].width;
    for (uint32_t k = 0; k < model->output[output].width; ++k, ++place) {
        const size_t here = row * model->output[output].width + k;
        if (s->door != FLOATS || model->type != ELSTM_F32) {
            const size_t size = value_size(s->door);
            CHECK(memcmp((const unsigned char *)y + here * size, s->ys + place * size, size) == 0,
                  "stream %u, step %u, output %u, value %u differs", stream, at, output, k);
        } else {
            const double got = (double)((const float *)y)[here];
            const double want = (double)((const float *)(const void *)s->ys)[place];
            CHECK(fabs(got - want) <= 4e-6 * fmax(1, fabs(want)),
                  "stream %u, step %u, output %u, value %u: %.9g, expected %.9g", stream, at,
                  output, k, got, want);
        }
    }
}

/* ---- inputs, and the answers of single steps on scalar ---- */

static sequences make_sequences(const image *g, door d) {
    const size_t size = value_size(d);
    sequences s = {g, d, malloc((size_t)STREAMS * STEPS * g->x_values * size),
                   malloc((size_t)STREAMS * STEPS * g->y_values * size)};
    CHECK(s.xs != NULL && s.ys != NULL, "no memory");
    check_random random = check_seeded(check_crc32(0, g->name, strlen(g->name)));
    unsigned char *x = s.xs;
    for (size_t row = 0; row < (size_t)STREAMS * STEPS; ++row) {
        for (uint32_t k = 0; k < g->model.inputs; ++k) {
            for (uint32_t j = 0; j < g->model.input[k].width; ++j, x += size) {
                const int16_t integer = (int16_t)check_between(&random, -32768, 32767);
                const float real = g->model.type == ELSTM_S8
                                       ? (float)integer * g->model.input[k].scale
                                       : (float)integer / 16384;
                const int8_t narrow = (int8_t)integer;
                const void *values[3] = {&real, &integer, &narrow};
                memcpy(x, values[d], size);
            }
        }
    }
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    elstm_runner runner = start(g, elstm_kernels_find("scalar"), 1, 1);
    const size_t one[ELSTM_MAX_PORTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    take_ports(g->model.input, g->model.inputs, one, d, xs);
    unsigned char *y = take_ports(g->model.output, g->model.outputs, one, d, ys);
    for (uint32_t stream = 0; stream < STREAMS; ++stream) {
        elstm_reset(&runner);
        for (uint32_t at = 0; at < STEPS; ++at) {
            put(&s, stream, at, xs, 0);
            step(&runner, d, xs, ys);
            memcpy(s.ys + ((size_t)stream * STEPS + at) * g->y_values * size, y,
                   g->y_values * size);
        }
    }
    check_release();
    return s;
}

/* ---- what a runner promises ---- */

static void begin(const sequences *s, const elstm_kernels *set, const char *what, uint32_t streams,
                  uint32_t max_steps) {
    check_begin("%s of image %s, %s door, %s, streams %u, max_steps %u", what, s->of->name,
                s->door == FLOATS     ? "float"
                : s->door == INTEGERS ? "integer"
                                      : "raw",
                elstm_kernels_name(set), streams, max_steps);
}

/* A run of every row, in one call and in three, gives what single steps give. */
static void runs(const sequences *s, const elstm_kernels *set, uint32_t streams,
                 uint32_t max_steps) {
    static const uint32_t whole[1] = {STEPS}, parts[3] = {5, 1, STEPS - 6};
    const elstm_model *model = &s->of->model;
    for (int cut = 0; cut < 2; ++cut) {
        begin(s, set, cut ? "a run in three calls" : "a run", streams, max_steps);
        elstm_runner runner = start(s->of, set, max_steps, streams);
        for (uint32_t call = 0, at = 0; call < (cut ? 3 : 1); ++call) {
            const uint32_t steps = cut ? parts[call] : whole[call];
            const int fences = check_fences_taken;
            size_t rows[ELSTM_MAX_PORTS];
            void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
            for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k) rows[k] = (size_t)steps * streams;
            take_ports(model->input, model->inputs, rows, s->door, xs);
            take_ports(model->output, model->outputs, rows, s->door, ys);
            for (uint32_t k = 0; k < steps * streams; ++k)
                put(s, k % streams, at + k / streams, xs, k);
            CHECK(run(&runner, s->door, xs, ys, steps, ELSTM_ROWS_EVERY) == ELSTM_OK, "refused");
            for (uint32_t output = 0; output < model->outputs; ++output) {
                CHECK(elstm_output_rows(&runner, output, steps, ELSTM_ROWS_EVERY) == steps,
                      "output %u has other rows", output);
                for (uint32_t k = 0; k < steps * streams; ++k)
                    compare(s, k % streams, at + k / streams, output, ys[output], k);
            }
            at += steps;
            check_release_from(fences);
        }
        check_release();
    }
}

/* Layers behind a Last see one step a run: what they give is the same however the run is cut, and
 * where nothing remembers, what a step gives for the last input. */
static void runs_of_the_model(const sequences *s, const elstm_kernels *set, uint32_t streams) {
    static const uint32_t chunks[3] = {1, 3, 64};
    const elstm_model *model = &s->of->model;
    unsigned char *first = NULL;
    size_t bytes = 0;
    for (int k = 0; k < 3; ++k) {
        begin(s, set, "a run of the model's rows", streams, chunks[k]);
        elstm_runner runner = start(s->of, set, chunks[k], streams);
        size_t rows_in[ELSTM_MAX_PORTS], rows_out[ELSTM_MAX_PORTS];
        void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
        bytes = 0;
        for (uint32_t port = 0; port < ELSTM_MAX_PORTS; ++port)
            rows_in[port] = (size_t)STEPS * streams;
        for (uint32_t port = 0; port < model->outputs; ++port) {
            const uint32_t rows = elstm_output_rows(&runner, port, STEPS, ELSTM_ROWS_MODEL);
            CHECK(rows == (model->output[port].single ? 1 : STEPS), "output %u: %u rows", port,
                  rows);
            rows_out[port] = (size_t)rows * streams;
            bytes += rows_out[port] * model->output[port].width * value_size(s->door);
        }
        take_ports(model->input, model->inputs, rows_in, s->door, xs);
        unsigned char *y = take_ports(model->output, model->outputs, rows_out, s->door, ys);
        for (uint32_t row = 0; row < STEPS * streams; ++row)
            put(s, row % streams, row / streams, xs, row);
        CHECK(run(&runner, s->door, xs, ys, STEPS, ELSTM_ROWS_MODEL) == ELSTM_OK, "refused");
        for (uint32_t output = 0; output < model->outputs; ++output)
            for (uint32_t row = 0; !model->output[output].single && row < STEPS * streams; ++row)
                compare(s, row % streams, row / streams, output, ys[output], row);
        if (first == NULL) {
            first = malloc(bytes);
            CHECK(first != NULL, "no memory");
            memcpy(first, y, bytes);
        }
        for (size_t at = 0; at < bytes; at += value_size(s->door)) {
            if (s->of->model.type != ELSTM_F32) {
                CHECK(memcmp(first + at, y + at, value_size(s->door)) == 0, "byte %zu differs", at);
            } else {
                float a, b;
                memcpy(&a, first + at, sizeof a);
                memcpy(&b, y + at, sizeof b);
                CHECK(fabs((double)(a - b)) <= 4e-6 * fmax(1, fabs((double)a)), "byte %zu differs",
                      at);
            }
        }
        check_release();
    }
    free(first);
}

/* Steps of three streams: one is reset on the way, one continues from another's saved state. */
static void states(const sequences *s, const elstm_kernels *set) {
    const elstm_model *model = &s->of->model;
    const size_t rows[ELSTM_MAX_PORTS] = {3, 3, 3, 3, 3, 3, 3, 3};
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    begin(s, set, "the states", 3, 1);
    elstm_runner runner = start(s->of, set, 1, 3);
    unsigned char *saved = check_take(model->state_size, 0);
    take_ports(model->input, model->inputs, rows, s->door, xs);
    take_ports(model->output, model->outputs, rows, s->door, ys);
    /* of which sequence, and from where, each stream is fed */
    uint32_t from[3] = {0, 1, 2}, at[3] = {0, 0, 0};
    for (uint32_t count = 0; count < 40; ++count) {
        if (count == 10) memcpy(saved, elstm_state(&runner, 0), model->state_size);
        if (count == 15) {
            elstm_reset_stream(&runner, 1);
            at[1] = 0;
        }
        if (count == 20) {
            memcpy(elstm_state(&runner, 2), saved, model->state_size);
            from[2] = 0;
            at[2] = 10;
        }
        if (count == 30) {
            elstm_reset(&runner);
            at[0] = at[1] = at[2] = 0;
        }
        for (uint32_t stream = 0; stream < 3; ++stream)
            put(s, from[stream], at[stream], xs, stream);
        step(&runner, s->door, xs, ys);
        for (uint32_t stream = 0; stream < 3; ++stream) {
            for (uint32_t output = 0; output < model->outputs; ++output)
                compare(s, from[stream], at[stream], output, ys[output], stream);
            ++at[stream];
        }
    }
    check_release();
}

/* The state of an s8 or tfl8 model is the same bytes on every set: it can move while it runs. */
static void states_move(const sequences *s, const elstm_kernels *set) {
    const elstm_model *model = &s->of->model;
    const size_t one[ELSTM_MAX_PORTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    if (model->type == ELSTM_F32) return;
    begin(s, set, "a state moved", 1, 1);
    elstm_runner here = start(s->of, set, 1, 1);
    elstm_runner there = start(s->of, elstm_kernels_find("scalar"), 1, 1);
    take_ports(model->input, model->inputs, one, s->door, xs);
    take_ports(model->output, model->outputs, one, s->door, ys);
    for (uint32_t at = 0; at < 30; ++at) {
        elstm_runner *runner = at < 10 || at >= 20 ? &here : &there;
        elstm_runner *other = runner == &here ? &there : &here;
        if (at == 10 || at == 20)
            memcpy(elstm_state(runner, 0), elstm_state(other, 0), model->state_size);
        put(s, 0, at, xs, 0);
        step(runner, s->door, xs, ys);
        for (uint32_t output = 0; output < model->outputs; ++output)
            compare(s, 0, at, output, ys[output], 0);
    }
    elstm_reset(&there);
    for (uint32_t at = 0; at < 30; ++at) {
        put(s, 0, at, xs, 0);
        step(&there, s->door, xs, ys);
    }
    CHECK(memcmp(elstm_state(&here, 0), elstm_state(&there, 0), model->state_size) == 0,
          "the states differ");
    check_release();
}

/* Inputs, layers and outputs one after the other are a step. */
static void parts(const sequences *s, const elstm_kernels *set, uint32_t streams) {
    const elstm_model *model = &s->of->model;
    size_t rows[ELSTM_MAX_PORTS];
    void *xs[ELSTM_MAX_PORTS], *ys[ELSTM_MAX_PORTS];
    begin(s, set, "a step in parts", streams, 1);
    elstm_runner runner = start(s->of, set, 1, streams);
    for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k) rows[k] = streams;
    take_ports(model->input, model->inputs, rows, s->door, xs);
    take_ports(model->output, model->outputs, rows, s->door, ys);
    for (uint32_t at = 0; at < 10; ++at) {
        const float *xf[ELSTM_MAX_PORTS];
        const int16_t *xi[ELSTM_MAX_PORTS];
        float *yf[ELSTM_MAX_PORTS];
        int16_t *yi[ELSTM_MAX_PORTS];
        for (uint32_t k = 0; k < model->inputs; ++k) xf[k] = xs[k], xi[k] = xs[k];
        for (uint32_t k = 0; k < model->outputs; ++k) yf[k] = ys[k], yi[k] = ys[k];
        for (uint32_t stream = 0; stream < streams; ++stream) put(s, stream, at, xs, stream);
        if (s->door == FLOATS)
            elstm_enter_f32(&runner, xf);
        else if (s->door == INTEGERS)
            elstm_enter_s8(&runner, xi);
        else
            elstm_enter_raw(&runner, (const void *const *)xs);
        for (uint32_t layer = 0; layer < model->ops; ++layer) elstm_step_layer(&runner, layer);
        if (s->door == FLOATS)
            elstm_leave_f32(&runner, yf);
        else if (s->door == INTEGERS)
            elstm_leave_s8(&runner, yi);
        else
            elstm_leave_raw(&runner, ys);
        for (uint32_t output = 0; output < model->outputs; ++output)
            for (uint32_t stream = 0; stream < streams; ++stream)
                compare(s, stream, at, output, ys[output], stream);
    }
    check_release();
}

/* In a step an input and an output may be one buffer. */
static void one_buffer(const sequences *s, const elstm_kernels *set) {
    const elstm_model *model = &s->of->model;
    size_t width = 0;
    void *ports[ELSTM_MAX_PORTS];
    begin(s, set, "one buffer in and out", 1, 1);
    for (uint32_t k = 0; k < model->inputs; ++k)
        width = model->input[k].width > width ? model->input[k].width : width;
    for (uint32_t k = 0; k < model->outputs; ++k)
        width = model->output[k].width > width ? model->output[k].width : width;
    const uint32_t most = model->inputs > model->outputs ? model->inputs : model->outputs;
    for (uint32_t k = 0; k < most; ++k) ports[k] = check_take(width * value_size(s->door), 0);
    elstm_runner runner = start(s->of, set, 1, 1);
    for (uint32_t at = 0; at < 10; ++at) {
        put(s, 0, at, ports, 0);
        step(&runner, s->door, ports, ports);
        for (uint32_t output = 0; output < model->outputs; ++output)
            compare(s, 0, at, output, ports[output], 0);
    }
    check_release();
}

/* At the float door NaN counts as 0, and whatever is beyond 2^60 as 2^60. */
static void odd_floats(const image *g, const elstm_kernels *set) {
    static const float pairs[][2] = {
        {NAN, 0}, {-NAN, 0}, {INFINITY, 0x1p60f}, {-INFINITY, -0x1p60f}, {3e38f, 0x1p60f}};
    const size_t one[ELSTM_MAX_PORTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    void *xs[ELSTM_MAX_PORTS], *a[ELSTM_MAX_PORTS], *b[ELSTM_MAX_PORTS];
    check_begin("odd floats into image %s, %s", g->name, elstm_kernels_name(set));
    elstm_runner runner = start(g, set, 1, 1);
    float *x = take_ports(g->model.input, g->model.inputs, one, FLOATS, xs);
    float *first = take_ports(g->model.output, g->model.outputs, one, FLOATS, a);
    float *second = take_ports(g->model.output, g->model.outputs, one, FLOATS, b);
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; ++k) {
        for (int which = 0; which < 2; ++which) {
            elstm_reset(&runner);
            for (uint32_t j = 0; j < g->x_values; ++j) x[j] = j % 2 ? 0.25f : pairs[k][which];
            for (int at = 0; at < 3; ++at) step(&runner, FLOATS, xs, which ? b : a);
        }
        CHECK(memcmp(first, second, g->y_values * sizeof *first) == 0, "%g does not count as %g",
              (double)pairs[k][0], (double)pairs[k][1]);
    }
    check_release();
}

/* At the float door of an int8 port stand the real values of the bytes at the raw one. */
static void floats_are_bytes(const image *g, const elstm_kernels *set) {
    const size_t one[ELSTM_MAX_PORTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    void *xf[ELSTM_MAX_PORTS], *yf[ELSTM_MAX_PORTS], *xr[ELSTM_MAX_PORTS], *yr[ELSTM_MAX_PORTS];
    if (!fits(g, RAW)) return;
    check_begin("floats and bytes of image %s, %s", g->name, elstm_kernels_name(set));
    elstm_runner floats = start(g, set, 1, 1), bytes = start(g, set, 1, 1);
    check_random random = check_seeded(7);
    take_ports(g->model.input, g->model.inputs, one, FLOATS, xf);
    take_ports(g->model.output, g->model.outputs, one, FLOATS, yf);
    take_ports(g->model.input, g->model.inputs, one, RAW, xr);
    take_ports(g->model.output, g->model.outputs, one, RAW, yr);
    for (int at = 0; at < 20; ++at) {
        for (uint32_t k = 0; k < g->model.inputs; ++k) {
            const elstm_port *port = &g->model.input[k];
            for (uint32_t j = 0; j < port->width; ++j) {
                const int32_t q = check_between(&random, -128, 127);
                ((int8_t *)xr[k])[j] = (int8_t)q;
                ((float *)xf[k])[j] = port->scale * (float)(q - port->zero);
            }
        }
        step(&floats, FLOATS, xf, yf);
        step(&bytes, RAW, xr, yr);
        for (uint32_t k = 0; k < g->model.outputs; ++k) {
            const elstm_port *port = &g->model.output[k];
            for (uint32_t j = 0; j < port->width; ++j) {
                const float real = port->scale * (float)(((int8_t *)yr[k])[j] - port->zero);
                CHECK(memcmp((float *)yf[k] + j, &real, sizeof real) == 0,
                      "output %u, value %u: %.9g, expected %.9g", k, j, (double)((float *)yf[k])[j],
                      (double)real);
            }
        }
    }
    check_release();
}

/* ---- what opening and starting refuse ---- */

static void refusals(const image *g, const elstm_kernels *set) {
    const elstm_limits limits = {2, 3}, none[2] = {{0, 1}, {1, 0}}, vast = {1u << 31, 2};
    const size_t size = elstm_arena_size(&g->model, set, limits);
    elstm_runner runner;
    elstm_model model;
    check_begin("refusals of image %s, %s", g->name, elstm_kernels_name(set));
    unsigned char *arena = check_take(size + ELSTM_ALIGN, 0);
    arena += (ELSTM_ALIGN - (uintptr_t)arena % ELSTM_ALIGN) % ELSTM_ALIGN;
    CHECK(elstm_runner_init(&runner, &g->model, set, limits, arena, size - 1) == ELSTM_ERR_MEMORY,
          "an arena one byte too small");
    CHECK(elstm_runner_init(&runner, &g->model, set, limits, arena + 8, size) ==
              ELSTM_ERR_ALIGNMENT,
          "a crooked arena");
    for (int k = 0; k < 2; ++k) {
        CHECK(elstm_arena_size(&g->model, set, none[k]) == SIZE_MAX, "limits of 0");
        CHECK(elstm_runner_init(&runner, &g->model, set, none[k], arena, size) ==
                  ELSTM_ERR_ARGUMENT,
              "limits of 0");
    }
    CHECK(elstm_arena_size(&g->model, set, vast) == SIZE_MAX, "limits beyond any memory");
    CHECK(elstm_runner_init(&runner, &g->model, NULL, limits, arena, size) == ELSTM_ERR_ARGUMENT,
          "no kernels");
    CHECK(elstm_runner_init(&runner, &g->model, set, limits, NULL, size) == ELSTM_ERR_ARGUMENT,
          "no arena");
    CHECK(elstm_model_open(&model, NULL, 200) == ELSTM_ERR_ARGUMENT, "no image");
    check_release();
    unsigned char *crooked = check_take(g->size + 16, 0);
    crooked += (ELSTM_ALIGN - (uintptr_t)crooked % ELSTM_ALIGN) % ELSTM_ALIGN + 4;
    CHECK(elstm_model_open(&model, crooked, g->size) == ELSTM_ERR_ALIGNMENT, "a crooked image");
    check_release();
}

/* Bytes of a port's value in the example. */
static uint32_t example_size(const elstm_model *model, const elstm_port *port) {
    if (model->type == ELSTM_S8) return sizeof(int16_t);
    return port->type == ELSTM_F32 ? 4 : port->type == ELSTM_S16 ? 2 : 1;
}

/* The example must be able to fail: other answers inside the image, other answers found. */
static void self_checks(const image *g, const elstm_kernels *set) {
    static const uint32_t streams[3] = {1, 3, STREAMS};
    const uint32_t example = g->model.sections[5][0] + 8;
    uint32_t inputs = 0;
    check_begin("the example of image %s, %s", g->name, elstm_kernels_name(set));
    CHECK(g->model.example_steps > 0, "there is none");
    for (int k = 0; k < 3; ++k) {
        elstm_runner runner = start(g, set, 1, streams[k]);
        const elstm_status status = elstm_self_check(&runner);
        CHECK(status == ELSTM_OK, "streams %u: %s", streams[k], elstm_status_text(status));
        for (size_t at = 0; at < (size_t)g->model.state_size * streams[k]; ++at)
            CHECK(((unsigned char *)elstm_state(&runner, 0))[at] == 0, "it leaves a state");
        check_release();
    }
    for (uint32_t k = 0; k < g->model.inputs; ++k) {
        const elstm_port *port = &g->model.input[k];
        const uint32_t rows = port->single ? 1 : g->model.example_steps;
        inputs += (rows * port->width * example_size(&g->model, port) + 3) / 4 * 4;
    }
    static const float far = 1e9f;
    unsigned char *copy = NULL;
    CHECK(posix_memalign((void **)&copy, ELSTM_ALIGN, g->size) == 0, "no memory");
    memcpy(copy, g->bytes, g->size);
    if (g->model.type == ELSTM_F32)
        memcpy(copy + example + inputs, &far, sizeof far);
    else
        copy[example + inputs] ^= 1;
    check_mend(copy, g->size);
    image other = *g;
    other.bytes = copy;
    CHECK(elstm_model_open(&other.model, copy, g->size) == ELSTM_OK, "cannot be opened");
    elstm_runner runner = start(&other, set, 1, 1);
    CHECK(elstm_self_check(&runner) == ELSTM_ERR_SELF_CHECK, "a wrong answer went unseen");
    check_release();
    free(copy);
}

/* ---- a set whose joined step wants no scratch ---- */

static void step_apart(const elstm_plain_s8 *l, const void *x, int32_t *scratch,
                       const elstm_cell_s8 *cell) {
    static int32_t sums[4 * 1024];
    const elstm_kernels *plain = &elstm_kernels_scalar;
    (void)scratch;
    CHECK(l->kernel->groups * 4 * ELSTM_GROUP <= 4 * 1024, "%u groups", l->kernel->groups);
    if (l->type == ELSTM_S8)
        plain->matmul_s8(l->kernel, l->rescale, x, 0, sums, 1);
    else
        plain->matmul_s16(l->kernel, l->rescale, x, 0, sums, 1);
    if (cell->type == ELSTM_S8)
        plain->matmul_s8(l->recurrent, NULL, cell->h, 0, sums, 1);
    else
        plain->matmul_s16(l->recurrent, NULL, cell->h, 0, sums, 1);
    plain->lstm_s8(sums, l->requantize, cell, l->kernel->groups);
}

/* Arenas without the sums of an LSTM that steps so: single steps and runs, of which each step is
 * such a one, stay within them. */
static void without_scratch(const image *g, const sequences *s) {
    static elstm_kernels set;
    set = elstm_kernels_scalar;
    set.name = "scalar with a step of its own";
    set.step_s16 = set.step_any = step_apart;
    const elstm_limits one = {1, 1}, more = {3, 1};
    check_begin("the arena of image %s without scratch", g->name);
    CHECK(elstm_arena_size(&g->model, &set, one) <=
                  elstm_arena_size(&g->model, &elstm_kernels_scalar, one) &&
              elstm_arena_size(&g->model, &set, more) <=
                  elstm_arena_size(&g->model, &elstm_kernels_scalar, more),
          "it is larger");
    self_checks(g, &set);
    runs(s, &set, 1, 1);
    runs(s, &set, 1, 3);
}

/* ---- files ---- */

static image open_image(const char *path) {
    image g;
    memset(&g, 0, sizeof g);
    const char *slash = strrchr(path, '/');
    snprintf(g.name, sizeof g.name, "%s", slash == NULL ? path : slash + 1);
    char *dot = strrchr(g.name, '.');
    if (dot != NULL) *dot = '\0';
    g.bytes = check_file(path, &g.size);
    const elstm_status status = elstm_model_open(&g.model, g.bytes, g.size);
    CHECK(status == ELSTM_OK, "%s", elstm_status_text(status));
    for (uint32_t k = 0; k < g.model.inputs; ++k) g.x_values += g.model.input[k].width;
    for (uint32_t k = 0; k < g.model.outputs; ++k) g.y_values += g.model.output[k].width;
    return g;
}

static void test_image(const image *g) {
    static const uint32_t chunks[3] = {1, 3, 64}, streams[3] = {1, 3, STREAMS};
    for (int d = FLOATS; d <= RAW; ++d) {
        if (!fits(g, (door)d)) continue;
        check_begin("steps of image %s on scalar", g->name);
        sequences s = make_sequences(g, (door)d);
        if (d == INTEGERS) without_scratch(g, &s);
        for (size_t k = 0; k < elstm_kernels_count(); ++k) {
            const elstm_kernels *set = elstm_kernels_at(k);
            if (set == NULL) continue;
            for (int n = 0; n < 3; ++n) {
                for (int m = 0; m < 3; ++m) runs(&s, set, streams[n], chunks[m]);
                runs_of_the_model(&s, set, streams[n]);
                parts(&s, set, streams[n]);
            }
            states(&s, set);
            states_move(&s, set);
            one_buffer(&s, set);
        }
        free(s.xs);
        free(s.ys);
    }
    for (size_t k = 0; k < elstm_kernels_count(); ++k) {
        const elstm_kernels *set = elstm_kernels_at(k);
        if (set == NULL) continue;
        odd_floats(g, set);
        floats_are_bytes(g, set);
        refusals(g, set);
        self_checks(g, set);
    }
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
        image g = open_image(argv[k]);
        if (!g.model.uneven && g.model.causal) { /* the others are for test_rows */
            test_image(&g);
            ++count;
        }
        free(g.bytes);
    }
    check_begin("the command line");
    CHECK(count > 0, "no image given");
    printf("test_images: %u images on", count);
    for (size_t k = 0; k < elstm_kernels_count(); ++k)
        if (elstm_kernels_at(k) != NULL) printf(" %s", elstm_kernels_name(elstm_kernels_at(k)));
    putchar('\n');
    return 0;
}
