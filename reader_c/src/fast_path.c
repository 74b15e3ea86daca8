#include "fast_path.h"

#include <stddef.h>

const rc_fast *rc_fast_path(int path)
{
    switch (path) {
#ifndef RC_NO_FAST
    case RC_PATH_BEST: return rc_fast_path(rc_path_best());
    case RC_PATH_SCALAR: return &rc_fast_scalar;
#endif
#if defined(RC_NO_SIMD)
#elif defined(__x86_64__)
    case RC_PATH_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &rc_fast_avx2 : NULL;
    case RC_PATH_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma")
                   ? &rc_fast_avx512
                   : NULL;
#elif defined(__aarch64__)
    case RC_PATH_NEON: return &rc_fast_neon;
#endif
    default: return NULL;
    }
}

int rc_path_best(void)
{
    static const int by_speed[] = {RC_PATH_AVX512, RC_PATH_AVX2, RC_PATH_NEON};
    for (size_t i = 0; i < sizeof by_speed / sizeof *by_speed; i++)
        if (rc_fast_path(by_speed[i]))
            return by_speed[i];
    return RC_PATH_SCALAR;
}

int rc_path_is_here(int path)
{
    return rc_fast_path(path) != NULL;
}
