/* Which kernel sets this machine gets: elstm_kernels_at and elstm_kernels_find agree, a set that
 * they give runs, and the dot product set that they withhold would have died here. It ends with
 * the sets given and those of which a product died.
 *
 *     test_sets [--kernels NAME]
 */
#define _DEFAULT_SOURCE

#include "check.h"
#include "kernels.h"

#include <sys/wait.h>

/* Every set built in, whatever this CPU can do. */
static const elstm_kernels *const built[] = {
    &elstm_kernels_scalar,
#if defined(ELSTM_BUILDS_SMALL)
    &elstm_kernels_small,
#endif
#if defined(ELSTM_BUILDS_X86)
    &elstm_kernels_avx2,         &elstm_kernels_avx512vnni,
#endif
#if defined(ELSTM_BUILDS_DSP)
    &elstm_kernels_dsp,
#endif
#if defined(ELSTM_BUILDS_NEON)
    &elstm_kernels_neon,
#endif
#if defined(ELSTM_BUILDS_NEON_DOTPROD)
    &elstm_kernels_neon_dotprod,
#endif
};
#define BUILT (sizeof built / sizeof *built)

static const elstm_kernels *yielded(const char *name) {
    const elstm_kernels *found = NULL;
    for (size_t k = 0; k < elstm_kernels_count(); ++k) {
        const elstm_kernels *set = elstm_kernels_at(k);
        if (set == NULL || strcmp(elstm_kernels_name(set), name) != 0) continue;
        CHECK(found == NULL, "%s is given twice", name);
        found = set;
    }
    return found;
}

static void product(const elstm_kernels *set) {
    int8_t x[8];
    int32_t y[32] = {0}, surplus[32], weights[64]; /* 256 bytes at 4 */
    const elstm_matrix_s8 w = {(const int8_t *)weights, surplus, 1, 4, 2};
    memset(weights, 3, sizeof weights);
    memset(x, -5, sizeof x);
    if (set->prepare_s8 != NULL) set->prepare_s8(&w, surplus);
    set->matmul_s8(&w, NULL, x, 8, y, 1);
    for (int r = 0; r < 32; ++r) CHECK(y[r] == -5 * 3 * 8, "row %d is %d", r, (int)y[r]);
}

static void leave(int number) { _exit(number == SIGILL ? 77 : 78); }

/* 0, or 77 for a death by an instruction that this CPU lacks. */
static int try_out(const elstm_kernels *set) {
    const pid_t child = fork();
    CHECK(child >= 0, "no child process");
    if (child == 0) {
        signal(SIGILL, leave);
        product(set);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child did not end");
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    check_start();
    check_kernels_wanted(argc, argv);
    check_begin("names that nobody has");
    CHECK(elstm_kernels_find("") == NULL && elstm_kernels_find("neo") == NULL &&
              elstm_kernels_find("scalar ") == NULL,
          "a set was found");
    CHECK(elstm_kernels_at(elstm_kernels_count()) == NULL, "a set behind the last");
    check_begin("count");
    CHECK(elstm_kernels_count() == BUILT, "%zu sets, not %zu", elstm_kernels_count(), BUILT);
    char illegal[128] = "";
    printf("test_sets:");
    for (size_t k = 0; k < BUILT; ++k) {
        const char *name = elstm_kernels_name(built[BUILT - 1 - k]);
        check_begin("set %s", name);
        const elstm_kernels *set = built[BUILT - 1 - k], *found = elstm_kernels_find(name);
        CHECK(found == yielded(name), "found by name and not by index, or the other way round");
        CHECK(found == NULL || found == set, "another set has this name");
        CHECK(elstm_kernels_at(k) == found, "out of order: the best come first");
        const int end = try_out(set);
        CHECK(end == 0 || end == 77, "the product ended with %d", end);
        CHECK(found == NULL || end == 0, "given, but this CPU cannot run it");
        /* one way only for the others: a set asks for more than this one product needs */
        CHECK(found != NULL || end == 77 || strcmp(name, "neon_dotprod") != 0,
              "withheld, but this CPU can run it");
        if (found != NULL)
            printf(" %s", name);
        else if (end == 77)
            strcat(strcat(illegal, " "), name);
    }
    printf("%s%s\n", illegal[0] ? "; SIGILL:" : "", illegal);
    return 0;
}
