/* The physical limit of one LSTM step on x86-64: its weights streamed once through the best exact
 * dot product, plus five gate functions a unit. Nothing else a step must do is counted.
 *
 *     cc -O3 -std=c99 -o limit tools/limit.c
 *     taskset -c 1 ./limit [--json] [LAYERS ...]
 *
 * LAYERS is one stack, such as "8,16" (inputs, units) or "9,64 64,64 64:6" (a Dense layer has a
 * colon); without any, the grid and the two stacks of docs/benchmarks.md. The first layer of an s8
 * stack has a 16-bit x, the others an int8 x. Times are nanoseconds a step.
 *
 * Sums start from zero in registers and are stored once, 32 bits each. Where an instruction wants
 * an unsigned operand it gets x + 32768, h + 128 or w + 128; what that adds is known before the
 * step and taken out by the caller, here by the check. Several register blockings, layouts and
 * prefetch distances are tried and the fastest is the limit. Each is checked against plain C first.
 *
 * tools/bench_step.py loads this file as a shared library and uses limit_open and limit_time. */
#define _POSIX_C_SOURCE 200809L
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))

/* gcc 12 keeps arrays of sums in memory where loops over them are unrolled late, and copies sums
 * around the intrinsics of the two instructions below: no limit would be one. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

AVX512 INLINE __m512i dot_512(__m512i sum, __m512i x, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

AVX2 INLINE __m256i add_256(__m256i sum, __m256i v) {
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(v));
    return sum;
}

/* How a 16-bit x meets int8 weights, four columns (a quad) of a row at a time. */
typedef enum {
    UNSIGNED_PLANES, /* AVX-512: dpbusd of the high and of the low byte */
    SIGNED_PLANES,   /* AVX2: both bytes by maddubs(|x|, sign(w, x)); |x| < 32640 */
    EXTENDED,        /* AVX2: weights sign-extended, madd; two columns of 8 rows in 16 bytes */
    EVEN_ODD,        /* AVX2: odd columns by a shift, even ones (w + 128) by a mask, madd */
    FLOATS           /* f32: one column at a time */
} form;

/* Weights and operands of one pass: blocks of `vectors` registers of rows, columns inside. */
typedef struct {
    unsigned char *w;
    size_t ahead;                /* bytes to prefetch ahead, or 0 */
    uint32_t rows, wide, narrow; /* quads with 16-bit x, then quads with int8 x; f32: columns */
    uint32_t *x[4], *h[2];       /* the operands of a quad, as the form wants them */
    float *columns;              /* f32: x and h */
    const void *from;            /* sums to go on from, or NULL */
    void *sums;
} stream;

/* Registers of rows side by side, quads (f32: columns) with accumulators of their own, and blocks
 * at once, each a stream of addresses of its own. */
typedef struct {
    uint32_t vectors, chains, groups;
} shape;

enum { SHAPES = 10, MOST = 16 };
static const shape shapes[SHAPES] = {{1, 4, 1}, {2, 2, 1}, {2, 4, 1}, {4, 1, 1}, {4, 2, 1},
                                     {4, 4, 1}, {8, 1, 1}, {8, 2, 1}, {2, 2, 2}, {2, 1, 4}};

/* Where register k of a column stands; fetches a cache line further on. */
INLINE const unsigned char *at(const unsigned char *w, uint32_t k, shape f, size_t block,
                               size_t width, size_t ahead) {
    const unsigned char *p = w + k / f.vectors * block + k % f.vectors * width;
    if (ahead != 0 && (width == 64 || k % 2 == 0)) _mm_prefetch(p + ahead, _MM_HINT_T0);
    return p;
}

/* ---- dot products ---- */

AVX512 INLINE void dot_s8_512(const stream *s, shape f, size_t ahead) {
    const size_t step = f.vectors * 64, block = step * (s->wide + s->narrow);
    const uint32_t n = f.vectors * f.groups;
    const unsigned char *w = s->w;
    for (uint32_t row = 0; row < s->rows; row += 16 * n, w += (f.groups - 1) * block) {
        __m512i sum[MOST], low[MOST];
        UNROLL
        for (uint32_t k = 0; k < n * f.chains; ++k) sum[k] = low[k] = _mm512_setzero_si512();
        for (uint32_t q = 0; q < s->wide; ++q, w += step) {
            const __m512i a = _mm512_set1_epi32((int)s->x[0][q]);
            const __m512i b = _mm512_set1_epi32((int)s->x[1][q]);
            UNROLL
            for (uint32_t k = 0; k < n; ++k) {
                const __m512i v = _mm512_load_si512(at(w, k, f, block, 64, ahead));
                sum[k] = dot_512(sum[k], a, v);
                low[k] = dot_512(low[k], b, v);
            }
        }
        for (uint32_t k = 0; s->wide != 0 && k < n; ++k)
            sum[k] = _mm512_add_epi32(_mm512_slli_epi32(sum[k], 8), low[k]);
        for (uint32_t k = 0; s->from != NULL && k < n; ++k)
            sum[k] = _mm512_load_si512((const int32_t *)s->from + row + 16 * k);
        for (uint32_t q = 0; q < s->narrow; q += f.chains) UNROLL
        for (uint32_t c = 0; c < f.chains; ++c, w += step) {
            const __m512i a = _mm512_set1_epi32((int)s->h[0][q + c]);
            UNROLL
            for (uint32_t k = 0; k < n; ++k)
                sum[c * n + k] =
                    dot_512(sum[c * n + k], a, _mm512_load_si512(at(w, k, f, block, 64, ahead)));
        }
        UNROLL
        for (uint32_t k = 0; k < n; ++k) {
            UNROLL
            for (uint32_t c = 1; c < f.chains; ++c)
                sum[k] = _mm512_add_epi32(sum[k], sum[c * n + k]);
            _mm512_store_si512((int32_t *)s->sums + row + 16 * k, sum[k]);
        }
    }
}

/* x, |x| and w bytes: no pair of products leaves 16 bits, as |x| <= 128 and |w| <= 127. */
AVX2 INLINE __m256i add_signed(__m256i sum, __m256i w, uint32_t x, uint32_t size, short factor) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32((int)size),
                                               _mm256_sign_epi8(w, _mm256_set1_epi32((int)x)));
    return add_256(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor)));
}

AVX2 INLINE __m256i add_pairs(__m256i sum, __m256i w, uint32_t x) {
    return add_256(sum, _mm256_madd_epi16(w, _mm256_set1_epi32((int)x)));
}

/* A quad of eight rows with a 16-bit x. */
AVX2 INLINE __m256i add_wide(__m256i sum, const stream *s, uint32_t q, const unsigned char *p,
                             form form) {
    const __m256i v = _mm256_load_si256((const __m256i *)p);
    if (form == SIGNED_PLANES) {
        sum = add_signed(sum, v, s->x[0][q], s->x[1][q], 256);
        return add_signed(sum, v, s->x[2][q], s->x[3][q], 1);
    }
    if (form == EVEN_ODD) {
        sum = add_pairs(sum, _mm256_and_si256(v, _mm256_set1_epi16(255)), s->x[0][q]);
        return add_pairs(sum, _mm256_srai_epi16(v, 8), s->x[1][q]);
    }
    sum = add_pairs(sum, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v)), s->x[0][q]);
    return add_pairs(sum, _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)p + 1)), s->x[1][q]);
}

AVX2 INLINE void dot_s8_256(const stream *s, shape f, size_t ahead, form form) {
    const size_t step = f.vectors * 32, block = step * (s->wide + s->narrow);
    const uint32_t n = f.vectors * f.groups;
    const unsigned char *w = s->w;
    for (uint32_t row = 0; row < s->rows; row += 8 * n, w += (f.groups - 1) * block) {
        __m256i sum[MOST];
        UNROLL
        for (uint32_t k = 0; k < n * f.chains; ++k) sum[k] = _mm256_setzero_si256();
        for (uint32_t k = 0; s->from != NULL && k < n; ++k)
            sum[k] = _mm256_load_si256((const __m256i *)((const int32_t *)s->from + row + 8 * k));
        for (uint32_t q = 0; q < s->wide; ++q, w += step) UNROLL
        for (uint32_t k = 0; k < n; ++k)
            sum[k] = add_wide(sum[k], s, q, at(w, k, f, block, 32, ahead), form);
        for (uint32_t q = 0; q < s->narrow; q += f.chains) UNROLL
        for (uint32_t c = 0; c < f.chains; ++c, w += step) UNROLL
        for (uint32_t k = 0; k < n; ++k) {
            const void *p = at(w, k, f, block, 32, ahead);
            sum[c * n + k] =
                add_signed(sum[c * n + k], _mm256_load_si256(p), s->h[0][q + c], s->h[1][q + c], 1);
        }
        UNROLL
        for (uint32_t k = 0; k < n; ++k) {
            UNROLL
            for (uint32_t c = 1; c < f.chains; ++c)
                sum[k] = _mm256_add_epi32(sum[k], sum[c * n + k]);
            _mm256_store_si256((__m256i *)((int32_t *)s->sums + row + 8 * k), sum[k]);
        }
    }
}

AVX2 INLINE void dot_s8_256_planes(const stream *s, shape f, size_t ahead) {
    dot_s8_256(s, f, ahead, SIGNED_PLANES);
}

AVX2 INLINE void dot_s8_256_extended(const stream *s, shape f, size_t ahead) {
    dot_s8_256(s, f, ahead, EXTENDED);
}

AVX2 INLINE void dot_s8_256_even_odd(const stream *s, shape f, size_t ahead) {
    dot_s8_256(s, f, ahead, EVEN_ODD);
}

AVX512 INLINE void dot_f32_512(const stream *s, shape f, size_t ahead) {
    const size_t step = f.vectors * 64, block = step * s->narrow;
    const uint32_t n = f.vectors * f.groups;
    const unsigned char *w = s->w;
    for (uint32_t row = 0; row < s->rows; row += 16 * n, w += (f.groups - 1) * block) {
        __m512 sum[MOST];
        UNROLL
        for (uint32_t k = 0; k < n * f.chains; ++k) sum[k] = _mm512_setzero_ps();
        for (uint32_t q = 0; q < s->narrow; q += f.chains) UNROLL
        for (uint32_t c = 0; c < f.chains; ++c, w += step) {
            const __m512 x = _mm512_set1_ps(s->columns[q + c]);
            UNROLL
            for (uint32_t k = 0; k < n; ++k)
                sum[c * n + k] = _mm512_fmadd_ps(x, _mm512_load_ps(at(w, k, f, block, 64, ahead)),
                                                 sum[c * n + k]);
        }
        UNROLL
        for (uint32_t k = 0; k < n; ++k) {
            UNROLL
            for (uint32_t c = 1; c < f.chains; ++c) sum[k] = _mm512_add_ps(sum[k], sum[c * n + k]);
            _mm512_store_ps((float *)s->sums + row + 16 * k, sum[k]);
        }
    }
}

AVX2 INLINE void dot_f32_256(const stream *s, shape f, size_t ahead) {
    const size_t step = f.vectors * 32, block = step * s->narrow;
    const uint32_t n = f.vectors * f.groups;
    const unsigned char *w = s->w;
    for (uint32_t row = 0; row < s->rows; row += 8 * n, w += (f.groups - 1) * block) {
        __m256 sum[MOST];
        UNROLL
        for (uint32_t k = 0; k < n * f.chains; ++k) sum[k] = _mm256_setzero_ps();
        for (uint32_t q = 0; q < s->narrow; q += f.chains) UNROLL
        for (uint32_t c = 0; c < f.chains; ++c, w += step) {
            const __m256 x = _mm256_set1_ps(s->columns[q + c]);
            UNROLL
            for (uint32_t k = 0; k < n; ++k) {
                const void *p = at(w, k, f, block, 32, ahead);
                sum[c * n + k] = _mm256_fmadd_ps(x, _mm256_load_ps(p), sum[c * n + k]);
            }
        }
        UNROLL
        for (uint32_t k = 0; k < n; ++k) {
            UNROLL
            for (uint32_t c = 1; c < f.chains; ++c) sum[k] = _mm256_add_ps(sum[k], sum[c * n + k]);
            _mm256_store_ps((float *)s->sums + row + 8 * k, sum[k]);
        }
    }
}

/* A dot product over whole streams. */
typedef void run(const stream *s);

/* A copy of a dot product for every shape, without and with prefetch: all inner loops have constant
 * counts. */
#define COPY(target, dot, k)                                                                       \
    target static void dot##_##k(const stream *s) { dot(s, shapes[k], 0); }                        \
    target static void dot##_##k##_ahead(const stream *s) { dot(s, shapes[k], s->ahead); }
#define COPIES(target, dot)                                                                        \
    COPY(target, dot, 0)                                                                           \
    COPY(target, dot, 1)                                                                           \
    COPY(target, dot, 2)                                                                           \
    COPY(target, dot, 3)                                                                           \
    COPY(target, dot, 4)                                                                           \
    COPY(target, dot, 5)                                                                           \
    COPY(target, dot, 6)                                                                           \
    COPY(target, dot, 7)                                                                           \
    COPY(target, dot, 8)                                                                           \
    COPY(target, dot, 9)                                                                           \
    static run *const dot##_copies[SHAPES][2] = {                                                  \
        {dot##_0, dot##_0_ahead}, {dot##_1, dot##_1_ahead}, {dot##_2, dot##_2_ahead},              \
        {dot##_3, dot##_3_ahead}, {dot##_4, dot##_4_ahead}, {dot##_5, dot##_5_ahead},              \
        {dot##_6, dot##_6_ahead}, {dot##_7, dot##_7_ahead}, {dot##_8, dot##_8_ahead},              \
        {dot##_9, dot##_9_ahead}};

COPIES(AVX512, dot_s8_512)
COPIES(AVX2, dot_s8_256_planes)
COPIES(AVX2, dot_s8_256_extended)
COPIES(AVX2, dot_s8_256_even_odd)
COPIES(AVX512, dot_f32_512)
COPIES(AVX2, dot_f32_256)

/* ---- gate functions: tanh of docs/numerics.md over `count` values ---- */

static const int16_t cubic[4][8] = {{37, 225, 787, 2146, 4972, 10053, 17807, 27611},
                                    {44, 163, 435, 983, 1916, 3208, 4497, 5158},
                                    {16, 45, 98, 183, 285, 343, 266, 45},
                                    {5, 5, 11, 14, 14, 0, -28, -44}};
static const float over[7] = {1.0f,
                              0.131245434f,
                              0.00314964028f,
                              1.1647302e-05f,
                              -2.23497896e-08f,
                              6.39384448e-11f,
                              -1.16777573e-13f};
static const float under[4] = {1.0f, 0.464578748f, 0.0246759318f, 0.00026134841f};

AVX512 static void gates_s8_512(const void *values, void *results, uint32_t count) {
    __m512i t[4];
    for (int k = 0; k < 4; ++k)
        t[k] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)cubic[k]));
    for (uint32_t at = 0; at < count; at += 32) {
        const __m512i v = _mm512_load_si512((const int16_t *)values + at);
        const __m512i s = _mm512_srai_epi16(v, 15);
        const __m512i n = _mm512_xor_si512(s, _mm512_set1_epi16(0x7FFF));
        const __m512i b = _mm512_xor_si512(v, n), u = _mm512_mulhrs_epi16(b, b);
        const __m512i index = _mm512_srli_epi16(u, 12);
        const __m512i r =
            _mm512_xor_si512(_mm512_slli_epi16(u, 4), _mm512_set1_epi16((short)0x8000));
        __m512i q = _mm512_permutexvar_epi16(index, t[3]);
        for (int k = 2; k >= 0; --k)
            q = _mm512_add_epi16(_mm512_permutexvar_epi16(index, t[k]), _mm512_mulhrs_epi16(q, r));
        _mm512_store_si512((int16_t *)results + at, _mm512_sub_epi16(_mm512_xor_si512(q, n), s));
    }
}

AVX2 static void gates_s8_256(const void *values, void *results, uint32_t count) {
    __m256i t[4]; /* turned by a byte: the index below is (2 k + 1, 2 k + 2) */
    for (int k = 0; k < 4; ++k) {
        const __m128i table = _mm_loadu_si128((const __m128i *)cubic[k]);
        t[k] = _mm256_broadcastsi128_si256(_mm_alignr_epi8(table, table, 15));
    }
    for (uint32_t at = 0; at < count; at += 16) {
        const __m256i v = _mm256_load_si256((const __m256i *)((const int16_t *)values + at));
        const __m256i s = _mm256_srai_epi16(v, 15);
        const __m256i n = _mm256_xor_si256(s, _mm256_set1_epi16(0x7FFF));
        const __m256i b = _mm256_xor_si256(v, n), u = _mm256_mulhrs_epi16(b, b);
        const __m256i index = _mm256_mulhi_epu16(_mm256_or_si256(u, _mm256_set1_epi16(0x0FFF)),
                                                 _mm256_set1_epi16(0x2020));
        const __m256i r =
            _mm256_xor_si256(_mm256_slli_epi16(u, 4), _mm256_set1_epi16((short)0x8000));
        __m256i q = _mm256_shuffle_epi8(t[3], index);
        for (int k = 2; k >= 0; --k)
            q = _mm256_add_epi16(_mm256_shuffle_epi8(t[k], index), _mm256_mulhrs_epi16(q, r));
        _mm256_store_si256((__m256i *)((int16_t *)results + at),
                           _mm256_sub_epi16(_mm256_xor_si256(q, n), s));
    }
}

AVX512 static void gates_f32_512(const void *values, void *results, uint32_t count) {
    for (uint32_t at = 0; at < count; at += 16) {
        __m512 x = _mm512_load_ps((const float *)values + at);
        x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-7.9f)), _mm512_set1_ps(7.9f));
        const __m512 u = _mm512_mul_ps(x, x);
        __m512 p = _mm512_set1_ps(over[6]), q = _mm512_set1_ps(under[3]);
        for (int k = 5; k >= 0; --k) p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(over[k]));
        for (int k = 2; k >= 0; --k) q = _mm512_fmadd_ps(q, u, _mm512_set1_ps(under[k]));
        _mm512_store_ps((float *)results + at, _mm512_div_ps(_mm512_mul_ps(x, p), q));
    }
}

AVX2 static void gates_f32_256(const void *values, void *results, uint32_t count) {
    for (uint32_t at = 0; at < count; at += 8) {
        __m256 x = _mm256_load_ps((const float *)values + at);
        x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-7.9f)), _mm256_set1_ps(7.9f));
        const __m256 u = _mm256_mul_ps(x, x);
        __m256 p = _mm256_set1_ps(over[6]), q = _mm256_set1_ps(under[3]);
        for (int k = 5; k >= 0; --k) p = _mm256_fmadd_ps(p, u, _mm256_set1_ps(over[k]));
        for (int k = 2; k >= 0; --k) q = _mm256_fmadd_ps(q, u, _mm256_set1_ps(under[k]));
        _mm256_store_ps((float *)results + at, _mm256_div_ps(_mm256_mul_ps(x, p), q));
    }
}

/* ---- layers ---- */

/* What a set of instructions has in one number type: dot products, each with its form of W. */
typedef struct {
    const char *set, *type;
    uint32_t lanes; /* rows in a register */
    int forms;
    form form[3];
    run *const (*dot[3])[2]; /* [SHAPES][2] */
    void (*gates)(const void *values, void *results, uint32_t count);
} kind;

enum { KINDS = 4 };
static const kind kinds[KINDS] = {
    {"avx512vnni", "s8", 16, 1, {UNSIGNED_PLANES}, {dot_s8_512_copies}, gates_s8_512},
    {"avx512vnni", "f32", 16, 1, {FLOATS}, {dot_f32_512_copies}, gates_f32_512},
    {.set = "avx2",
     .type = "s8",
     .lanes = 8,
     .forms = 3,
     .form = {SIGNED_PLANES, EXTENDED, EVEN_ODD},
     .dot = {dot_s8_256_planes_copies, dot_s8_256_extended_copies, dot_s8_256_even_odd_copies},
     .gates = gates_s8_256},
    {"avx2", "f32", 8, 1, {FLOATS}, {dot_f32_256_copies}, gates_f32_256},
};

enum { LAYERS = 8, VALUES = 1280, TRIALS = 5, ROUNDS = 41, BATCH_NS = 30000, WARM = 8 };

/* A layer, and its fastest dot product: one pass over both matrices, or one over each. */
typedef struct {
    uint32_t rows, wide, columns; /* the first `wide` columns have a 16-bit x */
    int8_t *weights;              /* [rows][columns] */
    int16_t *x;                   /* [columns] */
    int form, passes, shape;
    run *run;
    stream pass[2];
} layer;

typedef struct {
    const kind *kind;
    layer layer[LAYERS];
    uint32_t layers, values; /* values: gate functions a step */
    void *in, *out;          /* VALUES values, gone over as often as needed, so they stay in L1 */
    unsigned batch[2];       /* calls of dots and of gates that take about BATCH_NS */
} limit;

static void fail(const char *what) {
    fprintf(stderr, "limit: %s\n", what);
    exit(1);
}

static void *memory(size_t size) {
    void *p;
    if (posix_memalign(&p, 64, size) != 0) fail("no memory");
    memset(p, 0, size);
    return p;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int random_within(int most) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)(2 * most + 1)) - most;
}

/* Byte b of operand number k for the four x of a quad. */
static unsigned operand(form form, int k, int b, const int16_t *x) {
    const int high = form == SIGNED_PLANES ? (x[b] + 128) >> 8 : x[b] >> 8;
    const int low = x[b] - 256 * high;
    const int planes[4] = {high, abs(high), low, abs(low)};
    switch (form) {
    case UNSIGNED_PLANES: return (unsigned)(k == 0 ? high + 128 : low) & 255;
    case SIGNED_PLANES: return (unsigned)planes[k] & 255;
    case EVEN_ODD: return (unsigned)x[b / 2 * 2 + k] >> b % 2 * 8 & 255;
    default: return (unsigned)x[b / 2 + 2 * k] >> b % 2 * 8 & 255;
    }
}

/* Columns from `start` to `end` of a layer, as dot product number `form` and a shape want them. */
static stream pack(const layer *l, const kind *kind, uint32_t start, uint32_t end) {
    const form form = kind->form[l->form];
    const uint32_t lanes = kind->lanes, vectors = shapes[l->shape].vectors;
    const uint32_t wide = l->wide > start ? (l->wide < end ? l->wide : end) - start : 0;
    const uint32_t unit = form == FLOATS ? 1 : 4; /* columns side by side */
    const size_t bytes = (size_t)l->rows * (end - start) * (form == FLOATS ? sizeof(float) : 1);
    stream s = {.rows = l->rows, .wide = wide / unit, .narrow = (end - start - wide) / unit};
    s.w = memory(bytes + 4096); /* prefetches run over */
    for (uint32_t row = 0; row < l->rows; ++row) {
        const uint32_t lane = row % lanes, block = row / lanes / vectors;
        const uint32_t vector = row / lanes % vectors;
        for (uint32_t column = start; column < end; ++column) {
            const uint32_t j = column - start, c = j % unit;
            const int8_t w = l->weights[(size_t)row * l->columns + column];
            const size_t quads = (size_t)block * (s.wide + s.narrow) + j / unit;
            const size_t at = (quads * vectors + vector) * lanes; /* of the register */
            const int halves = form == EXTENDED && j < wide;
            if (form == FLOATS)
                ((float *)s.w)[at + lane] = w;
            else
                s.w[at * 4 + (halves ? c / 2 * 16 + lane * 2 + c % 2 : lane * 4 + c)] =
                    (unsigned char)(w + (form == EVEN_ODD && j < wide && c % 2 == 0 ? 128 : 0));
        }
    }
    if (form == FLOATS) {
        s.columns = memory((end - start) * sizeof(float));
        for (uint32_t j = 0; j < end - start; ++j) s.columns[j] = l->x[start + j];
        return s;
    }
    const int16_t *x = l->x + start;
    for (int k = 0; k < 4; ++k) {
        s.x[k] = memory((s.wide + 1) * sizeof(uint32_t));
        for (uint32_t j = 0; j < wide; ++j)
            s.x[k][j / 4] |=
                operand(form, k % (form == SIGNED_PLANES ? 4 : 2), (int)j % 4, x + j / 4 * 4)
                << j % 4 * 8;
    }
    for (int k = 0; k < 2; ++k) {
        s.h[k] = memory((s.narrow + 1) * sizeof(uint32_t));
        for (uint32_t j = 0; j < end - start - wide; ++j) {
            const int h = x[wide + j];
            const int byte = form == UNSIGNED_PLANES ? h + 128 : k == 0 ? h : abs(h);
            s.h[k][j / 4] |= ((unsigned)byte & 255) << j % 4 * 8;
        }
    }
    return s;
}

static void unpack(layer *l) {
    for (int p = 0; p < l->passes; ++p) {
        free(l->pass[p].w);
        free(l->pass[p].columns);
        for (int k = 0; k < 4; ++k) free(l->pass[p].x[k]);
        for (int k = 0; k < 2; ++k) free(l->pass[p].h[k]);
    }
}

static void prepare(layer *l, const kind *kind, void *sums) {
    l->pass[0] = pack(l, kind, 0, l->passes == 2 ? l->wide : l->columns);
    if (l->passes == 2) l->pass[1] = pack(l, kind, l->wide, l->columns);
    l->pass[1].from = sums;
    l->pass[0].sums = l->pass[1].sums = sums;
}

static void dots(const layer *l) {
    for (int p = 0; p < l->passes; ++p) l->run(&l->pass[p]);
}

/* Takes the copy of the chosen form and shape that fetches `ahead` bytes ahead. */
static void take(layer *l, const kind *kind, size_t ahead) {
    l->run = kind->dot[l->form][l->shape][ahead != 0];
    l->pass[0].ahead = l->pass[1].ahead = ahead;
}

/* The sums against plain C in 64 bits; modulo 2^32, as x + 32768 may leave it before it comes back.
 * In f32 every product and sum is a whole number below 2^24. */
static void check(const layer *l, const kind *kind) {
    const form form = kind->form[l->form];
    dots(l);
    for (uint32_t row = 0; row < l->rows; ++row) {
        int64_t sum = 0;
        for (uint32_t j = 0; j < l->columns; ++j) {
            int64_t w = l->weights[(size_t)row * l->columns + j], x = l->x[j];
            if (form == UNSIGNED_PLANES) x += j < l->wide ? 32768 : 128;
            if (form == EVEN_ODD && j < l->wide && j % 2 == 0) w += 128;
            sum += w * x;
        }
        const int same = form == FLOATS ? ((float *)l->pass[0].sums)[row] == (float)sum
                                        : ((uint32_t *)l->pass[0].sums)[row] == (uint32_t)sum;
        if (!same) fail("a dot product is not exact");
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_dots(const limit *l, unsigned calls) {
    for (int warm = 0; warm < WARM; ++warm)
        for (uint32_t k = 0; k < l->layers; ++k) dots(&l->layer[k]);
    const double start = now();
    for (unsigned call = 0; call < calls; ++call)
        for (uint32_t k = 0; k < l->layers; ++k) dots(&l->layer[k]);
    return (now() - start) / calls;
}

static double time_gates(const limit *l, unsigned calls) {
    const double start = now();
    for (unsigned call = 0; call < calls; ++call)
        for (uint32_t done = 0; done < l->values; done += VALUES)
            l->kind->gates(l->in, l->out, l->values - done < VALUES ? l->values - done : VALUES);
    return (now() - start) / calls;
}

static unsigned batch(double (*time)(const limit *, unsigned), const limit *l) {
    unsigned calls = 4;
    while (time(l, calls) * calls < BATCH_NS) calls *= 2;
    return calls;
}

/* The gate functions against their definition in plain C: s8 equal, f32 within 1e-6. */
static void check_gates(const limit *l) {
    l->kind->gates(l->in, l->out, VALUES);
    for (int k = 0; k < VALUES; ++k) {
        if (strcmp(l->kind->type, "f32") == 0) {
            const double x = ((float *)l->in)[k], u = x * x;
            double p = over[6], q = under[3];
            for (int j = 5; j >= 0; --j) p = p * u + over[j];
            for (int j = 2; j >= 0; --j) q = q * u + under[j];
            const double error = ((float *)l->out)[k] - x * p / q;
            if (!(error < 1e-6 && error > -1e-6)) fail("a gate function is wrong");
        } else {
            const int v = ((int16_t *)l->in)[k], n = v < 0 ? ~0x7FFF : 0x7FFF, b = (v ^ n);
            const int u = (b * b + 0x4000) >> 15, r = (int16_t)(u << 4 ^ 0x8000);
            int q = cubic[3][u >> 12];
            for (int j = 2; j >= 0; --j) q = cubic[j][u >> 12] + ((q * r + 0x4000) >> 15);
            if (((int16_t *)l->out)[k] != (q ^ n) + (v < 0)) fail("a gate function is wrong");
        }
    }
}

/* Tries the prefetch distances of a form, number of passes and shape; the time of the fastest. */
static double fastest_ahead(layer *l, const kind *kind, void *sums, size_t *ahead) {
    static const size_t distances[4] = {0, 512, 1024, 2048};
    double best = 1e300;
    prepare(l, kind, sums);
    for (int k = 0; k < 2; ++k) {
        take(l, kind, distances[k]);
        check(l, kind);
    }
    limit alone = {.kind = kind, .layer = {*l}, .layers = 1};
    const unsigned calls = batch(time_dots, &alone);
    for (int trial = 0; trial < TRIALS; ++trial)
        for (int k = 0; k < 4; ++k) {
            take(&alone.layer[0], kind, distances[k]);
            const double time = time_dots(&alone, calls);
            if (time >= best) continue;
            best = time;
            *ahead = distances[k];
        }
    unpack(l);
    return best;
}

/* Whether a layer's rows and columns fill a shape. */
static int fits(const layer *l, const kind *kind, shape f) {
    const uint32_t narrow = (l->columns - l->wide) / (kind->form[0] == FLOATS ? 1 : 4);
    return l->rows % (kind->lanes * f.vectors * f.groups) == 0 && narrow % f.chains == 0;
}

/* Keeps the fastest way of a layer: that of the lowest time, in two surveys some time apart, as
 * other work on the machine only ever adds. */
static void choose(layer *l, const kind *kind) {
    const int forms = l->wide == 0 ? 1 : kind->forms;
    const int passes = l->wide == 0 || l->wide == l->columns ? 1 : 2;
    double best = 1e300;
    size_t ahead = 0, best_ahead = 0;
    layer fastest = *l;
    void *sums = memory((size_t)l->rows * sizeof(int32_t));
    for (int way = 0; way < 2 * forms * passes * SHAPES; ++way) {
        l->shape = way % SHAPES;
        l->form = way / SHAPES % forms;
        l->passes = way / SHAPES / forms % passes + 1;
        if (!fits(l, kind, shapes[l->shape])) continue;
        const double time = fastest_ahead(l, kind, sums, &ahead);
        if (time >= best) continue;
        best = time;
        best_ahead = ahead;
        fastest = *l;
    }
    *l = fastest;
    prepare(l, kind, sums);
    take(l, kind, best_ahead);
}

/* A stack such as "9,64 64,64 64:6" made of its fastest dot products; NULL for an unknown set or
 * type, or where the CPU lacks the set. */
limit *limit_open(const char *set, const char *type, const char *stack) {
    const int has =
        strcmp(set, "avx2") == 0
            ? __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
            : __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
    limit *l = memory(sizeof *l);
    for (int k = 0; has && k < KINDS; ++k)
        if (strcmp(kinds[k].set, set) == 0 && strcmp(kinds[k].type, type) == 0) l->kind = &kinds[k];
    if (l->kind == NULL) return NULL;
    const int floats = strcmp(type, "f32") == 0;
    unsigned inputs, units;
    char mark;
    for (int used; sscanf(stack, " %u%c%u%n", &inputs, &mark, &units, &used) == 3; stack += used) {
        if (l->layers == LAYERS || (mark != ',' && mark != ':')) fail("cannot read the layers");
        layer *next = &l->layer[l->layers];
        const uint32_t lanes = l->kind->lanes;
        if (!floats) inputs = (inputs + 3) / 4 * 4;
        next->rows = mark == ',' ? 4 * units : units;
        next->rows = (next->rows + lanes - 1) / lanes * lanes;
        next->columns = inputs + (mark == ',' ? units : 0);
        if (!floats) next->columns = (next->columns + 3) / 4 * 4;
        next->wide = !floats && l->layers == 0 ? inputs : 0;
        next->weights = memory((size_t)next->rows * next->columns);
        next->x = memory(next->columns * sizeof(int16_t));
        for (size_t k = 0; k < (size_t)next->rows * next->columns; ++k)
            next->weights[k] = (int8_t)random_within(127);
        for (uint32_t k = 0; k < next->columns; ++k)
            next->x[k] = (int16_t)random_within(floats ? 8 : k < next->wide ? 32639 : 127);
        choose(next, l->kind);
        if (mark == ',') l->values += 5 * units;
        ++l->layers;
    }
    if (l->layers == 0) fail("cannot read the layers");
    l->in = memory((VALUES + 32) * sizeof(float));
    l->out = memory((VALUES + 32) * sizeof(float));
    for (int k = 0; k < VALUES; ++k)
        if (floats)
            ((float *)l->in)[k] = (float)random_within(4000) / 1000;
        else
            ((int16_t *)l->in)[k] = (int16_t)random_within(32767);
    check_gates(l);
    l->batch[0] = batch(time_dots, l);
    l->batch[1] = l->values == 0 ? 1 : batch(time_gates, l);
    return l;
}

/* One short batch: nanoseconds a step for its dot products and for its gate functions. */
void limit_time(const limit *l, double *dot, double *gates) {
    *dot = time_dots(l, l->batch[0]);
    *gates = time_gates(l, l->batch[1]);
}

static double median(double *times) {
    qsort(times, ROUNDS, sizeof(double), ascending);
    return times[ROUNDS / 2];
}

int main(int argc, char **argv) {
    static const char *const stacks[] = {
        "8,16",     "16,32",           "32,64",
        "64,128",   "128,256",         "256,512",
        "512,1024", "9,64 64,64 64:6", "80,512 512,512 512,512 512:30"};
    enum { STACKS = sizeof stacks / sizeof stacks[0] };
    const int json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *const *const chosen =
        argc > 1 + json ? (const char *const *)argv + 1 + json : stacks;
    const int count = argc > 1 + json ? argc - 1 - json : STACKS;
    limit *(*limits)[KINDS] = memory((size_t)count * sizeof *limits);
    for (int k = 0; k < count; ++k)
        for (int j = 0; j < KINDS; ++j)
            limits[k][j] = limit_open(kinds[j].set, kinds[j].type, chosen[k]);
    double(*times)[KINDS][3][ROUNDS] = memory((size_t)count * sizeof *times);
    for (int round = 0; round < ROUNDS; ++round)
        for (int k = 0; k < count; ++k)
            for (int j = 0; j < KINDS; ++j) {
                double dot, gates;
                if (limits[k][j] == NULL) continue;
                limit_time(limits[k][j], &dot, &gates);
                times[k][j][0][round] = dot + gates;
                times[k][j][1][round] = dot;
                times[k][j][2][round] = gates;
            }
    if (!json)
        printf("| layers | set | type | median, ns | lowest | dot products | gate functions |\n"
               "|---|---|---|---|---|---|---|\n");
    for (int j = 0; j < KINDS; ++j) {
        if (json)
            printf("%s\"%s\": {",
                   j == 0   ? "{\"avx512vnni\": {"
                   : j == 2 ? "}, \"avx2\": {"
                            : ", ",
                   kinds[j].type);
        for (int k = 0; k < count; ++k) {
            if (limits[k][j] == NULL) continue;
            double(*t)[ROUNDS] = times[k][j];
            const double all = median(t[0]), dot = median(t[1]), gates = median(t[2]);
            if (json)
                printf("%s\"%s\": {\"median\": %.2f, \"lowest\": %.2f, \"dot\": %.2f, \"gates\": "
                       "%.2f}",
                       k == 0 ? "" : ", ", chosen[k], all, t[0][0], dot, gates);
            else
                printf("| %s | %s | %s | %.1f | %.1f | %.1f | %.1f |\n", chosen[k], kinds[j].set,
                       kinds[j].type, all, t[0][0], dot, gates);
        }
        if (json) printf("}");
    }
    if (json) printf("}}\n");
    return 0;
}
