/* `fast` in plain C, for every machine. */
#include "fast.h"

#include "vectors_scalar.h"

#define RC_FAST_TABLE rc_fast_scalar
#include "fast_body.h"
