// The steps around cuDNN's convolution: upsampling, padding, the gradient of the ReLU (its gate), bias, and the memory layout.
//
// `first` in a name means channels first, (channels, height, width) for each picture; `last` means channels last, which cuDNN
// needs for tensor cores. These passes are needed anyway, so the change of layout costs nothing. A channels-last tensor is padded
// with zeros to `stored` channels.

// The source pixel, in a line of `size` pixels, of position `at` in the padded, upsampled line; -1 means zero.
__device__ inline int source_of(int at, int size, int upsample, int pad, int mirror) {
  int whole = size * upsample;
  at -= pad;
  if (mirror) {
    if (at < 0) at = -at;
    if (at >= whole) at = 2 * (whole - 1) - at;
  }
  return at < 0 || at >= whole ? -1 : at / upsample;
}

__device__ inline float gated(const value* xs, const value* gate, long long at) {
  return !gate || widen(gate[at]) > 0.f ? widen(xs[at]) : 0.f;
}

// Upsamples and pads a picture. If there is a `gate`, values are replaced by 0 where it is not positive.
KERNEL gather_first(const value* xs, const value* gate, value* ys, int height, int width, int upsample, int pad, int mirror) {
  int wide = width * upsample + 2 * pad, cells = wide * (height * upsample + 2 * pad);
  int cell = blockIdx.y * THREADS + threadIdx.x;
  if (cell >= cells) return;
  int y = source_of(cell / wide, height, upsample, pad, mirror);
  int x = source_of(cell % wide, width, upsample, pad, mirror);
  long long plane = blockIdx.x;
  float result = y < 0 || x < 0 ? 0.f : gated(xs, gate, (plane * height + y) * width + x);
  ys[plane * cells + cell] = narrow(result);
}

// The same, with a channels-last result: a block transposes 32 positions of 32 channels.
KERNEL gather_last(const value* xs, const value* gate, value* ys, int channels, int stored, int height, int width, int upsample,
                   int pad, int mirror) {
  __shared__ float tile[32][33];
  int lane = threadIdx.x % 32, row = threadIdx.x / 32;
  int wide = width * upsample + 2 * pad, cells = wide * (height * upsample + 2 * pad);
  int cell = blockIdx.x * 32 + lane;
  int y = cell < cells ? source_of(cell / wide, height, upsample, pad, mirror) : -1;
  int x = cell < cells ? source_of(cell % wide, width, upsample, pad, mirror) : -1;
  for (int i = row; i < 32; i += THREADS / 32) {
    int channel = blockIdx.y * 32 + i;
    long long plane = (long long)blockIdx.z * channels + channel;
    bool inside = channel < channels && y >= 0 && x >= 0;
    tile[i][lane] = inside ? gated(xs, gate, (plane * height + y) * width + x) : 0.f;
  }
  __syncthreads();
  int channel = blockIdx.y * 32 + lane;
  for (int i = row; i < 32; i += THREADS / 32) {
    long long to = blockIdx.x * 32 + i;
    if (to < cells && channel < stored) ys[((long long)blockIdx.z * cells + to) * stored + channel] = narrow(tile[lane][i]);
  }
}

// For the adjoint of a gather: the positions in the padded line that were read from pixel `u` of the upsampled line, at most
// three.
__device__ inline int cells_of(int u, int whole, int pad, int mirror, int* cells) {
  int count = 0;
  cells[count++] = u + pad;
  if (mirror && u >= 1 && u <= pad) cells[count++] = pad - u;
  if (mirror && u <= whole - 2 && u >= whole - 1 - pad) cells[count++] = 2 * (whole - 1) - u + pad;
  return count;
}

// The sum of the padded, upsampled positions that were read from pixel (y, x), always in the same order; positions are `step`
// values apart.
__device__ inline float folded(const value* padded, int y, int x, int height, int width, int upsample, int pad, int mirror,
                               int step) {
  int tall = height * upsample, broad = width * upsample, wide = broad + 2 * pad;
  float sum = 0.f;
  for (int v = y * upsample; v < (y + 1) * upsample; ++v) {
    int rows[3], row_count = cells_of(v, tall, pad, mirror, rows);
    for (int u = x * upsample; u < (x + 1) * upsample; ++u) {
      int columns[3], column_count = cells_of(u, broad, pad, mirror, columns);
      for (int i = 0; i < row_count; ++i)
        for (int j = 0; j < column_count; ++j) sum += widen(padded[((long long)rows[i] * wide + columns[j]) * step]);
    }
  }
  return sum;
}

// The adjoint of gather_first.
KERNEL fold_first(const value* padded, value* dx, int height, int width, int upsample, int pad, int mirror) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= height * width) return;
  int cells = (width * upsample + 2 * pad) * (height * upsample + 2 * pad);
  long long plane = blockIdx.x;
  float sum = folded(padded + plane * cells, at / width, at % width, height, width, upsample, pad, mirror, 1);
  dx[plane * height * width + at] = narrow(sum);
}

// The adjoint of gather_last.
KERNEL fold_last(const value* padded, value* dx, int channels, int stored, int height, int width, int upsample, int pad,
                 int mirror) {
  __shared__ float tile[32][33];
  int lane = threadIdx.x % 32, row = threadIdx.x / 32, pixels = height * width;
  long long cells = (long long)(width * upsample + 2 * pad) * (height * upsample + 2 * pad);
  const value* picture = padded + blockIdx.z * cells * stored;
  int channel = blockIdx.y * 32 + lane;
  for (int i = row; i < 32; i += THREADS / 32) {
    int at = blockIdx.x * 32 + i;
    bool inside = at < pixels && channel < channels;
    tile[i][lane] =
        inside ? folded(picture + channel, at / width, at % width, height, width, upsample, pad, mirror, stored) : 0.f;
  }
  __syncthreads();
  int at = blockIdx.x * 32 + lane;
  for (int i = row; i < 32; i += THREADS / 32) {
    int to = blockIdx.y * 32 + i;
    if (at < pixels && to < channels) dx[((long long)blockIdx.z * channels + to) * pixels + at] = narrow(tile[lane][i]);
  }
}

// Adds the bias to a convolution's result and applies the ReLU, in place. NaN stays NaN.
KERNEL finish_first(value* ys, const float* bias, int channels, int plane, int relu) {
  int at = blockIdx.y * THREADS + threadIdx.x;
  if (at >= plane) return;
  value* cell = ys + (long long)blockIdx.x * plane + at;
  float sum = widen(*cell) + bias[blockIdx.x % channels];
  *cell = narrow(relu && sum < 0.f ? 0.f : sum);
}

// The same, from channels last to channels first.
KERNEL finish_last(const value* xs, const float* bias, value* ys, int channels, int stored, int plane, int relu) {
  __shared__ float tile[32][33];
  int lane = threadIdx.x % 32, row = threadIdx.x / 32;
  int channel = blockIdx.y * 32 + lane;
  for (int i = row; i < 32; i += THREADS / 32) {
    int at = blockIdx.x * 32 + i;
    bool inside = at < plane && channel < channels;
    float sum = inside ? widen(xs[((long long)blockIdx.z * plane + at) * stored + channel]) + bias[channel] : 0.f;
    tile[i][lane] = relu && sum < 0.f ? 0.f : sum;
  }
  __syncthreads();
  int at = blockIdx.x * 32 + lane;
  for (int i = row; i < 32; i += THREADS / 32) {
    int to = blockIdx.y * 32 + i;
    if (at < plane && to < channels) ys[((long long)blockIdx.z * channels + to) * plane + at] = narrow(tile[lane][i]);
  }
}

// Converts an f32 weight (outputs, inputs, area) to cuDNN's layout, (stored outputs, area, stored inputs) if `last`.
KERNEL pack_weight(const float* weight, value* packed, int outputs, int inputs, int area, int stored_outputs, int stored_inputs,
                   int last) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at >= stored_outputs * area * stored_inputs) return;
  int output = at / (area * stored_inputs), rest = at % (area * stored_inputs);
  int input = last ? rest % stored_inputs : rest / area, place = last ? rest / stored_inputs : rest % area;
  bool inside = output < outputs && input < inputs;
  packed[at] = narrow(inside ? weight[(output * inputs + input) * area + place] : 0.f);
}

// Converts the gradient of a packed weight back to f32 (outputs, inputs, area).
KERNEL unpack_weight(const value* packed, float* weight, int outputs, int inputs, int area, int stored_inputs, int last) {
  int at = blockIdx.x * THREADS + threadIdx.x;
  if (at >= outputs * inputs * area) return;
  int output = at / (inputs * area), input = at / area % inputs, place = at % area;
  int from = last ? (output * area + place) * stored_inputs + input : (output * stored_inputs + input) * area + place;
  weight[at] = widen(packed[from]);
}

// Partial sums, over chunks of `span` values, of a channel's gated values in all pictures: partials[channel][chunk].
KERNEL partial_channel_sums(const value* dy, const value* gate, float* partials, int batch, int channels, int plane, int span) {
  long long all = (long long)batch * plane, first = (long long)blockIdx.y * span;
  float sum = 0.f;
  for (int i = threadIdx.x; i < span; i += THREADS) {
    long long at = first + i;
    if (at < all) sum += gated(dy, gate, (at / plane * channels + blockIdx.x) * plane + at % plane);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x * gridDim.y + blockIdx.y] = sum;
}

// Adds the partial sums of each row, in order.
KERNEL add_partials(const float* partials, float* sums, int rows, int count) {
  int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
  double sum = 0.;
  for (int i = 0; i < count; ++i) sum += partials[(long long)row * count + i];
  sums[row] = (float)sum;
}
