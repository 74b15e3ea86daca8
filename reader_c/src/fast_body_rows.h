/* Functions of one row, for fast_body.h: a row of weights as floats, norm, e^x, softmax, gate. */
TARGET static void row_as_floats(float *room, const rc_matrix *w, int64_t row)
{
    const int64_t at = row * w->cols;
    if (w->storage != RC_Q8) {
        rc_matrix_row(w, row, room);
        return;
    }
    const int8_t *q = (const int8_t *)w->values + at;
    const uint8_t *scales = w->scales + at / w->group_size * (int64_t)sizeof(float);
    for (int64_t start = 0; start < w->cols; start += w->group_size, scales += sizeof(float)) {
        const float scale = rc_load_f32(scales);
        for (int64_t j = start; j < start + w->group_size; j++)
            room[j] = (float)q[j] * scale;
    }
}

/* ---- sums over one array: lane l takes the elements whose index is l modulo 16 ---- */

INLINE V load_rest(const float *from, int64_t count)
{
    float all[16] = {0.0f};
    memcpy(all, from, (size_t)count * sizeof(float));
    return v_load(all);
}

TARGET static void norm(float *out, const float *x, const float *weight, int64_t dim, float eps)
{
    V sum = v_zero();
    int64_t j = 0;
    for (; j + 16 <= dim; j += 16)
        sum = v_fma(v_load(x + j), v_load(x + j), sum);
    if (j < dim)
        sum = v_fma(load_rest(x + j, dim - j), load_rest(x + j, dim - j), sum);
    const float scale = 1.0f / sqrtf(v_tree(sum) / (float)dim + eps);
    for (j = 0; j < dim; j++)
        out[j] = weight[j] * (scale * x[j]);
}

/* ---- e^x, and what is made of it ---- */

/* e^x = 2^n e^r with n the integer nearest to x log2(e): r by two fused steps from a ln 2 in two parts, e^r by Taylor's
 * polynomial, 2^n as two factors so that a subnormal result is rounded once. Every branch is a choice between two
 * values, so that a loop over it is the vector unit's. */
INLINE float exp_fast(float x)
{
    const float bounded = x < -150.0f ? -150.0f : x > 130.0f ? 130.0f : x;
    const float shifted = fmaf(bounded, 0x1.715476p+0f, 0x1.8p+23f);
    const float n = shifted - 0x1.8p+23f;
    float r = fmaf(n, -0x1.62e4p-1f, bounded);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f; /* 1 / 5040 */
    p = fmaf(p, r, 0x1.6c16c2p-10f); /* 1 / 720 */
    p = fmaf(p, r, 0x1.111112p-7f);
    p = fmaf(p, r, 0x1.555556p-5f);
    p = fmaf(p, r, 0x1.555556p-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t whole = (int32_t)(bits << 9) >> 9; /* of the integer in the lowest bits of shifted */
    const int32_t half = whole >> 1;
    const uint32_t first = (uint32_t)(half + 127) << 23, second = (uint32_t)(whole - half + 127) << 23;
    float a, b;
    memcpy(&a, &first, sizeof a);
    memcpy(&b, &second, sizeof b);
    return p * a * b;
}

INLINE float sigmoid_fast(float x)
{
    return 1.0f / (1.0f + exp_fast(-x));
}

TARGET static void exponentials(float *x, int64_t n, float largest)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = exp_fast(x[i] - largest);
}

/* tanh y = -m / (2 + m) with m = e^(-2 |y|) - 1 and the sign of y. m is made of the same parts as e^x, but e^r - 1 by
 * a polynomial of its own, so that nothing cancels where y is small. From 10 on, tanh is 1 in float. */
INLINE float tanh_fast(float y)
{
    const float size = fabsf(y), x = -2.0f * (size > 10.0f ? 10.0f : size);
    const float shifted = fmaf(x, 0x1.715476p+0f, 0x1.8p+23f);
    const float n = shifted - 0x1.8p+23f;
    float r = fmaf(n, -0x1.62e4p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f; /* 1 / 5040 */
    p = fmaf(p, r, 0x1.6c16c2p-10f); /* 1 / 720 */
    p = fmaf(p, r, 0x1.111112p-7f);
    p = fmaf(p, r, 0x1.555556p-5f);
    p = fmaf(p, r, 0x1.555556p-3f);
    p = fmaf(p, r, 0.5f);
    const float q = fmaf(r * r, p, r); /* e^r - 1 */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + (127u << 23); /* of 2^n, n from -29 to 0, which the lowest bits of shifted hold */
    float power;
    memcpy(&power, &bits, sizeof power);
    const float m = fmaf(power, q, power - 1.0f);
    return copysignf(m / (2.0f + m), y);
}

TARGET static void cap(float *x, int64_t n, float most)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = most * tanh_fast(x[i] / most);
}

/* In lanes, because a maximum is the same in any order (a NaN gives what it gives to every power). */
INLINE float largest_of(const float *x, int64_t n)
{
    float lane[16];
    for (int l = 0; l < 16; l++)
        lane[l] = x[0];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int l = 1; l < 16; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

TARGET static void softmax(float *x, int64_t n)
{
    exponentials(x, n, largest_of(x, n));
    V sum = v_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        sum = v_add(sum, v_load(x + i));
    if (i < n)
        sum = v_add(sum, load_rest(x + i, n - i));
    const float whole = v_tree(sum);
    for (i = 0; i < n; i++)
        x[i] /= whole;
}

TARGET static void gated(float *gate, const float *up, int64_t n, int activation)
{
    if (activation == RC_SILU)
        for (int64_t i = 0; i < n; i++)
            gate[i] = gate[i] * sigmoid_fast(gate[i]) * up[i];
    else if (activation == RC_GELU_TANH)
        for (int64_t i = 0; i < n; i++)
            gate[i] = gate[i] *
                      sigmoid_fast(0x1.988454p+0f * (gate[i] + 0x1.6e4e26p-5f * gate[i] * gate[i] * gate[i])) * up[i];
    else
        rc_gated(gate, up, n, activation);
}
