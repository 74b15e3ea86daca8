/* Hot loops of `mirror` that are compiled for more than one instruction set. */
#ifndef EXPORT_AND_VERIFY_CLONES_H
#define EXPORT_AND_VERIFY_CLONES_H

#include <stdlib.h> /* for glibc's own macro */

/* Compile a function for a wider instruction set as well, and choose when the library is loaded. The bits do not
 * depend on the choice. By feature, because a name such as haswell stands for one maker's processors alone. Only
 * static functions, because clang wants the attribute on every declaration; only glibc, because other C libraries
 * resolve no such functions; and not under sanitizers, which would instrument the resolvers that run before they are
 * set up. */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GLIBC__) && !defined(RC_NO_CLONES)
#define RC_CLONES(feature) __attribute__((target_clones("default", feature)))
#else
#define RC_CLONES(feature)
#endif

#endif
