/* Every kernel of every set this machine can run, at many sizes and on extremes, between fences:
 * s8 equal to docs/numerics.md bit for bit, f32 within its bound. --bench times them instead.
 *
 *     test_kernels [--seed N] [--rounds N] [--kernels NAME] [--bench]
 */
#define _DEFAULT_SOURCE
#include "check.h"

#include "activations.h"
#include "kernels.h"

#include <float.h>
#include <math.h>
#include <time.h>

static const elstm_kernels *set;      /* under test */
static int16_t *tanh_of, *sigmoid_of; /* at v + 32768, checked against the page's checksums */

/* How a buffer's numbers are chosen. */
enum { RANDOM, LOWEST, HIGHEST, ONES, EXTREMES, ALTERNATING, FILLS };
static const char *const fill_names[FILLS] = {"random", "lowest",   "highest",
                                              "ones",   "extremes", "alternating"};

static int32_t pick(check_random *random, int fill, uint32_t k, int32_t low, int32_t high) {
    switch (fill) {
    case LOWEST: return low;
    case HIGHEST: return high;
    case ONES: return check_u32(random) & 1 ? 1 : -1;
    case EXTREMES: return check_u32(random) & 1 ? low : high;
    case ALTERNATING: return k & 1 ? low : high;
    default: return check_between(random, low, high);
    }
}

/* A buffer at its natural alignment and no better: half of them end at the fence, the others some
 * elements before it. */
static void *take(check_random *random, size_t count, size_t size) {
    const uint32_t gap = check_u32(random) & 1 ? 0 : check_u32(random) % 8;
    return check_take(count * size, gap * size);
}

static int8_t *take_s8(check_random *random, int fill, size_t count, int32_t low, int32_t high) {
    int8_t *v = take(random, count, sizeof *v);
    for (size_t k = 0; k < count; ++k) v[k] = (int8_t)pick(random, fill, (uint32_t)k, low, high);
    return v;
}

static int16_t *take_s16(check_random *random, int fill, size_t count, int32_t low, int32_t high) {
    int16_t *v = take(random, count, sizeof *v);
    for (size_t k = 0; k < count; ++k) v[k] = (int16_t)pick(random, fill, (uint32_t)k, low, high);
    return v;
}

static int32_t *take_s32(check_random *random, int fill, size_t count, int32_t low, int32_t high) {
    int32_t *v = take(random, count, sizeof *v);
    for (size_t k = 0; k < count; ++k) v[k] = pick(random, fill, (uint32_t)k, low, high);
    return v;
}

static float *take_f32(check_random *random, int fill, size_t count, float size) {
    float *v = take(random, count, sizeof *v);
    for (size_t k = 0; k < count; ++k)
        v[k] = fill == RANDOM ? size * check_unit(random)
                              : size * (float)pick(random, fill, (uint32_t)k, -1, 1);
    return v;
}

/* ---- the page's arithmetic, in 64 bits ---- */

static int64_t floor_shift(int64_t v, int32_t n) {
    const int64_t unit = (int64_t)1 << (n < 0 ? -n : n);
    if (n < 0) return v * unit;
    return v / unit - (v % unit < 0);
}

static int64_t high(int64_t a, int64_t b) { return floor_shift(a * b + 0x4000, 15); }

static int64_t saturated(int64_t v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

static int64_t requantized(int64_t acc, int32_t shift, int32_t multiplier) {
    const int64_t t = saturated(floor_shift(acc, shift));
    return saturated(t + high(t, multiplier));
}

/* ---- products ---- */

/* What a product does to y: replaces it, or adds to it. */
enum { FRESH, ADDED, ENDS };
static const char *const end_names[ENDS] = {"fresh", "added"};

typedef struct {
    uint32_t groups, gates, columns, count; /* columns: quads in s8 */
    uint32_t extra;                         /* x_stride beyond the least */
    int fill, end;
} product;

static void begin_product(const char *kernel, const product *p, uint32_t seed) {
    check_begin("--seed %u: %s of %s, groups %u, gates %u, %s %u, count %u, x_stride + %u, %s, "
                "%s",
                seed, kernel, set->name, p->groups, p->gates,
                strcmp(kernel, "matmul_f32") == 0 ? "columns" : "quads", p->columns, p->count,
                p->extra, fill_names[p->fill], end_names[p->end]);
}

/* matmul_s8 (wide 0) or matmul_s16 (1), with prepare_s8. */
static void product_s8(const product *p, int wide, uint32_t seed) {
    check_random random = check_seeded(seed);
    begin_product(wide ? "matmul_s16" : "matmul_s8", p, seed);
    const uint32_t lanes = p->gates * ELSTM_GROUP, rows = p->groups * lanes;
    const size_t columns = 4 * (size_t)p->columns, stride = columns + p->extra;
    const size_t values = stride * (p->count - 1) + columns;
    /* weights at their extremes meet x at its own */
    const int8_t *weights = take_s8(&random, p->fill == RANDOM ? RANDOM : (int)(seed % FILLS),
                                    rows * columns, -127, 127);
    const int8_t *narrow = wide ? NULL : take_s8(&random, p->fill, values, -128, 127);
    const int16_t *x16 = wide ? take_s16(&random, p->fill, values, -32768, 32767) : NULL;
    const int64_t reach = (int64_t)columns * 127 * (wide ? 32768 : 128);
    const int64_t left = INT32_MAX - reach;
    const int32_t limit = left < 1 << 26 ? (int32_t)left : 1 << 26;
    const int32_t *bias = take_s32(&random, RANDOM, rows, -limit, limit);
    /* left shifts where sums leave room for them, as opening an image checks */
    const int32_t lowest = reach < 1 << 26 ? -4 : 0;
    const int8_t *shift = take_s8(&random, RANDOM, rows, lowest, 27);
    const elstm_rescale rescale = {shift, bias};
    int32_t *surplus = take(&random, rows, sizeof *surplus);
    int32_t *y = take_s32(&random, RANDOM, (size_t)rows * p->count, -limit, limit);
    int32_t *expected = check_take((size_t)rows * p->count * sizeof *expected, 0);
    elstm_matrix_s8 w = {weights, NULL, p->groups, p->gates, p->columns};
    for (uint32_t k = 0; k < p->count; ++k) {
        for (uint32_t r = 0; r < rows; ++r) {
            const int8_t *at = weights + (size_t)(r / lanes) * columns * lanes + r % lanes * 4;
            int64_t sum = 0;
            for (size_t c = 0; c < columns; ++c) {
                const size_t place = k * stride + c;
                sum += at[c / 4 * lanes * 4 + c % 4] * (wide ? x16[place] : narrow[place]);
            }
            sum = p->end == ADDED ? sum + y[k * rows + r] : floor_shift(sum, shift[r]) + bias[r];
            CHECK(sum <= INT32_MAX && sum >= INT32_MIN, "the test itself overflows");
            expected[k * rows + r] = (int32_t)sum;
        }
    }
    if (set->prepare_s8 != NULL) {
        set->prepare_s8(&w, surplus);
        w.surplus = surplus;
    }
    if (wide)
        set->matmul_s16(&w, p->end == ADDED ? NULL : &rescale, x16, stride, y, p->count);
    else
        set->matmul_s8(&w, p->end == ADDED ? NULL : &rescale, narrow, stride, y, p->count);
    for (size_t k = 0; k < (size_t)rows * p->count; ++k)
        CHECK(y[k] == expected[k], "product %zu, row %zu: %d, expected %d", k / rows, k % rows,
              y[k], expected[k]);
    check_release();
}

/* Any order of summing n products errs by at most n units of the last place of the sum of their
 * sizes. */
static void product_f32(const product *p, uint32_t seed) {
    check_random random = check_seeded(seed);
    begin_product("matmul_f32", p, seed);
    const uint32_t lanes = p->gates * ELSTM_GROUP, rows = p->groups * lanes;
    const size_t stride = p->columns + p->extra;
    const float sizes[4] = {1, 1e9f, 1e-12f, 30};
    const float size = sizes[seed % 4];
    const float *weights =
        take_f32(&random, p->fill, (size_t)rows * p->columns, sizes[seed / 4 % 4]);
    const float *x = take_f32(&random, p->fill == ONES ? RANDOM : p->fill,
                              stride * (p->count - 1) + p->columns, size);
    const float *bias = take_f32(&random, RANDOM, rows, size);
    float *y = take_f32(&random, RANDOM, (size_t)rows * p->count, size);
    float *start = check_take((size_t)rows * p->count * sizeof *start, 0);
    memcpy(start, y, (size_t)rows * p->count * sizeof *start);
    const elstm_matrix_f32 w = {weights, p->groups, p->gates, p->columns};
    set->matmul_f32(&w, p->end == ADDED ? NULL : bias, x, stride, y, p->count);
    for (uint32_t k = 0; k < p->count; ++k) {
        for (uint32_t r = 0; r < rows; ++r) {
            const float *at = weights + (size_t)(r / lanes) * p->columns * lanes + r % lanes;
            double sum = (double)(p->end == ADDED ? start[k * rows + r] : bias[r]);
            double size_of_all = fabs(sum);
            for (uint32_t c = 0; c < p->columns; ++c) {
                const double term = (double)at[c * lanes] * (double)x[k * stride + c];
                sum += term;
                size_of_all += fabs(term);
            }
            const double got = (double)y[k * rows + r];
            const double bound = (p->columns + 2) * (size_of_all * 0x1p-24 + 0x1p-149);
            CHECK(fabs(got - sum) <= bound, "product %u, row %u: %.9g, expected %.9g +- %.2g", k, r,
                  got, sum, bound);
        }
    }
    check_release();
}

static void products(uint32_t seed) {
    static const uint32_t group_counts[] = {1, 2, 3, 4, 5, 7, 8, 9};
    static const uint32_t more[] = {63, 64, 65, 127, 128, 129};
    const uint32_t widths = 40 + sizeof more / sizeof *more;
    for (uint32_t width = 0; width < widths; ++width) {
        for (uint32_t g = 0; g < sizeof group_counts / sizeof *group_counts; ++g) {
            const uint32_t columns = width < 40 ? width + 1 : more[width - 40];
            if (width >= 40 && g > 3) continue;
            for (uint32_t gates = 1; gates <= 4; gates += 3) {
                for (int fill = 0; fill < FILLS; ++fill, ++seed) {
                    check_random random = check_seeded(seed);
                    const product p = {group_counts[g],
                                       gates,
                                       columns,
                                       1 + check_u32(&random) % 9,
                                       check_u32(&random) & 1 ? 0 : check_u32(&random) % 9,
                                       fill,
                                       (int)(seed / FILLS % ENDS)};
                    product_s8(&p, 0, seed);
                    product_s8(&p, 1, seed);
                    product_f32(&p, seed);
                }
            }
        }
    }
    /* the widest rows that the bounds of an image admit: |ax| < 2^31 and < 2^27 */
    for (int fill = 0; fill < FILLS; ++fill, ++seed) {
        const product widest_s16 = {1, 4, 120, 1, 0, fill, ADDED};
        const product widest_s8 = {2, 4, 1000, 2, 0, fill, FRESH};
        product_s8(&widest_s16, 1, seed);
        product_s8(&widest_s8, 0, seed);
    }
}

/* ---- rows ---- */

static void requantize(uint32_t groups, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const uint32_t rows = groups * ELSTM_GROUP;
    const int32_t limit = (1 << 27) - 1;
    check_begin("--seed %u: requantize_s8 of %s, rows %u, %s", seed, set->name, rows,
                fill_names[fill]);
    const int other = fill == RANDOM ? RANDOM : (int)(seed % FILLS);
    const int8_t *shift = take_s8(&random, other, rows, -4, 27);
    int16_t *multiplier = take_s16(&random, other, rows, 0, 32767);
    for (uint32_t r = 0; r < rows; ++r) multiplier[r] = multiplier[r] < 0 ? 1 : multiplier[r];
    int32_t *acc = take_s32(&random, fill, rows, -limit, limit);
    int16_t *z = take(&random, rows, sizeof *z);
    /* half of the random sums land where the result does not saturate */
    for (uint32_t r = 0; fill == RANDOM && r < rows; r += 2) {
        const int32_t bits = shift[r] + 16 > 27 ? 27 : shift[r] + 16;
        acc[r] = check_between(&random, -(1 << bits) + 1, (1 << bits) - 1);
    }
    const elstm_requantize q = {shift, multiplier, NULL, 0};
    set->requantize_s8(acc, &q, z, rows);
    for (uint32_t r = 0; r < rows; ++r)
        CHECK(z[r] == requantized(acc[r], shift[r], multiplier[r]),
              "row %u, acc %d, shift %d, multiplier %d: %d, expected %d", r, acc[r], shift[r],
              multiplier[r], z[r], (int)requantized(acc[r], shift[r], multiplier[r]));
    check_release();
}

/* ---- cells ---- */

static void lstm_s8(uint32_t groups, int fill, uint32_t seed) {
    static const int32_t kappas[8] = {1, 32767, 6554, 3277, 1638, 819, 205, 16384};
    static const int32_t multipliers[8] = {127, 1, 126, 128, 160, 1000, 32767, 127};
    check_random random = check_seeded(seed);
    const uint32_t units = groups * ELSTM_GROUP, rows = 4 * units;
    const int32_t limit = (1 << 27) - 1, kappa = kappas[check_u32(&random) % 8];
    const int32_t hm = multipliers[check_u32(&random) % 8];
    const uint32_t doublings = check_u32(&random) % 11;
    const elstm_type type = check_u32(&random) & 1 ? ELSTM_S8 : ELSTM_S16;
    check_begin("--seed %u: lstm_s8 of %s, groups %u, h s%d, kappa %d, hm %d, doublings %u, %s",
                seed, set->name, groups, type == ELSTM_S8 ? 8 : 16, kappa, hm, doublings,
                fill_names[fill]);
    const int other = fill == RANDOM ? RANDOM : (int)(seed % FILLS);
    const int8_t *shift = take_s8(&random, other, rows, -4, 27);
    int16_t *multiplier = take_s16(&random, other, rows, 0, 32767);
    for (uint32_t r = 0; r < rows; ++r) multiplier[r] = multiplier[r] < 0 ? 1 : multiplier[r];
    int32_t *acc = take_s32(&random, fill, rows, -limit, limit);
    for (uint32_t r = 0; fill == RANDOM && r < rows; ++r) {
        const int32_t bits = shift[r] + 15 > 27 ? 27 : shift[r] + 15;
        acc[r] = check_between(&random, -(1 << bits) + 1, (1 << bits) - 1);
    }
    int16_t *c = take_s16(&random, fill, units, -32768, 32767);
    const size_t size = type == ELSTM_S8 ? sizeof(int8_t) : sizeof(int16_t);
    void *h = take(&random, units, size), *y = take(&random, units, size);
    int16_t *c_expected = check_take(units * sizeof *c_expected, 0);
    int16_t *h_expected = check_take(units * sizeof *h_expected, 0);
    for (uint32_t unit = 0; unit < units; ++unit) {
        int64_t z[4];
        for (uint32_t gate = 0; gate < 4; ++gate) {
            const uint32_t r = unit / 8 * 32 + gate * 8 + unit % 8;
            z[gate] = requantized(acc[r], shift[r], multiplier[r]) + 32768;
        }
        const int64_t i = sigmoid_of[z[0]], f = sigmoid_of[z[1]], g = tanh_of[z[2]];
        int64_t v = saturated(high(f, c[unit]) + high(high(i, g), kappa));
        c_expected[unit] = (int16_t)v;
        for (uint32_t d = 0; d < doublings; ++d) v = saturated(2 * v);
        const int64_t hidden = high(high(sigmoid_of[z[3]], tanh_of[v + 32768]), hm);
        const int64_t most = type == ELSTM_S8 ? 127 : 32767;
        h_expected[unit] = (int16_t)(hidden < -most ? -most : hidden > most ? most : hidden);
    }
    elstm_requantize q = {shift, multiplier, NULL, 0};
    int32_t *prepared = take(&random, elstm_prepared_lstm_size(groups), sizeof *prepared);
    if (set->prepare_lstm_s8 != NULL) set->prepare_lstm_s8(&q, groups, prepared);
    const elstm_cell_s8 cell = {c, h, y, type, kappa, hm, doublings};
    set->lstm_s8(acc, &q, &cell, groups);
    for (uint32_t unit = 0; unit < units; ++unit) {
        CHECK(c[unit] == c_expected[unit], "unit %u: c %d, expected %d", unit, c[unit],
              c_expected[unit]);
        const int got = type == ELSTM_S8 ? ((int8_t *)h)[unit] : ((int16_t *)h)[unit];
        const int out = type == ELSTM_S8 ? ((int8_t *)y)[unit] : ((int16_t *)y)[unit];
        CHECK(got == h_expected[unit] && out == got, "unit %u: h %d, y %d, expected %d", unit, got,
              out, h_expected[unit]);
    }
    check_release();
}

/* Of docs/numerics.md. */
#define TANH_ERROR 4.5e-7
#define SIGMOID_ERROR 2.5e-7

static double exact_sigmoid(double v) { return 0.5 + 0.5 * tanh(0.5 * v); }

static float nasty(check_random *random, int fill) {
    static const float extremes[] = {
        0.0f,    -0.0f,    7.9f,           -7.9f,           7.90001f, -7.90001f, 15.8f,
        -15.8f,  88.0f,    -FLT_MAX,       -1.0e30f,        FLT_MAX,  1e-30f,    -1e-30f,
        FLT_MIN, -FLT_MIN, 1e-42f,         -1e-42f,         INFINITY, -INFINITY, 1.0f,
        -1.0f,   0.5f,     1.19209290e-7f, -1.19209290e-7f,
    };
    if (fill == RANDOM) return 9 * check_unit(random);
    if (fill == ONES) return check_u32(random) & 1 ? 1.0f : -1.0f;
    return extremes[check_u32(random) % (sizeof extremes / sizeof *extremes)];
}

static void lstm_f32(uint32_t groups, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const uint32_t units = groups * ELSTM_GROUP;
    check_begin("--seed %u: lstm_f32 of %s, groups %u, %s", seed, set->name, groups,
                fill_names[fill]);
    float *z = take(&random, 4 * units, sizeof *z), *c = take(&random, units, sizeof *c);
    float *h = take_f32(&random, RANDOM, units, 1), *y = take_f32(&random, RANDOM, units, 1);
    double *exact = check_take(units * sizeof *exact, 0);
    double *tolerance = check_take(units * sizeof *tolerance, 0);
    for (uint32_t r = 0; r < 4 * units; ++r) z[r] = nasty(&random, fill);
    for (uint32_t unit = 0; unit < units; ++unit) {
        const float sizes[4] = {1, 100, 1e-19f, 1e18f};
        c[unit] = sizes[fill == RANDOM ? 0 : check_u32(&random) % 4] * check_unit(&random);
        /* a cell that idles: what is left of c must become 0, not a denormal */
        if (fill == LOWEST) {
            z[unit / 8 * 32 + unit % 8] = -FLT_MAX;
            c[unit] = 8e-19f * check_unit(&random);
        }
        const float *at = z + unit / 8 * 32 + unit % 8;
        const double f = exact_sigmoid((double)at[8]), before = (double)c[unit];
        exact[unit] = f * before + exact_sigmoid((double)at[0]) * tanh((double)at[16]);
        tolerance[unit] =
            2 * SIGMOID_ERROR * fabs(before) + 2 * (SIGMOID_ERROR + TANH_ERROR) + 0x1p-24;
    }
    set->lstm_f32(z, c, h, y, groups);
    for (uint32_t unit = 0; unit < units; ++unit) {
        const double got = (double)c[unit], output = (double)z[unit / 8 * 32 + 24 + unit % 8];
        CHECK(fabs(got - exact[unit]) <= tolerance[unit], "unit %u: c %.9g, expected %.9g +- %.2g",
              unit, got, exact[unit], tolerance[unit]);
        CHECK(c[unit] >= ELSTM_TINY || c[unit] <= -ELSTM_TINY || (c[unit] <= 0 && c[unit] >= 0),
              "unit %u: c %.9g is neither 0 nor at least 2^-60", unit, got);
        const double expected = exact_sigmoid(output) * tanh(got);
        CHECK(fabs((double)h[unit] - expected) <= SIGMOID_ERROR + TANH_ERROR + 0x1p-24,
              "unit %u: h %.9g, expected %.9g", unit, (double)h[unit], expected);
        CHECK(memcmp(&h[unit], &y[unit], sizeof *h) == 0, "unit %u: y is not h", unit);
    }
    check_release();
}

/* ---- functions ---- */

static void functions_f32(uint32_t count, int fill, uint32_t seed) {
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        check_random random = check_seeded(seed);
        check_begin("--seed %u: %s of %s, count %u, %s", seed, sigmoid ? "sigmoid_f32" : "tanh_f32",
                    set->name, count, fill_names[fill]);
        float *v = take(&random, count, sizeof *v);
        float *x = check_take(count * sizeof *x, 0);
        for (uint32_t k = 0; k < count; ++k) v[k] = x[k] = nasty(&random, fill);
        (sigmoid ? set->sigmoid_f32 : set->tanh_f32)(v, count);
        for (uint32_t k = 0; k < count; ++k) {
            const double exact = sigmoid ? exact_sigmoid((double)x[k]) : tanh((double)x[k]);
            CHECK(fabs((double)v[k] - exact) <= (sigmoid ? SIGMOID_ERROR : TANH_ERROR),
                  "value %u, x %.9g: %.9g, expected %.9g", k, (double)x[k], (double)v[k], exact);
        }
        check_release();
    }
}

static void functions_s16(uint32_t count, int fill, uint32_t seed) {
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        check_random random = check_seeded(seed);
        const int16_t *function = sigmoid ? sigmoid_of : tanh_of;
        check_begin("--seed %u: %s of %s, count %u, %s", seed, sigmoid ? "sigmoid_s16" : "tanh_s16",
                    set->name, count, fill_names[fill]);
        int16_t *v = take_s16(&random, fill, count, -32768, 32767);
        int16_t *x = check_take(count * sizeof *x, 0);
        memcpy(x, v, count * sizeof *x);
        (sigmoid ? set->sigmoid_s16 : set->tanh_s16)(v, count);
        for (uint32_t k = 0; k < count; ++k)
            CHECK(v[k] == function[x[k] + 32768], "value %u, x %d: %d, expected %d", k, x[k], v[k],
                  function[x[k] + 32768]);
        check_release();
    }
}

/* Both functions over all of int16, against the checksums of docs/numerics.md. */
static void whole_functions(void) {
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        int16_t *v = sigmoid ? sigmoid_of : tanh_of;
        check_begin("%s of %s, every int16", sigmoid ? "sigmoid_s16" : "tanh_s16", set->name);
        for (int32_t k = 0; k < 65536; ++k) v[k] = (int16_t)(k - 32768);
        (sigmoid ? set->sigmoid_s16 : set->tanh_s16)(v, 65536);
        const uint32_t crc = check_crc32(0, v, 65536 * sizeof *v);
        CHECK(crc == (sigmoid ? 0x85384d11u : 0xa3cb6378u), "checksum %08x", crc);
    }
}

static void test_set(uint32_t seed) {
    static const uint32_t counts[] = {63, 64, 65, 127, 128, 129, 1000};
    whole_functions();
    products(seed);
    for (uint32_t n = 1; n <= 40 + sizeof counts / sizeof *counts; ++n) {
        const uint32_t count = n <= 40 ? n : counts[n - 41];
        for (int fill = 0; fill < FILLS; ++fill) {
            for (uint32_t repeat = 0; repeat < 4; ++repeat, ++seed) {
                requantize(count, fill, seed);
                if (count <= 129) lstm_s8(count, fill, seed);
                if (count <= 129) lstm_f32(count, fill, seed);
                functions_f32(count, fill, seed);
                functions_s16(count, fill, seed);
            }
        }
    }
}

/* ---- times ---- */

/* Everything a kernel may be timed on, from cache. */
typedef struct {
    const elstm_kernels *kernels;
    uint32_t groups, columns, count;
    float *wf, *xf, *yf, *cf, *hf;
    int8_t *ws, *x8, *h8, *y8, *shift;
    int16_t *x16, *z, *multiplier, *c16;
    int32_t *bias, *surplus, *prepared, *acc;
} bench;

enum {
    BENCH_MATMUL_F32,
    BENCH_DENSE_F32,
    BENCH_LSTM_F32,
    BENCH_TANH_F32,
    BENCH_SIGMOID_F32,
    BENCH_PREPARE_S8,
    BENCH_MATMUL_S8,
    BENCH_DENSE_S8,
    BENCH_MATMUL_S16,
    BENCH_REQUANTIZE_S8,
    BENCH_LSTM_S8,
    BENCH_TANH_S16,
    BENCH_SIGMOID_S16,
    BENCHES
};
static const char *const bench_names[BENCHES] = {
    "matmul_f32", "matmul_f32, 1 gate", "lstm_f32",          "tanh_f32",   "sigmoid_f32",
    "prepare_s8", "matmul_s8",          "matmul_s8, 1 gate", "matmul_s16", "requantize_s8",
    "lstm_s8",    "tanh_s16",           "sigmoid_s16"};

static void bench_once(const bench *b, int kernel) {
    const elstm_kernels *k = b->kernels;
    const uint32_t units = b->groups * ELSTM_GROUP, rows = 4 * units, quads = (b->columns + 3) / 4;
    const elstm_matrix_f32 wf = {b->wf, b->groups, 4, b->columns};
    const elstm_matrix_f32 df = {b->wf, b->groups, 1, b->columns};
    const elstm_matrix_s8 ws = {b->ws, b->surplus, b->groups, 4, quads};
    const elstm_matrix_s8 ds = {b->ws, b->surplus, b->groups, 1, quads};
    const elstm_rescale rescale = {b->shift, b->bias};
    elstm_requantize q = {b->shift, b->multiplier, b->prepared, 0};
    const elstm_cell_s8 cell = {b->c16, b->h8, b->y8, ELSTM_S8, 6554, 127, 0};
    switch (kernel) {
    case BENCH_MATMUL_F32: k->matmul_f32(&wf, b->xf, b->xf, b->columns, b->yf, b->count); break;
    case BENCH_DENSE_F32: k->matmul_f32(&df, b->xf, b->xf, b->columns, b->yf, b->count); break;
    case BENCH_LSTM_F32: k->lstm_f32(b->xf, b->cf, b->hf, b->yf, b->groups); break;
    case BENCH_TANH_F32: k->tanh_f32(b->yf, units); break;
    case BENCH_SIGMOID_F32: k->sigmoid_f32(b->yf, units); break;
    case BENCH_PREPARE_S8:
        if (k->prepare_s8 != NULL) k->prepare_s8(&ws, b->surplus);
        break;
    case BENCH_MATMUL_S8: k->matmul_s8(&ws, &rescale, b->x8, 4 * quads, b->acc, b->count); break;
    case BENCH_DENSE_S8: k->matmul_s8(&ds, &rescale, b->x8, 4 * quads, b->acc, b->count); break;
    case BENCH_MATMUL_S16: k->matmul_s16(&ws, &rescale, b->x16, 4 * quads, b->acc, b->count); break;
    case BENCH_REQUANTIZE_S8: k->requantize_s8(b->acc, &q, b->z, rows); break;
    case BENCH_LSTM_S8: k->lstm_s8(b->acc, &q, &cell, b->groups); break;
    case BENCH_TANH_S16: k->tanh_s16(b->z, units); break;
    default: k->sigmoid_s16(b->z, units); break;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define ROUNDS 31
#define MOST_SETS 8

static const elstm_kernels *sets_here[MOST_SETS];
static uint32_t set_count;

/* The sets take turns within each round, so that a busy machine is busy for all of them. */
static void bench_row(bench *b, int kernel) {
    double times[MOST_SETS][ROUNDS], median[MOST_SETS];
    uint32_t calls = 1;
    for (;; calls *= 2) { /* about 20 us of the slowest, scalar */
        b->kernels = sets_here[set_count - 1];
        const double from = now();
        for (uint32_t k = 0; k < calls; ++k) bench_once(b, kernel);
        if (now() - from > 20000 || calls >= 1u << 16) break;
    }
    for (uint32_t round = 0; round < ROUNDS; ++round) {
        for (uint32_t s = 0; s < set_count; ++s) {
            b->kernels = sets_here[s];
            bench_once(b, kernel);
            const double from = now();
            for (uint32_t k = 0; k < calls; ++k) bench_once(b, kernel);
            times[s][round] = (now() - from) / calls;
        }
    }
    printf("| %s | %u, %u | %u |", bench_names[kernel], b->columns, b->groups * ELSTM_GROUP,
           b->count);
    for (uint32_t s = 0; s < set_count; ++s) {
        qsort(times[s], ROUNDS, sizeof times[s][0], ascending);
        median[s] = times[s][ROUNDS / 2];
    }
    for (uint32_t s = 0; s < set_count; ++s) {
        if (kernel == BENCH_PREPARE_S8 && sets_here[s]->prepare_s8 == NULL)
            printf(" - |");
        else if (kernel == BENCH_PREPARE_S8 || s + 1 == set_count)
            printf(" %.1f |", median[s]);
        else if (s + 2 == set_count)
            printf(" %.1f (%.1f) |", median[s], median[set_count - 1] / median[s]);
        else
            printf(" %.1f (%.1f, %.2f) |", median[s], median[set_count - 1] / median[s],
                   median[s + 1] / median[s]);
    }
    printf("\n");
    fflush(stdout);
}

static void run_bench(void) {
    static const struct {
        uint32_t columns, groups;
    } sizes[] = {{8, 2}, {32, 8}, {64, 16}, {128, 32}};
    const size_t most = 128 * 256 * 4; /* weights of the largest */
    check_random random = check_seeded(1);
    bench b;
    memset(&b, 0, sizeof b);
    b.wf = take_f32(&random, RANDOM, most, 0.1f);
    b.xf = take_f32(&random, RANDOM, 4096, 1);
    b.yf = take_f32(&random, RANDOM, 8 * 1024, 1);
    b.cf = take_f32(&random, RANDOM, 256, 1);
    b.hf = take_f32(&random, RANDOM, 256, 1);
    b.ws = take_s8(&random, RANDOM, most, -127, 127);
    b.x8 = take_s8(&random, RANDOM, 4096, -128, 127);
    b.h8 = take_s8(&random, RANDOM, 256, -128, 127);
    b.y8 = take_s8(&random, RANDOM, 256, -128, 127);
    b.shift = take_s8(&random, RANDOM, 1024, 3, 9);
    b.x16 = take_s16(&random, RANDOM, 4096, -32768, 32767);
    b.z = take_s16(&random, RANDOM, 1024, -32768, 32767);
    b.multiplier = take_s16(&random, RANDOM, 1024, 0, 32767);
    b.c16 = take_s16(&random, RANDOM, 256, -32768, 32767);
    b.bias = take_s32(&random, RANDOM, 1024, -4096, 4096);
    b.prepared = take_s32(&random, RANDOM, 96 * 16, 3, 9);
    b.surplus = take_s32(&random, RANDOM, 1024, -4096, 4096);
    b.acc = take_s32(&random, RANDOM, 8 * 1024, -1000000, 1000000);
    printf("ns a call, median of %d rounds; in brackets times as fast as scalar, then as the set "
           "to the right.\n\n| kernel | columns, units | count |",
           ROUNDS);
    for (uint32_t s = 0; s < set_count; ++s) printf(" %s |", sets_here[s]->name);
    printf("\n|---|---|---|");
    for (uint32_t s = 0; s < set_count; ++s) printf("---|");
    printf("\n");
    for (int kernel = 0; kernel < BENCHES; ++kernel) {
        for (uint32_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
            b.columns = sizes[k].columns;
            b.groups = sizes[k].groups;
            b.count = 1;
            bench_row(&b, kernel);
            if (kernel != BENCH_MATMUL_F32 && kernel != BENCH_MATMUL_S8 &&
                kernel != BENCH_MATMUL_S16)
                continue;
            b.count = 8;
            bench_row(&b, kernel);
        }
    }
}

int main(int argc, char **argv) {
    const char *seed_text = check_option(argc, argv, "--seed");
    const char *rounds_text = check_option(argc, argv, "--rounds");
    const uint32_t seed = seed_text == NULL ? 1 : (uint32_t)strtoul(seed_text, NULL, 10);
    const uint32_t rounds = rounds_text == NULL ? 1 : (uint32_t)strtoul(rounds_text, NULL, 10);
    check_start();
    check_kernels_wanted(argc, argv);
    for (size_t k = 0; k < elstm_kernels_count() && set_count < MOST_SETS; ++k)
        if (elstm_kernels_at(k) != NULL) sets_here[set_count++] = elstm_kernels_at(k);
    CHECK(set_count > 0 && sets_here[set_count - 1] == &elstm_kernels_scalar,
          "scalar must be there, and last");
    for (int k = 1; k < argc; ++k) {
        if (strcmp(argv[k], "--bench") == 0) {
            run_bench();
            return 0;
        }
    }
    tanh_of = malloc(65536 * sizeof *tanh_of);
    sigmoid_of = malloc(65536 * sizeof *sigmoid_of);
    CHECK(tanh_of != NULL && sigmoid_of != NULL, "no memory");
    printf("test_kernels: equal to docs/numerics.md:");
    for (uint32_t s = 0; s < set_count; ++s) {
        set = sets_here[s];
        for (uint32_t round = 0; round < rounds; ++round) test_set(seed + 1000003u * round);
        printf(" %s", set->name);
    }
    printf("\n");
    free(tanh_of);
    free(sigmoid_of);
    return 0;
}
