// Instance normalisation (Ulyanov et al., 2016) with affine, ReLU and residual, and its gradient.
//
// A plane's statistics are computed in chunks, so that a few large planes use the whole GPU as many small ones do. All sums are
// f32 within a chunk and f64 across chunks, in a fixed order. `stats` has the mean, scale, weight and bias of every plane.

// The mean, and the sum of squared distances from it, of each chunk of `span` values: partials[plane][chunk].
KERNEL partial_moments(const value* xs, float* partials, int plane, int span) {
  int first = blockIdx.y * span, count = smaller(span, plane - first);
  const value* chunk = xs + (long long)blockIdx.x * plane + first;
  float sum = 0.f;
  for (int i = threadIdx.x; i < count; i += THREADS) sum += widen(chunk[i]);
  float mean = block_sum(sum) / count;
  // Distances from the mean: a sum of squares minus the square of a sum would lose digits. The chunk is still in the cache.
  float squares = 0.f;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    float distance = widen(chunk[i]) - mean;
    squares += distance * distance;
  }
  squares = block_sum(squares);
  if (threadIdx.x == 0) {
    float* to = partials + 2 * (blockIdx.x * gridDim.y + blockIdx.y);
    to[0] = mean;
    to[1] = squares;
  }
}

// Merges the chunks of every plane (Chan et al., 1979) into its statistics.
KERNEL merge_moments(const float* partials, const float* affine, float* stats, int planes, int channels, int plane, int span,
                     int count, float epsilon) {
  int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= planes) return;
  double seen = 0., mean = 0., squares = 0.;
  for (int chunk = 0; chunk < count; ++chunk) {
    const float* from = partials + 2 * ((long long)i * count + chunk);
    double size = smaller(span, plane - chunk * span), delta = from[0] - mean;
    squares += from[1] + delta * delta * seen * size / (seen + size);
    seen += size;
    mean += delta * size / seen;
  }
  stats[4 * i] = (float)mean;
  stats[4 * i + 1] = (float)(1. / sqrt(squares / seen + epsilon));
  stats[4 * i + 2] = affine[i % channels];
  stats[4 * i + 3] = affine[channels + i % channels];
}

__device__ inline float normal(float x, const float* stats) { return (x - stats[0]) * (stats[1] * stats[2]) + stats[3]; }

__device__ inline float activation(float x, const float* stats, int relu) {
  float y = normal(x, stats);
  return relu && y < 0.f ? 0.f : y;  // NaN stays NaN.
}

// Normalises, and adds `residual` if there is one. `wide` means that every plane is a whole number of packs and that all tensors
// of values are aligned to the size of a pack.
KERNEL normalise(const value* xs, const value* residual, const float* stats, value* ys, int plane, int relu, int wide) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  long long first = (long long)blockIdx.x * plane;
  const float* own = stats + 4 * blockIdx.x;
  if (!wide) {
    if (at >= plane) return;
    float y = activation(widen(xs[first + at]), own, relu);
    ys[first + at] = narrow(residual ? y + widen(residual[first + at]) : y);
    return;
  }
  if (at >= plane / PACK) return;
  pack x = ((const pack*)(xs + first))[at], other = x, y;
  if (residual) other = ((const pack*)(residual + first))[at];
  for (int i = 0; i < PACK; ++i) {
    float result = activation(widen(x.at[i]), own, relu);
    y.at[i] = narrow(residual ? result + widen(other.at[i]) : result);
  }
  ((pack*)(ys + first))[at] = y;
}

__device__ inline float masked(float x, float dy, const float* stats, int relu) {
  return relu && normal(x, stats) <= 0.f ? 0.f : dy;
}

// Partial sums, by chunk, of the gradient times the normalised value, and of the gradient.
KERNEL partial_gradients(const value* xs, const value* dy, const float* stats, float* partials, int plane, int span, int relu) {
  int first = blockIdx.y * span, count = smaller(span, plane - first);
  long long offset = (long long)blockIdx.x * plane + first;
  const float* own = stats + 4 * blockIdx.x;
  float dot = 0.f, sum = 0.f;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    float x = widen(xs[offset + i]), gradient = masked(x, widen(dy[offset + i]), own, relu);
    dot += gradient * ((x - own[0]) * own[1]);
    sum += gradient;
  }
  dot = block_sum(dot);
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    float* to = partials + 2 * (blockIdx.x * gridDim.y + blockIdx.y);
    to[0] = dot;
    to[1] = sum;
  }
}

// Adds the partial sums of every plane: sums[plane] = (dot, sum).
KERNEL merge_gradients(const float* partials, float* sums, int planes, int count) {
  int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= planes) return;
  double dot = 0., sum = 0.;
  for (int chunk = 0; chunk < count; ++chunk) {
    dot += partials[2 * ((long long)i * count + chunk)];
    sum += partials[2 * ((long long)i * count + chunk) + 1];
  }
  sums[2 * i] = (float)dot;
  sums[2 * i + 1] = (float)sum;
}

__device__ inline float input_slope(float x, float dy, const float* stats, const float* sums, int plane, int relu) {
  float gradient = masked(x, dy, stats, relu);
  return stats[1] * stats[2] * (gradient - sums[1] / plane - (x - stats[0]) * stats[1] * (sums[0] / plane));
}

// The gradient of the input.
KERNEL input_gradient(const value* xs, const value* dy, const float* stats, const float* sums, value* dx, int plane, int relu,
                      int wide) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  long long first = (long long)blockIdx.x * plane;
  const float *own = stats + 4 * blockIdx.x, *own_sums = sums + 2 * blockIdx.x;
  if (!wide) {
    if (at >= plane) return;
    dx[first + at] = narrow(input_slope(widen(xs[first + at]), widen(dy[first + at]), own, own_sums, plane, relu));
    return;
  }
  if (at >= plane / PACK) return;
  pack x = ((const pack*)(xs + first))[at], gradient = ((const pack*)(dy + first))[at], result;
  for (int i = 0; i < PACK; ++i)
    result.at[i] = narrow(input_slope(widen(x.at[i]), widen(gradient.at[i]), own, own_sums, plane, relu));
  ((pack*)(dx + first))[at] = result;
}

// The gradients of weights and biases (2, channels): the sums over all pictures.
KERNEL affine_gradient(const float* sums, float* gradients, int batch, int channels) {
  int channel = blockIdx.x * THREADS + threadIdx.x;
  if (channel >= channels) return;
  double weight = 0., bias = 0.;
  for (int picture = 0; picture < batch; ++picture) {
    weight += sums[2 * (picture * channels + channel)];
    bias += sums[2 * (picture * channels + channel) + 1];
  }
  gradients[channel] = (float)weight;
  gradients[channels + channel] = (float)bias;
}
