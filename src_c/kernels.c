/* Which kernel sets this machine can run, best first: the only file that asks the CPU. */
#include "kernels.h"

#include <string.h>

#if defined(ELSTM_BUILDS_NEON) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(ELSTM_BUILDS_NEON_DOTPROD) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#if defined(ELSTM_BUILDS_X86)

/* __builtin_cpu_supports also asks whether the operating system saves the wide registers. */
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512vnni(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && has_avx2();
}

#elif defined(ELSTM_BUILDS_NEON) && defined(__aarch64__)

static int has_neon(void) { return 1; /* part of the architecture */ }

#elif defined(ELSTM_BUILDS_NEON)

static int has_neon(void) { return (getauxval(AT_HWCAP) & (1ul << 12)) != 0; /* HWCAP_NEON */ }

#endif

#if defined(ELSTM_BUILDS_NEON_DOTPROD)

static int has_neon_dotprod(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & (1ul << 20)) != 0; /* HWCAP_ASIMDDP */
#elif defined(__APPLE__)
    int found = 0;
    size_t size = sizeof found;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, NULL, 0) == 0 && found;
#else
    return 0;
#endif
}

#endif

static int always(void) { return 1; }

static const struct {
    const elstm_kernels *kernels;
    int (*runs)(void);
} sets[] = {
#if defined(ELSTM_BUILDS_HELIUM)
    {&elstm_kernels_helium, always},
#endif
#if defined(ELSTM_BUILDS_X86)
    {&elstm_kernels_avx512vnni, has_avx512vnni},
    {&elstm_kernels_avx2, has_avx2},
#endif
#if defined(ELSTM_BUILDS_NEON_DOTPROD)
    {&elstm_kernels_neon_dotprod, has_neon_dotprod},
#endif
#if defined(ELSTM_BUILDS_NEON)
    {&elstm_kernels_neon, has_neon},
#endif
#if defined(ELSTM_BUILDS_DSP)
    {&elstm_kernels_dsp, always}, /* part of what the build is for */
#endif
#if defined(ELSTM_BUILDS_SMALL)
    {&elstm_kernels_small, always},
#endif
    {&elstm_kernels_scalar, always},
};

size_t elstm_kernels_count(void) { return sizeof sets / sizeof *sets; }

const elstm_kernels *elstm_kernels_at(size_t index) {
    return index < elstm_kernels_count() && sets[index].runs() ? sets[index].kernels : NULL;
}

const elstm_kernels *elstm_kernels_find(const char *name) {
    for (size_t k = 0; k < elstm_kernels_count(); ++k) {
        const elstm_kernels *found = elstm_kernels_at(k);
        if (found != NULL && (name == NULL || strcmp(found->name, name) == 0)) return found;
    }
    return NULL;
}

const char *elstm_kernels_name(const elstm_kernels *kernels) { return kernels->name; }
