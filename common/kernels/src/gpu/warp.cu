// Samples a plane between its pixels by cubic convolution (Keys, 1981), and the adjoint of that.

#define SHARPNESS (-0.75f)

struct taps {
  int at[4];
  float weight[4];
};

__device__ inline float near_weight(float d) { return ((SHARPNESS + 2.f) * d - (SHARPNESS + 3.f)) * d * d + 1.f; }
__device__ inline float far_weight(float d) {
  return ((SHARPNESS * d - 5.f * SHARPNESS) * d + 8.f * SHARPNESS) * d - 4.f * SHARPNESS;
}

// The pixels and weights for a position along an axis of `size` pixels; outside, the nearest edge pixel is used.
__device__ inline taps taps_at(float position, int size) {
  position = fminf(fmaxf(position, -2.f), size + 1.f);
  float below = floorf(position), t = position - below;
  taps result;
  for (int i = 0; i < 4; ++i) {
    int at = (int)below + i - 1;
    result.at[i] = at < 0 ? 0 : at >= size ? size - 1 : at;
  }
  result.weight[0] = far_weight(1.f + t);
  result.weight[1] = near_weight(t);
  result.weight[2] = near_weight(1.f - t);
  result.weight[3] = far_weight(2.f - t);
  return result;
}

// `positions` is (batch, 2, places), the row coordinate first.
KERNEL warp(const value* xs, const float* positions, value* ys, int channels, int height, int width, int places) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= places) return;
  long long plane = blockIdx.x;
  const float* own = positions + plane / channels * 2 * places;
  taps rows = taps_at(own[at], height), columns = taps_at(own[places + at], width);
  float sum = 0.f;
  for (int i = 0; i < 4; ++i) {
    const value* line = xs + (plane * height + rows.at[i]) * width;
    float across = 0.f;
    for (int j = 0; j < 4; ++j) across += columns.weight[j] * widen(line[columns.at[j]]);
    sum += rows.weight[i] * across;
  }
  ys[plane * places + at] = narrow(sum);
}

// The largest magnitude of each chunk of `span` values.
KERNEL partial_largest(const value* xs, float* partials, int count, int span) {
  long long first = (long long)blockIdx.x * span;
  float largest = 0.f;
  for (int i = threadIdx.x; i < span; i += THREADS) {
    long long at = first + i;
    if (at >= count) break;
    largest = larger(largest, fabsf(widen(xs[at])));
  }
  largest = block_largest(largest);
  if (threadIdx.x == 0) partials[blockIdx.x] = largest;
}

// The factor that converts gradients to fixed point, so that the largest is about 2^40. It is a power of two, so dividing by it is
// exact. If a gradient is not finite, the factor is NaN, which then appears in the result.
KERNEL fixed_factor(const float* partials, float* factor, int count) {
  float largest = 0.f;
  for (int i = threadIdx.x; i < count; i += THREADS) largest = larger(largest, partials[i]);
  largest = block_largest(largest);
  if (threadIdx.x == 0) {
    int exponent = 0;
    if (largest > 0.f) frexpf(largest, &exponent);
    *factor = largest < 3e38f ? ldexpf(1.f, smaller(40 - exponent, 126)) : largest - largest;
  }
}

KERNEL clear(unsigned long long* sums, int count) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at < count) sums[at] = 0;
}

// Several threads may add to the same pixel. Sums of integers do not depend on the order, so the result is deterministic.
KERNEL warp_adjoint(const value* dy, const float* positions, const float* factor, unsigned long long* sums, int channels,
                    int height, int width, int places) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= places) return;
  long long plane = blockIdx.x;
  const float* own = positions + plane / channels * 2 * places;
  taps rows = taps_at(own[at], height), columns = taps_at(own[places + at], width);
  float gradient = widen(dy[plane * places + at]) * *factor;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      long long contribution = (long long)(rows.weight[i] * columns.weight[j] * gradient);
      if (contribution != 0)
        atomicAdd(sums + (plane * height + rows.at[i]) * width + columns.at[j], (unsigned long long)contribution);
    }
}

KERNEL unfix(const unsigned long long* sums, const float* factor, value* dx, int count) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at < count) dx[at] = narrow((float)(long long)sums[at] / *factor);
}
