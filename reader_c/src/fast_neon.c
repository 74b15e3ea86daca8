/* `fast` for aarch64, all of which has NEON. */
#include "fast.h"

#if defined(__aarch64__)

#include "vectors_neon.h"

#define RC_FAST_TABLE rc_fast_neon
#include "fast_body.h"

#endif
