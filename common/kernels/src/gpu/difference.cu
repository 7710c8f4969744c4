// Mean squared differences between two tensors and between the neighbours of a picture, and their gradients.

// Partial sums of squared differences over chunks of `span` values; without `b`, of squares.
KERNEL partial_squares(const value* a, const value* b, float* partials, int count, int span) {
  long long first = (long long)blockIdx.x * span;
  float sum = 0.f;
  for (int i = threadIdx.x; i < span; i += THREADS) {
    long long at = first + i;
    if (at >= count) break;
    float difference = widen(a[at]) - (b ? widen(b[at]) : 0.f);
    sum += difference * difference;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// The sum of all partial sums times a factor, or the square root of that, computed by one block.
KERNEL total(const float* partials, float* result, int count, float factor, int root) {
  float sum = 0.f;
  for (int i = threadIdx.x; i < count; i += THREADS) sum += partials[i];
  sum = block_sum(sum) * factor;
  if (threadIdx.x == 0) *result = root ? sqrtf(sum) : sum;
}

// factor * gradient * (a - b), where the gradient is a single number.
KERNEL scaled_difference(const value* a, const value* b, const float* gradient, value* da, int count, float factor) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at < count) da[at] = narrow(factor * *gradient * (widen(a[at]) - widen(b[at])));
}

// Partial sums, over chunks of `span` pixels of all planes, of squared differences from the right and lower neighbours.
KERNEL partial_variation(const value* xs, float* partials, int count, int height, int width, int span) {
  long long first = (long long)blockIdx.x * span;
  float sum = 0.f;
  for (int i = threadIdx.x; i < span; i += THREADS) {
    long long at = first + i;
    if (at >= count) break;
    int column = (int)(at % width), row = (int)(at / width % height);
    float x = widen(xs[at]);
    float right = column + 1 < width ? widen(xs[at + 1]) - x : 0.f;
    float below = row + 1 < height ? widen(xs[at + width]) - x : 0.f;
    sum += right * right + below * below;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

KERNEL variation_gradient(const value* xs, const float* gradient, value* dx, int count, int height, int width, float factor) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at >= count) return;
  int column = at % width, row = at / width % height;
  float x = widen(xs[at]), sum = 0.f;
  if (column > 0) sum += x - widen(xs[at - 1]);
  if (column + 1 < width) sum += x - widen(xs[at + 1]);
  if (row > 0) sum += x - widen(xs[at - width]);
  if (row + 1 < height) sum += x - widen(xs[at + width]);
  dx[at] = narrow(factor * *gradient * sum);
}
