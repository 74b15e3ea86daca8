/* export_and_verify.h: a reader of llama2.c-style .bin files (v0 to v3) in one file.
 *
 * In one C or C++ file of your program:
 *
 *     #define EXPORT_AND_VERIFY_IMPLEMENTATION
 *     #include "export_and_verify.h"
 *
 * before any other header; in the others without the first line. C11 or C++17, gcc or clang; link with -lm, and with
 * -lpthread unless RC_NO_THREADS is defined. docs/single-header.md says what each part costs.
 *
 * Define any of these beside EXPORT_AND_VERIFY_IMPLEMENTATION to leave a part out, and then before every inclusion:
 *
 *     RC_NO_V3, RC_NO_V0_TO_V2   formats
 *     RC_NO_FAST                 the arithmetic `fast`; `mirror` is always there
 *     RC_NO_TOKENIZER            text to tokens and back
 *     RC_NO_DIGESTS              BLAKE3
 *     RC_NO_THREADS              a pass uses the caller's thread alone
 *     RC_NO_MMAP                 rc_open and rc_close, and with them POSIX: a file is memory (rc_open_memory)
 *     RC_NO_MALLOC               rc_session_open and _close; implies RC_NO_MMAP and, unless RC_MALLOC is yours,
 *                                RC_NO_TOKENIZER: nothing calls malloc
 *
 * And to choose:
 *
 *     RC_MOST_BATCH              tokens that share one pass over the weights, 256 by default: scratch grows with it
 *     RC_MALLOC(size), RC_CALLOC(count, size), RC_REALLOC(pointer, size), RC_FREE(pointer)
 *                                the tokenizers' own memory: all four or none
 *     RC_API                     before every function of the interface, extern by default
 *
 * `make single` of export-and-verify writes this file: change its sources instead. MIT License, at the end.
 */
#if defined(EXPORT_AND_VERIFY_IMPLEMENTATION) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* madvise, pread, st_mtim */
#endif

#if defined(RC_NO_MALLOC) && !defined(RC_NO_MMAP)
#define RC_NO_MMAP
#endif
#if defined(RC_NO_MALLOC) && !defined(RC_MALLOC) && !defined(RC_NO_TOKENIZER)
#define RC_NO_TOKENIZER
#endif
#if defined(RC_NO_V3) && !defined(RC_NO_DIGESTS)
#define RC_NO_DIGESTS
#endif

#ifndef EXPORT_AND_VERIFY_H
#define EXPORT_AND_VERIFY_H

#include <stdint.h>

#ifndef RC_API
#define RC_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

@INTERFACE@
#ifdef __cplusplus
}
#endif

#endif

#ifdef EXPORT_AND_VERIFY_IMPLEMENTATION

#include <float.h>
#include <stdlib.h>

#ifdef __FAST_MATH__
#error "the bits are defined for strict floating point: compile without -ffast-math"
#endif
#if FLT_EVAL_METHOD != 0
#error "floats need arithmetic of their own width: on 32-bit x86, compile with -msse2 -mfpmath=sse"
#endif

#define RC_LOCAL static __attribute__((unused))
/* one instruction set: that of the compiler's options */
#ifndef RC_NO_CLONES
#define RC_NO_CLONES
#endif
#define RC_NO_SIMD

#ifndef RC_MALLOC
#define RC_MALLOC malloc
#define RC_CALLOC calloc
#define RC_REALLOC realloc
#define RC_FREE free
#endif

#ifdef __cplusplus
/* C makes a pointer of any type from void *; and C's initializers are extensions in C++17 that gcc and clang have */
struct rc_any {
    void *at;
    template <class T> operator T *() const { return static_cast<T *>(at); }
};
struct rc_from {
    rc_any operator>>(const void *at) const { return rc_any{const_cast<void *>(at)}; }
};
#define RC_FROM rc_from() >>
#define RC_ALIGNAS alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wc99-extensions"
#pragma GCC diagnostic ignored "-Wc++20-designator"
#else
#pragma GCC diagnostic ignored "-Wextra" /* a number of an enum is a number */
#endif
#if !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wc++20-extensions"
#endif
#else
#define RC_FROM
#define RC_ALIGNAS _Alignas
#endif

/* no sum of a product and a number is rounded once where the source rounds twice */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

@IMPLEMENTATION@
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif
#if !defined(__clang__)
#pragma GCC pop_options
#endif

#endif

@LICENSE@
