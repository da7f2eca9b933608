/* Counts what a process takes from the heap: preloaded into Python by tests/test_allocations.py.
 * glibc alone has these other names for its functions. */
#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void *memalign(size_t align, size_t size);
void *aligned_alloc(size_t align, size_t size);
int posix_memalign(void **block, size_t align, size_t size);
unsigned long malloc_count(void);

static unsigned long taken;

unsigned long malloc_count(void) { return taken; }

void *malloc(size_t size) {
    ++taken;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    ++taken;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    ++taken;
    return __libc_realloc(block, size);
}

void *memalign(size_t align, size_t size) {
    ++taken;
    return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **block, size_t align, size_t size) {
    *block = memalign(align, size);
    return *block == NULL ? 12 : 0; /* ENOMEM */
}
