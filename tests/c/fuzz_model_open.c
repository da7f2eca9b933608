/* An image out of anything: the bytes as they come, then with magic, version, size and checksum
 * mended, so that the search gets past them. With libFuzzer (-DFUZZ_WITH_LIBFUZZER
 * -fsanitize=fuzzer,address,undefined) or without:
 *
 *     fuzz_model_open IMAGE...                        each file once
 *     fuzz_model_open --seconds N [--seed N] IMAGE... seeded mutations of the files
 */
#define _DEFAULT_SOURCE
#include "check.h"

#include "use_image.h"

#include <time.h>

#define MOST ((size_t)1 << 22)

/* A mended header opens the door to all checks behind it; what the input holds there is lost. */
static void mend(unsigned char *image, size_t size) {
    static const unsigned char head[12] = {'E', 'D', 'G', 'E', 'L', 'S', 'T', 'M'};
    if (size < 20) return;
    memcpy(image, head, 10); /* version 1, too */
    check_mend(image, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint32_t turn;
    unsigned char *image = use_block(size, ELSTM_ALIGN);
    if (size > 0) memcpy(image, data, size);
    use_image(image, size, MOST, turn);
    mend(image, size);
    use_image(image, size, MOST, turn++);
    free(image);
    return 0;
}

#ifdef FUZZ_WITH_LIBFUZZER

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* Mended after each mutation: then what the corpus keeps are images, not scraps of them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    const size_t made = LLVMFuzzerMutate(data, size, most);
    if (seed % 16 != 0) mend(data, made);
    return made;
}

#else

/* One to eight changes: bytes, words of note, blocks moved, ends cut or doubled. */
static size_t mutate(check_random *random, unsigned char *data, size_t size, size_t most) {
    static const uint32_t words[8] = {0,          1,          7,     0x80000000,
                                      0x7FFFFFFF, 0xFFFFFFFF, 65536, 0x7F800000};
    for (uint32_t left = 1 + check_u32(random) % 8; left > 0 && size >= 8; --left) {
        const size_t at = check_u32(random) % (size - 4);
        /* half of the changes meet the header and the first sections */
        const size_t near = check_u32(random) & 1 && size > 600 ? at % 600 : at;
        switch (check_u32(random) % 6) {
        case 0: data[near] = (unsigned char)check_u32(random); break;
        case 1: data[near] ^= (unsigned char)(1u << check_u32(random) % 8); break;
        case 2: memcpy(data + near / 4 * 4, &words[check_u32(random) % 8], 4); break;
        case 3: {
            const size_t from = check_u32(random) % size, room = size - (from > near ? from : near);
            memmove(data + near, data + from, check_u32(random) % (room < 64 ? room + 1 : 64));
            break;
        }
        case 4: data[near] = (unsigned char)(data[near] + check_between(random, -4, 4)); break;
        default:
            if (check_u32(random) % 8 != 0) break;
            if (check_u32(random) & 1 && size + 64 <= most) {
                memset(data + size, 0, 64);
                size += 64;
            } else {
                size = at;
            }
        }
    }
    return size;
}

int main(int argc, char **argv) {
    const char *seconds = check_option(argc, argv, "--seconds");
    const char *seed_text = check_option(argc, argv, "--seed");
    uint32_t seed = seed_text == NULL ? 1 : (uint32_t)strtoul(seed_text, NULL, 10);
    const time_t end = time(NULL) + (seconds == NULL ? 0 : (time_t)strtol(seconds, NULL, 10));
    unsigned long inputs = 0;
    check_start();
    do {
        for (int k = 1; k < argc; ++k) {
            if (strncmp(argv[k], "--", 2) == 0) {
                ++k;
                continue;
            }
            size_t size;
            unsigned char *image = check_file(argv[k], &size);
            check_begin("%s", argv[k]);
            LLVMFuzzerTestOneInput(image, size);
            ++inputs;
            unsigned char *data = use_block(2 * size, 16);
            for (int repeat = 0; seconds != NULL && repeat < 256; ++repeat, ++seed, ++inputs) {
                check_random random = check_seeded(seed);
                check_begin("%s, --seed %u", argv[k], seed);
                memcpy(data, image, size);
                LLVMFuzzerTestOneInput(data, mutate(&random, data, size, 2 * size));
            }
            free(data);
            free(image);
        }
    } while (time(NULL) < end);
    CHECK(inputs > 0, "no image given");
    printf("fuzz_model_open: %lu inputs\n", inputs);
    return 0;
}

#endif
