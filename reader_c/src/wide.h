/* Vectors: how wide the hot loops are compiled, and the lanes that they work on. */
#ifndef EXPORT_AND_VERIFY_WIDE_H
#define EXPORT_AND_VERIFY_WIDE_H

#include "kernels.h"

/* Compile a hot loop for a wider instruction set as well and choose when the library is loaded. The bits do not
 * depend on the choice. By feature, because a name such as haswell stands for one maker's processors alone. Only
 * static functions, because clang wants the attribute on every declaration; only glibc, because other C libraries
 * resolve no such functions; and not under sanitizers, which would instrument the resolvers that run before they are
 * set up. */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GLIBC__) && !defined(RC_NO_CLONES)
#define WIDE(feature) __attribute__((target_clones("default", feature)))
#define RC_CLONES
#else
#define WIDE(feature)
#endif

/* Not wider than the registers, because gcc keeps wider ones in memory. The default clone alone pays that. */
enum {
#if defined(RC_CLONES) || defined(__AVX__)
    VECTOR = 8,
#else
    VECTOR = 4,
#endif
    VECTORS = RC_LANES / VECTOR,
};

typedef float vector __attribute__((vector_size(VECTOR * sizeof(float))));

/* One number of each of RC_LANES tokens. */
typedef struct {
    vector part[VECTORS];
} lanes;

#endif
