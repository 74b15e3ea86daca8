/* `fast` for x86-64 with AVX512. */
#include "fast.h"

#if defined(__x86_64__)

#include "vectors_avx512.h"

#define RC_FAST_TABLE rc_fast_avx512
#include "fast_body.h"

#endif
