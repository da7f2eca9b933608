/* Which kernel sets this machine can run, best first: the only file that asks the CPU. */
#include "kernels.h"

#include <string.h>

#if defined(ELSTM_BUILDS_X86)
#include <cpuid.h>
#elif defined(ELSTM_BUILDS_NEON) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(ELSTM_BUILDS_NEON_DOTPROD) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#if defined(ELSTM_BUILDS_X86)

/* Whether the CPU has FMA and these features of its leaf 7, and the operating system saves these
 * registers. Not __builtin_cpu_supports: zig's library says no to all (0.17, tried). */
static int has(uint32_t ebx7, uint32_t ecx7, uint32_t saved) {
    const uint32_t needed = 1u << 12 | 1u << 27 | 1u << 28; /* FMA, OSXSAVE, AVX */
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    if ((a & saved) != saved) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & ebx7) == ebx7 && (c & ecx7) == ecx7;
}

/* AVX2; xmm and ymm. */
static int has_avx2(void) { return has(1u << 5, 0, 0x06); }

/* F, DQ, BW, VL, VNNI; masks and zmm beside them. */
static int has_avx512vnni(void) {
    return has(1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 1u << 11, 0xE6);
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
