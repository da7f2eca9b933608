/* Hostile images: cut anywhere, any byte changed, several at once, always with size and checksum
 * mended, so that the checks behind them must hold. Each is refused, or runs inside its buffers. To
 * be built with -fsanitize=address,undefined.
 *
 *     test_model_open IMAGE...
 */
#define _DEFAULT_SOURCE
#include "check.h"

#include "use_image.h"

#define MOST                                                                                       \
    ((size_t)1 << 26) /* no golden image comes near such an arena, whatever is done to it */

typedef struct {
    uint32_t tried, opened;
} tally;

/* A copy of exactly `size` bytes, mended. */
static unsigned char *mended(const unsigned char *image, size_t size) {
    unsigned char *copy = use_block(size, ELSTM_ALIGN);
    memcpy(copy, image, size);
    check_mend(copy, size);
    return copy;
}

static void use(const unsigned char *image, size_t size, tally *t) {
    t->opened += (uint32_t)use_image(image, size, MOST, t->tried++);
}

static void cuts(const char *path, const unsigned char *image, size_t size, tally *t) {
    for (size_t left = 0; left < size; ++left) {
        check_begin("%s cut to %zu bytes", path, left);
        unsigned char *copy = mended(image, left);
        CHECK(use_image(copy, left, MOST, 0) == 0, "it opened");
        memcpy(copy, image, left); /* with its old size and checksum, too */
        CHECK(use_image(copy, left, MOST, 0) == 0, "it opened");
        free(copy);
        ++t->tried;
    }
    for (size_t more = 1; more <= 64; ++more) {
        check_begin("%s with %zu bytes more", path, more);
        unsigned char *longer = use_block(size + more, ELSTM_ALIGN);
        memcpy(longer, image, size);
        memset(longer + size, 0, more);
        check_mend(longer, size + more);
        CHECK(use_image(longer, size + more, MOST, 0) == 0, "it opened");
        free(longer);
        ++t->tried;
    }
}

/* What a byte changed by `mask` adds to the checksum, a byte further from the end than `effect`. */
static uint32_t earlier(uint32_t effect) {
    static const unsigned char zero = 0;
    return ~check_crc32(~effect, &zero, 1);
}

static void flips(const char *path, const unsigned char *image, size_t size, tally *t) {
    static const unsigned char masks[3] = {0x01, 0x80, 0xFF}, zero = 0;
    uint32_t right = 0, effects[3];
    unsigned char *copy = use_block(size, ELSTM_ALIGN);
    memcpy(copy, image, size);
    for (int k = 0; k < 4; ++k) right |= (uint32_t)image[16 + k] << 8 * k;
    for (int k = 0; k < 3; ++k)
        effects[k] = check_crc32(0, &masks[k], 1) ^ check_crc32(0, &zero, 1);
    for (size_t at = size; at-- > 0;) {
        if (at >= 16 && at < 20) continue; /* the checksum itself */
        for (int k = 0; k < 3; ++k) {
            const uint32_t crc = right ^ effects[k];
            check_begin("%s, byte %zu ^ %02x", path, at, masks[k]);
            copy[at] ^= masks[k];
            if (at % 16 == 0) CHECK(use_image(copy, size, MOST, 0) == 0, "its checksum is wrong");
            for (int j = 0; j < 4; ++j) copy[16 + j] = (unsigned char)(crc >> 8 * j & 255);
            use(copy, size, t);
            copy[at] ^= masks[k];
            memcpy(copy + 16, image + 16, 4);
            effects[k] = earlier(effects[k]);
        }
    }
    CHECK(memcmp(copy, image, size) == 0, "the test changed its image");
    free(copy);
}

/* A checksum that is wrong in any bit, and the whole made by steps against the whole. */
static void checksums(const char *path, const unsigned char *image, size_t size) {
    unsigned char *copy = mended(image, size);
    check_begin("%s mended as it is", path);
    CHECK(memcmp(copy, image, size) == 0, "it changed");
    for (int bit = 0; bit < 32; ++bit) {
        check_begin("%s, checksum bit %d", path, bit);
        copy[16 + bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK(use_image(copy, size, MOST, 0) == 0, "it opened");
        copy[16 + bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(copy);
}

/* Every float of the tensors, ports and records becomes each number that arithmetic stumbles over;
 * the door's reciprocal of a scale, say, must stay finite. */
static void floats(const char *path, const unsigned char *image, size_t size, tally *t) {
    static const uint32_t bits[8] = {0x00000001, 0x00200000, 0x00800000, 0x7F7FFFFF,
                                     0x7F800000, 0xFFC00000, 0x80000000, 0x3F7FFFFF};
    elstm_model model;
    CHECK(elstm_model_open(&model, image, size) == ELSTM_OK, "it does not open");
    unsigned char *copy = mended(image, size);
    for (size_t at = model.sections[0][0]; at + 4 <= model.sections[3][0]; at += 4) {
        for (int k = 0; k < 8; ++k) {
            check_begin("%s, word %zu = %08x", path, at, bits[k]);
            for (int j = 0; j < 4; ++j)
                copy[at + (size_t)j] = (unsigned char)(bits[k] >> 8 * j & 255);
            check_mend(copy, size);
            use(copy, size, t);
        }
        memcpy(copy, image, size);
    }
    free(copy);
}

/* Several bytes at once, most of them where sizes, kinds and counts stand. */
static void scrambles(const char *path, const unsigned char *image, size_t size, uint32_t rounds,
                      tally *t) {
    unsigned char *copy = mended(image, size);
    for (uint32_t seed = 1; seed <= rounds; ++seed) {
        check_random random = check_seeded(seed);
        check_begin("%s scrambled by seed %u", path, seed);
        const int32_t last = (int32_t)size - 1, head = last < 600 ? last : 600;
        for (uint32_t left = 2 + check_u32(&random) % 4; left > 0; --left) {
            const int32_t at = check_u32(&random) & 3 ? check_between(&random, 32, head)
                                                      : check_between(&random, 0, last);
            static const unsigned char values[8] = {0, 1, 2, 4, 8, 127, 128, 255};
            if (check_u32(&random) & 1)
                copy[at] = values[check_u32(&random) % 8];
            else
                copy[at] = image[check_between(&random, 0, last)];
        }
        check_mend(copy, size);
        use(copy, size, t);
        memcpy(copy, image, size);
    }
    free(copy);
}

int main(int argc, char **argv) {
    tally t = {0, 0};
    uint32_t count = 0;
    check_start();
    check_kernels_wanted(argc, argv);
    for (int k = 1; k < argc; ++k) {
        if (strcmp(argv[k], "--kernels") == 0) {
            ++k;
            continue;
        }
        size_t size;
        unsigned char *image = check_file(argv[k], &size);
        check_begin("%s as it is", argv[k]);
        CHECK(use_image(image, size, MOST, 0) == 1, "it does not open");
        checksums(argv[k], image, size);
        cuts(argv[k], image, size, &t);
        flips(argv[k], image, size, &t);
        floats(argv[k], image, size, &t);
        scrambles(argv[k], image, size, 2000, &t);
        free(image);
        ++count;
    }
    check_begin("the command line");
    CHECK(count > 0, "no image given");
    printf("test_model_open: %u images, %u changed ones, of which %u opened and ran\n", count,
           t.tried, t.opened);
    return 0;
}
