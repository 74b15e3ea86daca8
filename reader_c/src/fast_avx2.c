/* `fast` for x86-64 with AVX2. */
#include "fast.h"

#if defined(__x86_64__)

#include "vectors_avx2.h"

#define RC_FAST_TABLE rc_fast_avx2
#include "fast_body.h"

#endif
