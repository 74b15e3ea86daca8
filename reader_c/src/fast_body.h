/* The arithmetic `fast`, once, over the V and I of the vectors_*.h that the including file has included: a table of
 * functions, named RC_FAST_TABLE. Every sum has its one order here; tiles, blocks and registers change the speed
 * alone. */
#include "bytes.h"
#include "fast.h"
#include "mirror_rows.h"

#include <math.h>
#include <string.h>

#define INLINE static inline TARGET __attribute__((always_inline))

#ifndef OWN_TREE
INLINE float v_tree(V v)
{
    float four[4];
    const V all[4] = {v, v, v, v};
    v_trees(four, all);
    return four[0];
}
#endif

#include "fast_body_attention.h"
#include "fast_body_products.h"
#include "fast_body_rows.h"

const rc_fast RC_FAST_TABLE = {
    .products = products,
    .pack_int8 = pack_int8,
    .products_int8 = products_int8,
    .row_as_floats = row_as_floats,
    .norm = norm,
    .scores = scores,
    .exponentials = exponentials,
    .softmax = softmax,
    .transpose_rows = transpose_rows,
    .mix = mix,
    .gated = gated,
    .cap = cap,
#ifdef OWN_ONE_INT8
    .one_int8 = one_int8,
#endif
};
