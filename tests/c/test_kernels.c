/* Every kernel of every set this machine can run, at every size from 1 to 70 and around block
 * edges, on random and extreme data, between fences: s8 equal to docs/numerics.md bit for bit, f32
 * within its bound. Each case and what it must give is made once, for all sets. --bench times them
 * instead.
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

#define MOST_SETS 8

static const elstm_kernels *sets_here[MOST_SETS]; /* best first */
static uint32_t set_count;
static const elstm_kernels *set;      /* under test */
static int16_t *tanh_of, *sigmoid_of; /* at v + 32768, checked against the page's checksums */

/* For each set here; behind each, nothing around any buffer may have been written. */
#define EACH_SET                                                                                   \
    for (uint32_t set_at = 0; set_at < set_count && (set = sets_here[set_at]) != NULL;             \
         check_intact(0), ++set_at)

#define SIZES 70 /* each from 1 on is tried */

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

/* A buffer at its natural alignment and no better: most start or end at a fence, the others some
 * elements off. */
static void *take(check_random *random, size_t count, size_t size) {
    const uint32_t where = check_u32(random) % 4, gap = check_u32(random) % 8;
    if (where == 0) return check_take_front(count * size, 0);
    if (where == 1) return check_take_front(count * size, gap * size);
    return check_take(count * size, where == 2 ? 0 : gap * size);
}

static int8_t *take_s8(check_random *random, int fill, size_t count, int32_t low, int32_t high) {
    int8_t *v = take(random, count, sizeof *v);
    for (size_t k = 0; k < count; ++k) v[k] = (int8_t)pick(random, fill, (uint32_t)k, low, high);
    return v;
}

/* s8 weights stand at 4 bytes, in a buffer of a multiple of them, and no better. */
static int8_t *take_weights(check_random *random, int fill, size_t count) {
    int8_t *v = take(random, count / 4, 4);
    for (size_t k = 0; k < count; ++k) v[k] = (int8_t)pick(random, fill, (uint32_t)k, -127, 127);
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
    const uint32_t lanes = p->gates * ELSTM_GROUP, rows = p->groups * lanes;
    const size_t columns = 4 * (size_t)p->columns, stride = columns + p->extra;
    const size_t values = stride * (p->count - 1) + columns;
    /* weights at their extremes meet x at its own */
    const int8_t *weights =
        take_weights(&random, p->fill == RANDOM ? RANDOM : (int)(seed % FILLS), rows * columns);
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
    const int32_t *first = take_s32(&random, RANDOM, (size_t)rows * p->count, -limit, limit);
    int32_t *surplus = take(&random, rows, sizeof *surplus);
    int32_t *y = take(&random, (size_t)rows * p->count, sizeof *y);
    int32_t *expected = check_take((size_t)rows * p->count * sizeof *expected, 0);
    for (uint32_t k = 0; k < p->count; ++k) {
        for (uint32_t r = 0; r < rows; ++r) {
            const int8_t *at = weights + (size_t)(r / lanes) * columns * lanes + r % lanes * 4;
            int32_t exact = 0; /* at most reach */
            for (size_t c = 0; c < columns; ++c) {
                const size_t place = k * stride + c;
                exact += at[c / 4 * lanes * 4 + c % 4] * (wide ? x16[place] : narrow[place]);
            }
            const int64_t sum = p->end == ADDED ? (int64_t)exact + first[k * rows + r]
                                                : floor_shift(exact, shift[r]) + bias[r];
            CHECK(sum <= INT32_MAX && sum >= INT32_MIN, "the test itself overflows");
            expected[k * rows + r] = (int32_t)sum;
        }
    }
    EACH_SET {
        elstm_matrix_s8 w = {weights, NULL, p->groups, p->gates, p->columns};
        begin_product(wide ? "matmul_s16" : "matmul_s8", p, seed);
        memcpy(y, first, (size_t)rows * p->count * sizeof *y);
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
    }
    check_release();
}

/* Any order of summing n products errs by at most n units of the last place of the sum of their
 * sizes. */
static void product_f32(const product *p, uint32_t seed) {
    check_random random = check_seeded(seed);
    const uint32_t lanes = p->gates * ELSTM_GROUP, rows = p->groups * lanes;
    const size_t stride = p->columns + p->extra, sums = (size_t)rows * p->count;
    const float sizes[4] = {1, 1e9f, 1e-12f, 30};
    const float size = sizes[seed % 4];
    const float *weights =
        take_f32(&random, p->fill, (size_t)rows * p->columns, sizes[seed / 4 % 4]);
    const float *x = take_f32(&random, p->fill == ONES ? RANDOM : p->fill,
                              stride * (p->count - 1) + p->columns, size);
    const float *bias = take_f32(&random, RANDOM, rows, size);
    const float *first = take_f32(&random, RANDOM, sums, size);
    float *y = take(&random, sums, sizeof *y);
    double *expected = check_take(sums * sizeof *expected, 0);
    double *bound = check_take(sums * sizeof *bound, 0);
    const elstm_matrix_f32 w = {weights, p->groups, p->gates, p->columns};
    for (uint32_t k = 0; k < p->count; ++k) {
        for (uint32_t r = 0; r < rows; ++r) {
            const float *at = weights + (size_t)(r / lanes) * p->columns * lanes + r % lanes;
            double sum = (double)(p->end == ADDED ? first[k * rows + r] : bias[r]);
            double size_of_all = fabs(sum);
            for (uint32_t c = 0; c < p->columns; ++c) {
                const double term = (double)at[c * lanes] * (double)x[k * stride + c];
                sum += term;
                size_of_all += fabs(term);
            }
            expected[k * rows + r] = sum;
            bound[k * rows + r] = (p->columns + 2) * (size_of_all * 0x1p-24 + 0x1p-149);
        }
    }
    EACH_SET {
        begin_product("matmul_f32", p, seed);
        memcpy(y, first, sums * sizeof *y);
        set->matmul_f32(&w, p->end == ADDED ? NULL : bias, x, stride, y, p->count);
        for (size_t k = 0; k < sums; ++k)
            CHECK(fabs((double)y[k] - expected[k]) <= bound[k],
                  "product %zu, row %zu: %.9g, expected %.9g +- %.2g", k / rows, k % rows,
                  (double)y[k], expected[k], bound[k]);
    }
    check_release();
}

/* With one gate and four, fresh and added. */
static void every_product(uint32_t groups, uint32_t columns, uint32_t count, uint32_t *seed) {
    for (uint32_t gates = 1; gates <= 4; gates += 3) {
        for (int end = 0; end < ENDS; ++end, ++*seed) {
            const product p = {groups,
                               gates,
                               columns,
                               count,
                               *seed / 4 & 1 ? 0 : *seed % 9,
                               (int)(*seed / 8 % FILLS),
                               end};
            product_s8(&p, 0, *seed);
            product_s8(&p, 1, *seed);
            product_f32(&p, *seed);
        }
    }
}

static void products(uint32_t seed) {
    static const uint32_t wide[] = {95, 96, 97, 127, 128, 129};
    /* each width, with some numbers of groups and counts up to two blocks of any set */
    for (uint32_t columns = 1; columns <= SIZES; ++columns)
        for (uint32_t groups = 1; groups <= 9; ++groups)
            if (groups <= 2)
                every_product(groups, columns, 1 + (5 * columns + groups) % 13, &seed);
            else if ((columns + groups) % 4 == 0)
                every_product(groups, columns, 1 + columns % 2, &seed);
    /* small ones, one x and more */
    for (uint32_t columns = 1; columns <= 18; ++columns)
        for (uint32_t groups = 1; groups <= 5; ++groups)
            for (uint32_t count = 1; count <= 9; count += 1 + columns % 3)
                every_product(groups, columns, count, &seed);
    /* each number of groups */
    for (uint32_t groups = 6; groups <= SIZES; ++groups)
        every_product(groups, 1 + groups % 5, 1 + groups % 2, &seed);
    /* each count */
    for (uint32_t count = 1; count <= SIZES; ++count) {
        every_product(1 + count % 3, 1 + count % 5, count, &seed);
        if (count <= 26) every_product(3 + count % 2, 6 + count % 4, count, &seed);
    }
    for (uint32_t k = 0; k < sizeof wide / sizeof *wide; ++k)
        every_product(1 + k % 3, wide[k], 1 + k % 7, &seed);
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
    const int other = fill == RANDOM ? RANDOM : (int)(seed % FILLS);
    const int8_t *shift = take_s8(&random, other, rows, -4, 27);
    int16_t *multiplier = take_s16(&random, other, rows, 0, 32767);
    for (uint32_t r = 0; r < rows; ++r) multiplier[r] = multiplier[r] < 0 ? 1 : multiplier[r];
    int32_t *acc = take_s32(&random, fill, rows, -limit, limit);
    int16_t *z = take(&random, rows, sizeof *z);
    int16_t *expected = check_take(rows * sizeof *expected, 0);
    /* half of the random sums land where the result does not saturate */
    for (uint32_t r = 0; fill == RANDOM && r < rows; r += 2) {
        const int32_t bits = shift[r] + 16 > 27 ? 27 : shift[r] + 16;
        acc[r] = check_between(&random, -(1 << bits) + 1, (1 << bits) - 1);
    }
    for (uint32_t r = 0; r < rows; ++r)
        expected[r] = (int16_t)requantized(acc[r], shift[r], multiplier[r]);
    const elstm_requantize q = {shift, multiplier, NULL, 0};
    EACH_SET {
        check_begin("--seed %u: requantize_s8 of %s, rows %u, %s", seed, set->name, rows,
                    fill_names[fill]);
        memset(z, 0x5A, rows * sizeof *z);
        set->requantize_s8(acc, &q, z, rows);
        for (uint32_t r = 0; r < rows; ++r)
            CHECK(z[r] == expected[r], "row %u, acc %d, shift %d, multiplier %d: %d, expected %d",
                  r, acc[r], shift[r], multiplier[r], z[r], expected[r]);
    }
    check_release();
}

/* ---- cells ---- */

/* Everything an s8 cell reads and writes, and what it must leave. */
typedef struct {
    uint32_t groups, units, rows, doublings;
    int32_t kappa, hidden_multiplier;
    elstm_type type;               /* of h and y */
    const int8_t *shift, *h_first; /* h_first: of an int8 h */
    const int16_t *multiplier, *c_first;
    const int16_t *h_wide; /* NULL, or what an int16 h starts from */
    int16_t *c, *c_expected, *h_expected;
    void *h, *y;
    int32_t *prepared;
} cell_case;

static size_t size_of(elstm_type type) {
    return type == ELSTM_S8 ? sizeof(int8_t) : sizeof(int16_t);
}

static int at_of(const void *values, elstm_type type, uint32_t k) {
    return type == ELSTM_S8 ? ((const int8_t *)values)[k] : ((const int16_t *)values)[k];
}

static cell_case take_cell(check_random *random, uint32_t groups, elstm_type type, int fill,
                           int32_t highest_shift) {
    static const int32_t kappas[8] = {1, 32767, 6554, 3277, 1638, 819, 205, 16384};
    static const int32_t multipliers[8] = {127, 1, 126, 128, 160, 1000, 32767, 127};
    const int other = fill == RANDOM ? RANDOM : (int)(check_u32(random) % FILLS);
    const uint32_t units = groups * ELSTM_GROUP, rows = 4 * units;
    int16_t *multiplier = take_s16(random, other, rows, 0, 32767);
    for (uint32_t r = 0; r < rows; ++r) multiplier[r] = multiplier[r] < 0 ? 1 : multiplier[r];
    cell_case k = {.groups = groups, .units = units, .rows = rows, .type = type};
    k.doublings = check_u32(random) % 11;
    k.kappa = kappas[check_u32(random) % 8];
    k.hidden_multiplier = multipliers[check_u32(random) % 8];
    k.shift = take_s8(random, other, rows, -4, highest_shift);
    k.h_first = take_s8(random, RANDOM, units, -127, 127);
    k.multiplier = multiplier;
    k.c_first = take_s16(random, fill, units, -32768, 32767);
    k.c = take(random, units, sizeof *k.c);
    k.c_expected = check_take(units * sizeof *k.c_expected, 0);
    k.h = take(random, units, size_of(type));
    k.y = take(random, units, size_of(type));
    k.h_expected = check_take(units * sizeof *k.h_expected, 0);
    k.prepared = take(random, elstm_prepared_lstm_size(groups), sizeof *k.prepared);
    return k;
}

static void begin_cell(const char *kernel, const cell_case *k, int fill, uint32_t seed) {
    check_begin("--seed %u: %s of %s, groups %u, h s%d, kappa %d, hm %d, doublings %u, %s", seed,
                kernel, set->name, k->groups, k->type == ELSTM_S8 ? 8 : 16, k->kappa,
                k->hidden_multiplier, k->doublings, fill_names[fill]);
}

static void expect_unit(cell_case *k, uint32_t unit, const int64_t acc[4]) {
    int64_t z[4];
    for (uint32_t gate = 0; gate < 4; ++gate) {
        const uint32_t r = unit / 8 * 32 + gate * 8 + unit % 8;
        z[gate] = requantized(acc[gate], k->shift[r], k->multiplier[r]) + 32768;
    }
    const int64_t i = sigmoid_of[z[0]], f = sigmoid_of[z[1]], g = tanh_of[z[2]];
    int64_t v = saturated(high(f, k->c_first[unit]) + high(high(i, g), k->kappa));
    k->c_expected[unit] = (int16_t)v;
    for (uint32_t d = 0; d < k->doublings; ++d) v = saturated(2 * v);
    const int64_t hidden = high(high(sigmoid_of[z[3]], tanh_of[v + 32768]), k->hidden_multiplier);
    const int64_t most = k->type == ELSTM_S8 ? 127 : 32767;
    k->h_expected[unit] = (int16_t)(hidden < -most ? -most : hidden > most ? most : hidden);
}

/* State as it was, and what the set prepares. */
static elstm_requantize start_cell(const cell_case *k) {
    elstm_requantize q = {k->shift, k->multiplier, NULL, 0};
    memcpy(k->c, k->c_first, k->units * sizeof *k->c);
    if (k->type == ELSTM_S8)
        memcpy(k->h, k->h_first, k->units);
    else if (k->h_wide != NULL)
        memcpy(k->h, k->h_wide, k->units * sizeof *k->h_wide);
    memset(k->y, 0x5A, k->units * size_of(k->type));
    if (set->prepare_lstm_s8 != NULL) set->prepare_lstm_s8(&q, k->groups, k->prepared);
    return q;
}

static elstm_cell_s8 cell_of(const cell_case *k) {
    return (elstm_cell_s8){k->c, k->h, k->y, k->type, k->kappa, k->hidden_multiplier, k->doublings};
}

static void check_cell(const cell_case *k) {
    for (uint32_t unit = 0; unit < k->units; ++unit) {
        CHECK(k->c[unit] == k->c_expected[unit], "unit %u: c %d, expected %d", unit, k->c[unit],
              k->c_expected[unit]);
        const int h = at_of(k->h, k->type, unit), y = at_of(k->y, k->type, unit);
        CHECK(h == k->h_expected[unit] && y == h, "unit %u: h %d, y %d, expected %d", unit, h, y,
              k->h_expected[unit]);
    }
}

static void lstm_s8(uint32_t groups, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const int32_t limit = (1 << 27) - 1;
    const elstm_type type = check_u32(&random) & 1 ? ELSTM_S8 : ELSTM_S16;
    cell_case k = take_cell(&random, groups, type, fill, 27);
    int32_t *acc = take_s32(&random, fill, k.rows, -limit, limit);
    for (uint32_t r = 0; fill == RANDOM && r < k.rows; ++r) {
        const int32_t bits = k.shift[r] + 15 > 27 ? 27 : k.shift[r] + 15;
        acc[r] = check_between(&random, -(1 << bits) + 1, (1 << bits) - 1);
    }
    for (uint32_t unit = 0; unit < k.units; ++unit) {
        const int32_t *at = acc + unit / 8 * 32 + unit % 8;
        const int64_t own[4] = {at[0], at[8], at[16], at[24]};
        expect_unit(&k, unit, own);
    }
    EACH_SET {
        begin_cell("lstm_s8", &k, fill, seed);
        const elstm_requantize q = start_cell(&k);
        const elstm_cell_s8 cell = cell_of(&k);
        set->lstm_s8(acc, &q, &cell, groups);
        check_cell(&k);
    }
    check_release();
}

static int32_t row_sum_s8(const int8_t *weights, uint32_t quads, uint32_t r, const int8_t *narrow,
                          const int16_t *wide) {
    const int8_t *at = weights + (size_t)(r / 32) * quads * 128 + r % 32 * 4;
    int32_t sum = 0;
    for (uint32_t c = 0; c < 4 * quads; ++c)
        sum += at[c / 4 * 128 + c % 4] * (narrow != NULL ? narrow[c] : wide[c]);
    return sum;
}

/* recurrent_s8, step_s16 and step_any, of the sets that have them: the recurrent product reads the
 * h that the cell then replaces. */
static void joined_s8(uint32_t groups, uint32_t quads, elstm_type x_type, elstm_type h_type,
                      int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    cell_case k = take_cell(&random, groups, h_type, fill, fill == RANDOM ? 12 : 27);
    const uint32_t quads_h = 2 * groups - check_u32(&random) % 2, rows = k.rows;
    const int other = fill == RANDOM ? RANDOM : (int)(seed % FILLS);
    const int8_t *w = take_weights(&random, other, (size_t)rows * quads * 4);
    const int8_t *r = take_weights(&random, other, (size_t)rows * quads_h * 4);
    /* |sh(ax, kx)| + |bias| + |ah| < 2^27; no shift to the left where x is int16 and h int8 */
    const int32_t large = check_u32(&random) % 2 == 0 ? 32767 : 255;
    const int32_t most = x_type == ELSTM_S8 ? 128 : large + 1;
    const int32_t h_most = (int32_t)((1 << 26) / (quads_h * 4 * 127));
    const int8_t *narrow =
        x_type == ELSTM_S8 ? take_s8(&random, fill, 4 * (size_t)quads, -128, 127) : NULL;
    const int16_t *wide =
        x_type == ELSTM_S16 ? take_s16(&random, fill, 4 * (size_t)quads, -large - 1, large) : NULL;
    const int plain = x_type == ELSTM_S16 && h_type == ELSTM_S8;
    int32_t lowest = plain ? 0 : -4;
    while ((lowest < 0 ? (int64_t)quads * 4 * 127 * most << -lowest
                       : (int64_t)quads * 4 * 127 * most >> lowest) >= 1 << 26)
        ++lowest;
    k.h_wide = take_s16(&random, other, k.units, h_most < 32767 ? -h_most : -32767,
                        h_most < 32767 ? h_most : 32767);
    const int8_t *shift = take_s8(&random, other == ONES ? RANDOM : other, rows, lowest, 27);
    const int32_t *bias = take_s32(&random, RANDOM, rows, -(1 << 16), 1 << 16);
    const elstm_rescale rescale = {shift, bias};
    int32_t *acc = take(&random, rows, sizeof *acc);
    int32_t *surplus_w = take(&random, rows, sizeof *acc);
    int32_t *surplus_r = take(&random, rows, sizeof *acc);
    int32_t *entering = check_take(rows * sizeof *entering, 0);
    for (uint32_t row = 0; row < rows; ++row)
        entering[row] =
            (int32_t)floor_shift(row_sum_s8(w, quads, row, narrow, wide), shift[row]) + bias[row];
    for (uint32_t unit = 0; unit < k.units; ++unit) {
        int64_t own[4];
        for (uint32_t gate = 0; gate < 4; ++gate) {
            const uint32_t row = unit / 8 * 32 + gate * 8 + unit % 8;
            own[gate] = entering[row] + row_sum_s8(r, quads_h, row,
                                                   h_type == ELSTM_S8 ? k.h_first : NULL, k.h_wide);
        }
        expect_unit(&k, unit, own);
    }
    EACH_SET {
        elstm_matrix_s8 kernel = {w, NULL, groups, 4, quads};
        elstm_matrix_s8 recurrent = {r, NULL, groups, 4, quads_h};
        if (set->prepare_s8 != NULL) {
            set->prepare_s8(&kernel, surplus_w);
            set->prepare_s8(&recurrent, surplus_r);
            kernel.surplus = surplus_w;
            recurrent.surplus = surplus_r;
        }
        const elstm_cell_s8 cell = cell_of(&k);
        if (set->recurrent_s8 != NULL && plain) {
            begin_cell("recurrent_s8", &k, fill, seed);
            const elstm_requantize q = start_cell(&k);
            memcpy(acc, entering, rows * sizeof *acc);
            set->recurrent_s8(&recurrent, acc, &q, &cell);
            check_cell(&k);
        }
        for (int any = plain ? 0 : 1; any < 2; ++any) {
            elstm_whole_s8 *const step = any ? set->step_any : set->step_s16;
            if (step == NULL) continue;
            begin_cell(any ? "step_any" : "step_s16", &k, fill, seed);
            const elstm_requantize q = start_cell(&k);
            const elstm_plain_s8 l = {&kernel, &recurrent, &rescale, &q, x_type};
            /* of scratch no more than is promised, up to a page that must not be touched */
            const uint32_t unit =
                h_type == ELSTM_S16 && set->step_scratch > 2 ? 2 : set->step_scratch;
            int32_t *const scratch = acc + rows - unit * k.units / sizeof *acc;
            const void *const x = narrow != NULL ? (const void *)narrow : wide;
            step(&l, x, scratch, &cell);
            check_cell(&k);
        }
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

/* A unit's c, h and y against the sums of its gates, which may err by `off`. */
static void check_unit_f32(uint32_t unit, const double z[4], const double off[4], double before,
                           float c, float h, float y) {
    const double f = exact_sigmoid(z[1]);
    const double exact = f * before + exact_sigmoid(z[0]) * tanh(z[2]);
    const double tolerance = (2 * SIGMOID_ERROR + off[1] / 4) * fabs(before) +
                             2 * (SIGMOID_ERROR + TANH_ERROR) + off[0] / 4 + off[2] +
                             0x1p-24 * (1 + fabs(before));
    CHECK(fabs((double)c - exact) <= tolerance, "unit %u: c %.9g, expected %.9g +- %.2g", unit,
          (double)c, exact, tolerance);
    CHECK(c >= ELSTM_TINY || c <= -ELSTM_TINY || (c <= 0 && c >= 0),
          "unit %u: c %.9g is neither 0 nor at least 2^-60", unit, (double)c);
    const double out = exact_sigmoid(z[3]) * tanh((double)c);
    CHECK(fabs((double)h - out) <= SIGMOID_ERROR + TANH_ERROR + off[3] / 4 + 0x1p-24,
          "unit %u: h %.9g, expected %.9g", unit, (double)h, out);
    CHECK(memcmp(&h, &y, sizeof h) == 0, "unit %u: y is not h", unit);
}

static void lstm_f32(uint32_t groups, int fill, uint32_t seed) {
    static const float sizes[4] = {1, 100, 1e-19f, 1e18f};
    static const double none[4] = {0, 0, 0, 0};
    check_random random = check_seeded(seed);
    const uint32_t units = groups * ELSTM_GROUP;
    float *z = take(&random, 4 * units, sizeof *z), *c = take(&random, units, sizeof *c);
    float *h = take(&random, units, sizeof *h), *y = take(&random, units, sizeof *y);
    float *first = check_take(units * sizeof *first, 0);
    for (uint32_t r = 0; r < 4 * units; ++r) z[r] = nasty(&random, fill);
    for (uint32_t unit = 0; unit < units; ++unit) {
        first[unit] = sizes[fill == RANDOM ? 0 : check_u32(&random) % 4] * check_unit(&random);
        /* a cell that idles: what is left of c must become 0, not a denormal */
        if (fill == LOWEST) {
            z[unit / 8 * 32 + unit % 8] = -FLT_MAX;
            first[unit] = 8e-19f * check_unit(&random);
        }
    }
    EACH_SET {
        check_begin("--seed %u: lstm_f32 of %s, groups %u, %s", seed, set->name, groups,
                    fill_names[fill]);
        memcpy(c, first, units * sizeof *c);
        set->lstm_f32(z, c, h, y, groups);
        for (uint32_t unit = 0; unit < units; ++unit) {
            const float *at = z + unit / 8 * 32 + unit % 8;
            const double own[4] = {(double)at[0], (double)at[8], (double)at[16], (double)at[24]};
            check_unit_f32(unit, own, none, (double)first[unit], c[unit], h[unit], y[unit]);
        }
    }
    check_release();
}

/* start + the product of row r, in *sum; returns how far float sums may be off. */
static double row_sum_f32(const float *weights, uint32_t columns, uint32_t r, const float *x,
                          double *sum) {
    const float *at = weights + (size_t)(r / 32) * columns * 32 + r % 32;
    double size = fabs(*sum);
    for (uint32_t c = 0; c < columns; ++c) {
        const double term = (double)at[c * 32] * (double)x[c];
        *sum += term;
        size += fabs(term);
    }
    return (columns + 2) * size * 0x1p-24;
}

/* recurrent_f32 and step_f32, of the sets that have them. */
static void joined_f32(uint32_t groups, uint32_t columns, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const uint32_t units = groups * ELSTM_GROUP, rows = 4 * units;
    const uint32_t used = units - check_u32(&random) % 8; /* units of the model */
    const float *w = take_f32(&random, fill, (size_t)rows * columns, 1);
    const float *r = take_f32(&random, fill, (size_t)rows * used, 1);
    const float *x = take_f32(&random, RANDOM, columns, 1);
    const float *bias = take_f32(&random, RANDOM, rows, 1);
    const float *c_first = take_f32(&random, RANDOM, units, 3);
    const float *h_first = take_f32(&random, RANDOM, units, 1);
    float *z = take(&random, rows, sizeof *z), *c = take(&random, units, sizeof *c);
    float *h = take(&random, units, sizeof *h), *y = take(&random, units, sizeof *y);
    float *entering = check_take(rows * sizeof *entering, 0);
    double *sums = check_take(rows * sizeof *sums, 0), *off = check_take(rows * sizeof *off, 0);
    for (uint32_t row = 0; row < rows; ++row) {
        sums[row] = (double)bias[row];
        off[row] = row_sum_f32(w, columns, row, x, &sums[row]);
        entering[row] = (float)sums[row];
        off[row] += row_sum_f32(r, used, row, h_first, &sums[row]) + fabs(sums[row]) * 0x1p-23;
    }
    EACH_SET {
        const elstm_matrix_f32 kernel = {w, groups, 4, columns}, recurrent = {r, groups, 4, used};
        const elstm_plain_f32 plain = {&kernel, &recurrent, bias};
        for (int whole = 0; whole < 2; ++whole) {
            if (whole ? set->step_f32 == NULL : set->recurrent_f32 == NULL) continue;
            check_begin("--seed %u: %s of %s, groups %u, columns %u, units %u, %s", seed,
                        whole ? "step_f32" : "recurrent_f32", set->name, groups, columns, used,
                        fill_names[fill]);
            memcpy(c, c_first, units * sizeof *c);
            memcpy(h, h_first, units * sizeof *h);
            if (whole) {
                set->step_f32(&plain, x, z, c, h, y);
            } else {
                memcpy(z, entering, rows * sizeof *z);
                set->recurrent_f32(&recurrent, z, c, h, y);
            }
            for (uint32_t unit = 0; unit < units; ++unit) {
                const uint32_t at = unit / 8 * 32 + unit % 8;
                const double own[4] = {sums[at], sums[at + 8], sums[at + 16], sums[at + 24]};
                const double offs[4] = {off[at], off[at + 8], off[at + 16], off[at + 24]};
                check_unit_f32(unit, own, offs, (double)c_first[unit], c[unit], h[unit], y[unit]);
            }
        }
    }
    check_release();
}

/* ---- functions ---- */

static void functions_f32(uint32_t count, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    float *v = take(&random, count, sizeof *v), *x = check_take(count * sizeof *x, 0);
    for (uint32_t k = 0; k < count; ++k) x[k] = nasty(&random, fill);
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        EACH_SET {
            check_begin("--seed %u: %s of %s, count %u, %s", seed,
                        sigmoid ? "sigmoid_f32" : "tanh_f32", set->name, count, fill_names[fill]);
            memcpy(v, x, count * sizeof *v);
            (sigmoid ? set->sigmoid_f32 : set->tanh_f32)(v, count);
            for (uint32_t k = 0; k < count; ++k) {
                const double exact = sigmoid ? exact_sigmoid((double)x[k]) : tanh((double)x[k]);
                CHECK(fabs((double)v[k] - exact) <= (sigmoid ? SIGMOID_ERROR : TANH_ERROR),
                      "value %u, x %.9g: %.9g, expected %.9g", k, (double)x[k], (double)v[k],
                      exact);
            }
        }
    }
    check_release();
}

static void functions_s16(uint32_t count, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const int16_t *x = take_s16(&random, fill, count, -32768, 32767);
    int16_t *v = take(&random, count, sizeof *v);
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        const int16_t *function = sigmoid ? sigmoid_of : tanh_of;
        EACH_SET {
            check_begin("--seed %u: %s of %s, count %u, %s", seed,
                        sigmoid ? "sigmoid_s16" : "tanh_s16", set->name, count, fill_names[fill]);
            memcpy(v, x, count * sizeof *v);
            (sigmoid ? set->sigmoid_s16 : set->tanh_s16)(v, count);
            for (uint32_t k = 0; k < count; ++k)
                CHECK(v[k] == function[x[k] + 32768], "value %u, x %d: %d, expected %d", k, x[k],
                      v[k], function[x[k] + 32768]);
        }
    }
    check_release();
}

/* Both functions over all of int16, against the checksums of docs/numerics.md. */
static void whole_functions(void) {
    for (int sigmoid = 0; sigmoid < 2; ++sigmoid) {
        int16_t *v = sigmoid ? sigmoid_of : tanh_of;
        EACH_SET {
            check_begin("%s of %s, every int16", sigmoid ? "sigmoid_s16" : "tanh_s16", set->name);
            for (int32_t k = 0; k < 65536; ++k) v[k] = (int16_t)(k - 32768);
            (sigmoid ? set->sigmoid_s16 : set->tanh_s16)(v, 65536);
            const uint32_t crc = check_crc32(0, v, 65536 * sizeof *v);
            CHECK(crc == (sigmoid ? 0x85384d11u : 0xa3cb6378u), "checksum %08x", crc);
        }
    }
}

/* ---- doors ---- */

/* As docs/numerics.md has it. */
static double admitted(float x) {
    if (isnan(x) || fabs((double)x) < 0x1p-100) return 0;
    return x > 0x1p60f ? 0x1p60 : x < -0x1p60f ? -0x1p60 : (double)x;
}

static int16_t quantized(float x, float reciprocal) {
    const float q = (float)admitted(x) * reciprocal; /* rounded to float */
    if (q >= 32767) return 32767;
    if (q <= -32767) return -32767;
    const double down = floor((double)q), over = (double)q - down;
    const int up = over > 0.5 || (!(over < 0.5) && fmod(down, 2) != 0);
    return (int16_t)(down + up);
}

/* Around every border of both doors, and between them. */
static float entering(check_random *random, float reciprocal) {
    static const float borders[] = {0x1p60f, 0x1p-100f, 0x1p-126f, 0x1p-149f, 0.0f,
                                    FLT_MAX, INFINITY,  NAN,       1e-42f,    1.0f};
    const uint32_t way = check_u32(random) % 8;
    const float sign = check_u32(random) & 1 ? 1.0f : -1.0f;
    if (way < 2) {
        const float border = borders[check_u32(random) % (sizeof borders / sizeof *borders)];
        const uint32_t side = check_u32(random) % 3;
        return sign * (side == 0 ? border : nextafterf(border, side == 1 ? INFINITY : 0));
    }
    if (way == 2) { /* any bits */
        const uint32_t bits = check_u32(random);
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
    if (way == 3) return sign * (32760.0f + 10 * check_unit(random)) / reciprocal;
    if (way < 6) /* ties, exact where the reciprocal is a power of two */
        return ((float)check_between(random, -32768, 32767) + 0.5f) / reciprocal;
    return 40000 * check_unit(random) / reciprocal;
}

static void doors(uint32_t count, uint32_t seed) {
    static const float reciprocals[] = {1,    0x1p7f,   0x1p-7f, 8191.75f,
                                        0.1f, 0x1p-40f, 0x1p90f, 3e5f};
    check_random random = check_seeded(seed);
    const float reciprocal = reciprocals[seed % (sizeof reciprocals / sizeof *reciprocals)];
    const uint32_t room = (count + 7) / 8 * 8; /* promised to the doors in */
    float *x = take(&random, count, sizeof *x), *f32 = take(&random, room, sizeof *f32);
    int16_t *s16 = take(&random, room, sizeof *s16);
    float *y = take(&random, count, sizeof *y);
    const int16_t *leaving16 = take_s16(&random, RANDOM, count, -32768, 32767);
    const int8_t *leaving8 = take_s8(&random, RANDOM, count, -128, 127);
    for (uint32_t k = 0; k < count; ++k) x[k] = entering(&random, reciprocal);
    EACH_SET {
        check_begin("--seed %u: enter_f32 of %s, count %u", seed, set->name, count);
        set->enter_f32(x, f32, count);
        for (uint32_t k = 0; k < count; ++k) {
            const float expected = (float)admitted(x[k]);
            CHECK(f32[k] <= expected && f32[k] >= expected, "value %u, x %.9g: %.9g", k,
                  (double)x[k], (double)f32[k]);
        }
        check_begin("--seed %u: enter_s16 of %s, count %u, reciprocal %.9g", seed, set->name, count,
                    (double)reciprocal);
        set->enter_s16(x, reciprocal, s16, count);
        for (uint32_t k = 0; k < count; ++k)
            CHECK(s16[k] == quantized(x[k], reciprocal), "value %u, x %.9g: %d, expected %d", k,
                  (double)x[k], s16[k], quantized(x[k], reciprocal));
        check_begin("--seed %u: leave_s16 of %s, count %u", seed, set->name, count);
        set->leave_s16(leaving16, 1 / reciprocal, y, count);
        for (uint32_t k = 0; k < count; ++k) {
            const float expected = (float)leaving16[k] * (1 / reciprocal);
            CHECK(memcmp(&y[k], &expected, sizeof expected) == 0, "value %u: %.9g, expected %.9g",
                  k, (double)y[k], (double)expected);
        }
        check_begin("--seed %u: leave_s8 of %s, count %u", seed, set->name, count);
        set->leave_s8(leaving8, 1 / reciprocal, y, count);
        for (uint32_t k = 0; k < count; ++k) {
            const float expected = (float)leaving8[k] * (1 / reciprocal);
            CHECK(memcmp(&y[k], &expected, sizeof expected) == 0, "value %u: %.9g, expected %.9g",
                  k, (double)y[k], (double)expected);
        }
    }
    check_release();
}

/* ---- all ---- */

/* Whether any set joins kernels. */
static int joins(void) {
    int found = 0;
    EACH_SET found |= set->recurrent_f32 != NULL || set->step_f32 != NULL ||
                      set->recurrent_s8 != NULL || set->step_s16 != NULL || set->step_any != NULL;
    return found;
}

/* The two kernels of a GRU: places and multipliers over their whole range. */
static void gru_s8(uint32_t count, int fill, elstm_type type, uint32_t seed) {
    check_random random = check_seeded(seed);
    const uint32_t places = seed % 3 == 0 ? 15 : 1 + check_u32(&random) % 15;
    const int32_t kappa = seed % 2 == 0 ? 32768 : check_between(&random, 1, 32768);
    const int32_t hm = seed % 5 == 0 ? 32768 : check_between(&random, 1, 32768);
    const int16_t *z = take_s16(&random, fill, count, -32768, 32767);
    const int16_t *to = take_s16(&random, (int)(seed % FILLS), count, -32768, 32767);
    const int16_t *first = take_s16(&random, fill, count, -32768, 32767);
    int16_t *state = take(&random, count, sizeof *state);
    void *h = take(&random, count, size_of(type));
    EACH_SET {
        check_begin("--seed %u: reset_s16 of %s, count %u, %s", seed, set->name, count,
                    fill_names[fill]);
        memcpy(state, first, count * sizeof *state);
        set->reset_s16(z, to, places, state, count);
        for (uint32_t k = 0; k < count; ++k) {
            const int64_t let = ((int64_t)z[k] * to[k] + (1 << (places - 1))) >> places;
            const int64_t expected = saturated(first[k] + saturated(let));
            CHECK(state[k] == expected, "%u: %d, expected %d", k, state[k], (int)expected);
        }
        check_begin("--seed %u: update_s8 of %s, count %u, %s", seed, set->name, count,
                    fill_names[fill]);
        memcpy(state, first, count * sizeof *state);
        const elstm_update_s8 update = {state, h, type, kappa, hm, places};
        set->update_s8(z, to, &update, count);
        for (uint32_t k = 0; k < count; ++k) {
            const int64_t n = high(to[k], kappa);
            const int64_t moved = (z[k] * (first[k] - n) + (1 << (places - 1))) >> places;
            const int64_t expected = saturated(n + moved), seen = high(expected, hm);
            const int64_t narrow = seen < -127 ? -127 : seen > 127 ? 127 : seen;
            CHECK(state[k] == expected, "%u: %d, expected %d", k, state[k], (int)expected);
            if (type == ELSTM_S8)
                CHECK(((int8_t *)h)[k] == narrow, "h %u: %d", k, ((int8_t *)h)[k]);
            else
                CHECK(((int16_t *)h)[k] == seen, "h %u: %d", k, ((int16_t *)h)[k]);
        }
    }
    check_release();
}

/* ---- TFLite's cell ---- */

/* What a step of it reads, and what the scalar set makes of it, which Python's tests hold against
 * TFLite's own numbers. */
typedef struct {
    uint32_t groups, units;
    const int32_t *x, *again;
    const int16_t *c_first;
    int16_t *c, *c_expected;
    int8_t *h, *y, *h_expected;
} tfl8_case;

static tfl8_case take_tfl8(check_random *random, uint32_t groups, const int32_t *x,
                           const int32_t *again, const int16_t *c) {
    tfl8_case k = {.groups = groups, .units = groups * ELSTM_GROUP, .x = x, .again = again};
    k.c_first = c;
    k.c = take(random, k.units, sizeof *k.c);
    k.h = take(random, k.units, 1);
    k.y = take(random, k.units, 1);
    k.c_expected = check_take(k.units * sizeof *k.c_expected, 0);
    k.h_expected = check_take(k.units, 0);
    return k;
}

static void tfl8_sets(const tfl8_case *k, const elstm_cell_tfl8 *cell, uint32_t seed) {
    memcpy(k->c_expected, k->c_first, k->units * sizeof *k->c);
    const elstm_state_tfl8 wanted = {k->c_expected, k->h_expected, k->h_expected};
    const elstm_state_tfl8 state = {k->c, k->h, k->y};
    elstm_kernels_scalar.lstm_tfl8(k->x, k->again, cell, &wanted, k->groups);
    EACH_SET {
        check_begin("--seed %u: lstm_tfl8 of %s, groups %u, whole %u, clip %d, coupled %u", seed,
                    set->name, k->groups, cell->whole, cell->clip, cell->coupled);
        memcpy(k->c, k->c_first, k->units * sizeof *k->c);
        memset(k->h, 0x5A, k->units);
        memset(k->y, 0x5A, k->units);
        set->lstm_tfl8(k->x, k->again, cell, &state, k->groups);
        for (uint32_t u = 0; u < k->units; ++u) {
            CHECK(k->c[u] == k->c_expected[u], "unit %u: c %d, expected %d", u, k->c[u],
                  k->c_expected[u]);
            CHECK(k->h[u] == k->h_expected[u] && k->y[u] == k->h[u],
                  "unit %u: h %d, y %d, expected %d", u, k->h[u], k->y[u], k->h_expected[u]);
        }
    }
}

static elstm_factor any_factor(check_random *random, int32_t lowest, int32_t highest) {
    static const int32_t ends[4] = {1 << 30, INT32_MAX, (1 << 30) + 1, 1518500250};
    const elstm_factor none = {0, 0};
    if (check_u32(random) % 50 == 0) return none;
    return (elstm_factor){check_u32(random) % 3 == 0 ? ends[check_u32(random) % 4]
                                                     : check_between(random, 1 << 30, INT32_MAX),
                          check_between(random, lowest, highest)};
}

static void lstm_tfl8(uint32_t groups, int fill, uint32_t seed) {
    check_random random = check_seeded(seed);
    const int32_t limit = (1 << 30) - 1;
    const int wild = seed % 3 == 0; /* or sums that leave gates between their ends */
    elstm_cell_tfl8 cell = {.hidden = any_factor(&random, wild ? -31 : -24, wild ? 15 : -20),
                            .hidden_zero = check_between(&random, -128, 127),
                            .clip = seed % 2 == 0 ? 0 : check_between(&random, 1, 32767),
                            .whole = check_u32(&random) % 7,
                            .coupled = check_u32(&random) % 4 == 0};
    for (int k = 0; k < 4; ++k) {
        cell.input[k] = any_factor(&random, wild ? -31 : -8, wild ? 15 : -4);
        cell.recurrent[k] = any_factor(&random, wild ? -31 : -8, wild ? 15 : -4);
    }
    const int32_t most = wild ? limit : 1 << 21;
    const int32_t *x = take_s32(&random, fill, 4 * groups * ELSTM_GROUP, -most, most);
    const int32_t *again =
        take_s32(&random, (int)(seed % FILLS), 4 * groups * ELSTM_GROUP, -most, most);
    const int16_t *c = take_s16(&random, fill, groups * ELSTM_GROUP, -32768, 32767);
    const tfl8_case k = take_tfl8(&random, groups, x, again, c);
    tfl8_sets(&k, &cell, seed);
    check_release();
}

/* The functions of every argument: sums are arguments where the factor is 1. */
static void lstm_tfl8_everywhere(void) {
    enum { GROUPS = 65536 / ELSTM_GROUP };
    check_random random = check_seeded(1);
    int32_t *x = check_take((size_t)4 * 65536 * sizeof *x, 0);
    int32_t *again = check_take((size_t)4 * 65536 * sizeof *again, 0);
    int16_t *c = check_take(65536 * sizeof *c, 0);
    const elstm_factor one = {1 << 30, 1}, none = {0, 0};
    memset(again, 0, (size_t)4 * 65536 * sizeof *again);
    for (int32_t k = 0; k < 65536; ++k) {
        static const int32_t turned[4] = {0, 24571, 41011, 7001}; /* other arguments in each gate */
        for (int gate = 0; gate < 4; ++gate)
            x[k / 8 * 32 + 8 * gate + k % 8] = (k + turned[gate]) % 65536 - 32768;
        c[k] = (int16_t)((k * 3) % 65536 - 32768);
    }
    const tfl8_case k = take_tfl8(&random, GROUPS, x, again, c);
    for (uint32_t whole = 0; whole < 7; ++whole) {
        const elstm_cell_tfl8 cell = {.input = {one, one, one, one},
                                      .recurrent = {none, none, none, none},
                                      .hidden = {1 << 30, -22},
                                      .whole = whole};
        tfl8_sets(&k, &cell, 0);
    }
    check_release();
}

static void test_all(uint32_t seed) {
    static const uint32_t more[] = {95, 96, 97, 127, 128, 129, 1000};
    whole_functions();
    lstm_tfl8_everywhere();
    products(seed);
    for (uint32_t n = 1; n <= SIZES + sizeof more / sizeof *more; ++n) {
        const uint32_t count = n <= SIZES ? n : more[n - SIZES - 1];
        for (int fill = 0; fill < FILLS; ++fill, ++seed) {
            functions_f32(count, fill, seed);
            functions_s16(count, fill, seed);
            doors(count, seed);
            /* small ones often, large ones once a fill or less */
            for (uint32_t repeat = 0; repeat < (n <= 9 ? 4 : 1); ++repeat, ++seed) {
                if (n > 20 && n % FILLS != (uint32_t)fill) continue;
                requantize(count, fill, seed);
                gru_s8(count, fill, seed % 2 == 0 ? ELSTM_S8 : ELSTM_S16, seed);
                if (count <= 129) lstm_s8(count, fill, seed);
                if (count <= 129) lstm_f32(count, fill, seed);
                if (count <= 129) lstm_tfl8(count, fill, seed);
            }
        }
    }
    for (uint32_t groups = 1; groups <= 34 && joins(); ++groups) {
        for (uint32_t k = 0; k < (groups <= 9 ? 96 : 4); ++k, ++seed) {
            const uint32_t quads = k % 13 == 12 ? 35 : 1 + (k + groups) % 18;
            const elstm_type x_type = k % 4 < 2 ? ELSTM_S16 : ELSTM_S8;
            joined_s8(groups, quads, x_type, k % 2 ? ELSTM_S16 : ELSTM_S8, (int)(k / 4 % FILLS),
                      seed);
            joined_f32(groups, 1 + 3 * k % 40, (int)(k % FILLS), seed);
        }
    }
}

/* ---- times ---- */

/* Everything a kernel may be timed on, from cache. */
typedef struct {
    const elstm_kernels *kernels;
    uint32_t groups, columns, count;
    float *wf, *xf, *yf, *zf, *cf, *hf;
    int8_t *ws, *x8, *h8, *y8, *shift;
    int16_t *x16, *z, *multiplier, *c16;
    int32_t *bias, *surplus, *recurrent_surplus, *prepared, *acc;
    elstm_requantize q;
} bench;

enum {
    BENCH_ENTER_F32,
    BENCH_ENTER_S16,
    BENCH_LEAVE_S8,
    BENCH_LEAVE_S16,
    BENCH_MATMUL_F32,
    BENCH_DENSE_F32,
    BENCH_LSTM_F32,
    BENCH_RECURRENT_F32,
    BENCH_STEP_F32,
    BENCH_TANH_F32,
    BENCH_SIGMOID_F32,
    BENCH_PREPARE_S8,
    BENCH_MATMUL_S8,
    BENCH_DENSE_S8,
    BENCH_MATMUL_S16,
    BENCH_REQUANTIZE_S8,
    BENCH_LSTM_S8,
    BENCH_RECURRENT_S8,
    BENCH_STEP_S16,
    BENCH_STEP_S8,
    BENCH_LSTM_TFL8,
    BENCH_TANH_S16,
    BENCH_SIGMOID_S16,
    BENCHES
};
static const char *const bench_names[BENCHES] = {
    "enter_f32",          "enter_s16",  "leave_s8",      "leave_s16",         "matmul_f32",
    "matmul_f32, 1 gate", "lstm_f32",   "recurrent_f32", "step_f32",          "tanh_f32",
    "sigmoid_f32",        "prepare_s8", "matmul_s8",     "matmul_s8, 1 gate", "matmul_s16",
    "requantize_s8",      "lstm_s8",    "recurrent_s8",  "step_s16",          "step_any of s8",
    "lstm_tfl8",          "tanh_s16",   "sigmoid_s16"};

/* Where a set does not join kernels, those that a layer calls instead. */
static void bench_recurrent_f32(const bench *b, const elstm_matrix_f32 *r) {
    if (b->kernels->recurrent_f32 != NULL) {
        b->kernels->recurrent_f32(r, b->yf, b->cf, b->hf, b->zf);
        return;
    }
    b->kernels->matmul_f32(r, NULL, b->hf, 0, b->yf, 1);
    b->kernels->lstm_f32(b->yf, b->cf, b->hf, b->zf, b->groups);
}

static void bench_step_f32(const bench *b, const elstm_plain_f32 *l) {
    if (b->kernels->step_f32 != NULL) {
        b->kernels->step_f32(l, b->xf, b->yf, b->cf, b->hf, b->zf);
        return;
    }
    b->kernels->matmul_f32(l->kernel, l->bias, b->xf, 0, b->yf, 1);
    bench_recurrent_f32(b, l->recurrent);
}

static void bench_recurrent_s8(const bench *b, const elstm_matrix_s8 *r,
                               const elstm_cell_s8 *cell) {
    if (b->kernels->recurrent_s8 != NULL) {
        b->kernels->recurrent_s8(r, b->acc, &b->q, cell);
        return;
    }
    b->kernels->matmul_s8(r, NULL, b->h8, 0, b->acc, 1);
    b->kernels->lstm_s8(b->acc, &b->q, cell, b->groups);
}

static void bench_step_s16(const bench *b, const elstm_plain_s8 *l, const elstm_cell_s8 *cell) {
    if (b->kernels->step_s16 != NULL) {
        b->kernels->step_s16(l, b->x16, b->acc, cell);
        return;
    }
    b->kernels->matmul_s16(l->kernel, l->rescale, b->x16, 0, b->acc, 1);
    bench_recurrent_s8(b, l->recurrent, cell);
}

static void bench_step_s8(const bench *b, const elstm_plain_s8 *l, const elstm_cell_s8 *cell) {
    if (b->kernels->step_any != NULL) {
        b->kernels->step_any(l, b->x8, b->acc, cell);
        return;
    }
    b->kernels->matmul_s8(l->kernel, l->rescale, b->x8, 0, b->acc, 1);
    bench_recurrent_s8(b, l->recurrent, cell);
}

static void bench_once(const bench *b, int kernel) {
    const elstm_kernels *k = b->kernels;
    const uint32_t units = b->groups * ELSTM_GROUP, rows = 4 * units, quads = (b->columns + 3) / 4;
    const elstm_matrix_f32 wf = {b->wf, b->groups, 4, b->columns},
                           rf = {b->wf, b->groups, 4, units};
    const elstm_matrix_f32 df = {b->wf, b->groups, 1, b->columns};
    const elstm_matrix_s8 ws = {b->ws, b->surplus, b->groups, 4, quads};
    const elstm_matrix_s8 rs = {b->ws, b->recurrent_surplus, b->groups, 4, units / 4};
    const elstm_matrix_s8 ds = {b->ws, b->surplus, b->groups, 1, quads};
    const elstm_rescale rescale = {b->shift, b->bias};
    const elstm_cell_s8 cell = {b->c16, b->h8, b->y8, ELSTM_S8, 6554, 127, 0};
    const elstm_plain_f32 plain_f32 = {&wf, &rf, b->xf};
    const elstm_plain_s8 wide_s8 = {&ws, &rs, &rescale, &b->q, ELSTM_S16};
    const elstm_plain_s8 narrow_s8 = {&ws, &rs, &rescale, &b->q, ELSTM_S8};
    switch (kernel) {
    case BENCH_ENTER_F32: k->enter_f32(b->xf, b->yf, b->columns); break;
    case BENCH_ENTER_S16: k->enter_s16(b->xf, 8191.75f, b->z, b->columns); break;
    case BENCH_LEAVE_S8: k->leave_s8(b->h8, 1.0f / 127, b->yf, units); break;
    case BENCH_LEAVE_S16: k->leave_s16(b->x16, 1.0f / 32767, b->yf, units); break;
    case BENCH_MATMUL_F32: k->matmul_f32(&wf, b->xf, b->xf, b->columns, b->yf, b->count); break;
    case BENCH_DENSE_F32: k->matmul_f32(&df, b->xf, b->xf, b->columns, b->yf, b->count); break;
    case BENCH_LSTM_F32: k->lstm_f32(b->xf, b->cf, b->hf, b->zf, b->groups); break;
    case BENCH_RECURRENT_F32: bench_recurrent_f32(b, &rf); break;
    case BENCH_STEP_F32: bench_step_f32(b, &plain_f32); break;
    case BENCH_TANH_F32: k->tanh_f32(b->yf, units); break;
    case BENCH_SIGMOID_F32: k->sigmoid_f32(b->yf, units); break;
    case BENCH_PREPARE_S8:
        if (k->prepare_s8 != NULL) k->prepare_s8(&ws, b->surplus);
        break;
    case BENCH_MATMUL_S8: k->matmul_s8(&ws, &rescale, b->x8, 4 * quads, b->acc, b->count); break;
    case BENCH_DENSE_S8: k->matmul_s8(&ds, &rescale, b->x8, 4 * quads, b->acc, b->count); break;
    case BENCH_MATMUL_S16: k->matmul_s16(&ws, &rescale, b->x16, 4 * quads, b->acc, b->count); break;
    case BENCH_REQUANTIZE_S8: k->requantize_s8(b->acc, &b->q, b->z, rows); break;
    case BENCH_LSTM_S8: k->lstm_s8(b->acc, &b->q, &cell, b->groups); break;
    case BENCH_RECURRENT_S8: bench_recurrent_s8(b, &rs, &cell); break;
    case BENCH_STEP_S16: bench_step_s16(b, &wide_s8, &cell); break;
    case BENCH_STEP_S8: bench_step_s8(b, &narrow_s8, &cell); break;
    case BENCH_LSTM_TFL8: {
        const elstm_factor sum = {1518500250, -6};
        const elstm_cell_tfl8 tfl8 = {.input = {sum, sum, sum, sum},
                                      .recurrent = {sum, sum, sum, sum},
                                      .hidden = {1518500250, -22},
                                      .whole = 3};
        const elstm_state_tfl8 state = {b->c16, b->h8, b->y8};
        k->lstm_tfl8(b->acc, b->acc + rows, &tfl8, &state, b->groups);
        break;
    }
    case BENCH_TANH_S16: k->tanh_s16(b->z, units); break;
    default: k->sigmoid_s16(b->z, units); break;
    }
}

/* The set's turn: what it prepares is made. */
static void bench_turn(bench *b, const elstm_kernels *kernels) {
    const uint32_t quads = (b->columns + 3) / 4;
    const elstm_matrix_s8 ws = {b->ws, NULL, b->groups, 4, quads};
    const elstm_matrix_s8 rs = {b->ws, NULL, b->groups, 4, 2 * b->groups};
    b->kernels = kernels;
    b->q = (elstm_requantize){b->shift, b->multiplier, NULL, 0};
    if (kernels->prepare_s8 != NULL) {
        kernels->prepare_s8(&ws, b->surplus);
        kernels->prepare_s8(&rs, b->recurrent_surplus);
    }
    if (kernels->prepare_lstm_s8 != NULL) kernels->prepare_lstm_s8(&b->q, b->groups, b->prepared);
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

/* The sets take turns within each round, so that a busy machine is busy for all of them. */
static void bench_row(bench *b, int kernel) {
    double times[MOST_SETS][ROUNDS], median[MOST_SETS];
    uint32_t calls = 1;
    for (;; calls *= 2) { /* about 20 us of the slowest, scalar */
        bench_turn(b, sets_here[set_count - 1]);
        const double from = now();
        for (uint32_t k = 0; k < calls; ++k) bench_once(b, kernel);
        if (now() - from > 20000 || calls >= 1u << 16) break;
    }
    for (uint32_t round = 0; round < ROUNDS; ++round) {
        for (uint32_t s = 0; s < set_count; ++s) {
            bench_turn(b, sets_here[s]);
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
    const size_t most = 256 * 256 * 4; /* weights of the largest */
    check_random random = check_seeded(1);
    bench b;
    memset(&b, 0, sizeof b);
    b.wf = take_f32(&random, RANDOM, most, 0.1f);
    b.xf = take_f32(&random, RANDOM, 4096, 1);
    b.yf = take_f32(&random, RANDOM, 8 * 1024, 1);
    b.zf = take_f32(&random, RANDOM, 256, 1);
    b.cf = take_f32(&random, RANDOM, 256, 1);
    b.hf = take_f32(&random, RANDOM, 256, 1);
    b.ws = take_weights(&random, RANDOM, most);
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
    b.recurrent_surplus = take_s32(&random, RANDOM, 1024, -4096, 4096);
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
    const uint32_t rounds = rounds_text == NULL ? 3 : (uint32_t)strtoul(rounds_text, NULL, 10);
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
    for (uint32_t round = 0; round < rounds; ++round) test_all(seed + 1000003u * round);
    printf("test_kernels: equal to docs/numerics.md:");
    EACH_SET printf(" %s", set->name);
    printf("\n");
    free(tanh_of);
    free(sigmoid_of);
    return 0;
}
