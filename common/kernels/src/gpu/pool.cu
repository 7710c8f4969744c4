// 2x2 max pooling and its gradient. An odd last row or column is ignored.

// The position of the first maximum in reading order. NaN counts as larger than every number.
__device__ inline int first_maximum(const float* block) {
  int best = 0;
  for (int i = 1; i < 4; ++i)
    if (!(block[best] >= block[i]) && block[best] == block[best]) best = i;
  return best;
}

KERNEL pool(const value* xs, value* ys, int height, int width) {
  int wide = width / 2, at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= wide * (height / 2)) return;
  const value* from = xs + (long long)blockIdx.x * height * width + at / wide * 2 * width + at % wide * 2;
  float block[4] = {widen(from[0]), widen(from[1]), widen(from[width]), widen(from[width + 1])};
  ys[(long long)blockIdx.x * wide * (height / 2) + at] = narrow(block[first_maximum(block)]);
}

// One thread per 2x2 block, including incomplete blocks at the edge.
KERNEL pool_gradient(const value* xs, const value* dy, value* dx, int height, int width) {
  int wide = width / 2, columns = (width + 1) / 2, at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= columns * ((height + 1) / 2)) return;
  int row = at / columns, column = at % columns;
  long long from = (long long)blockIdx.x * height * width + 2 * row * width + 2 * column;
  int best = -1;
  float gradient = 0.f;
  if (row < height / 2 && column < wide) {
    float block[4] = {widen(xs[from]), widen(xs[from + 1]), widen(xs[from + width]), widen(xs[from + width + 1])};
    best = first_maximum(block);
    gradient = widen(dy[((long long)blockIdx.x * (height / 2) + row) * wide + column]);
  }
  for (int i = 0; i < 4; ++i)
    if (2 * row + i / 2 < height && 2 * column + i % 2 < width)
      dx[from + i / 2 * width + i % 2] = narrow(best == i ? gradient : 0.f);
}
