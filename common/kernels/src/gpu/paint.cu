// The steps of a painting between its convolutions. steps.rs describes each step; interpret.rs does the same with plain loops.
//
// Pictures are stored channels last, with a multiple of 8 channels; a thread moves 8 channels at a time. Counts fit into 32 bits,
// because larger pictures are not painted on a GPU. Sums are f32 within a thread and a tile, and f64 over tiles, in an order that
// depends only on the size of the picture.

#define EIGHT 8
#define COLOURS 3
#define UNIT 128.f

// Values beyond the range of f16 are clamped. That is visible, but an infinity would spread over the whole painting.
__device__ inline value stored(float x) {
#if VALUE == 2
  x = x > 65504.f ? 65504.f : x < -65504.f ? -65504.f : x;
#endif
  return narrow(x);
}

__device__ inline void load_eight(const value* from, float* to) {
  for (int i = 0; i < EIGHT / PACK; ++i) {
    pack some = ((const pack*)from)[i];
    for (int j = 0; j < PACK; ++j) to[i * PACK + j] = widen(some.at[j]);
  }
}

__device__ inline void store_eight(const float* from, value* to) {
  for (int i = 0; i < EIGHT / PACK; ++i) {
    pack some;
    for (int j = 0; j < PACK; ++j) some.at[j] = stored(from[i * PACK + j]);
    ((pack*)to)[i] = some;
  }
}

// Kinds of padding: the edge repeated, the picture mirrored, or zeros.
#define REPLICATE 0
#define REFLECT 1
#define ZERO 2

__device__ inline int outside(int at, int size) { return at < 0 || at >= size; }

// The pixel shown at position `at`, which may lie outside, of a line of `size` pixels.
__device__ inline int shown(int at, int size, int padding_mode) {
  if (padding_mode == REFLECT) {
    if (at < 0) at = -at;
    if (at >= size) at = 2 * (size - 1) - at;
    return at;
  }
  return at < 0 ? 0 : at >= size ? size - 1 : at;
}

// The level of a pixel: from `bytes`, with `stride` bytes per pixel, if given, otherwise from `levels`, (3, pixels).
__device__ inline float level_of(const unsigned char* bytes, const float* levels, int stride, int pixels, int pixel, int colour) {
  return bytes ? (float)bytes[(long long)pixel * stride + colour] : levels[(long long)colour * pixels + pixel];
}

// The sum of each colour over each tile of `tile` pixels: partials[tile][colour].
KERNEL survey(const unsigned char* bytes, const float* levels, float* partials, int pixels, int stride, int tile) {
  int first = blockIdx.x * tile, end = smaller(first + tile, pixels);
  for (int colour = 0; colour < COLOURS; ++colour) {
    float sum = 0.f;
    for (int pixel = first + threadIdx.x; pixel < end; pixel += THREADS)
      sum += level_of(bytes, levels, stride, pixels, pixel, colour);
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[COLOURS * blockIdx.x + colour] = sum;
  }
}

// The mean of each colour, rounded to a whole level. One block per colour.
KERNEL merge_survey(const float* partials, float* centre, int tiles, int pixels) {
  __shared__ double cells[THREADS];
  double sum = 0.;
  for (int i = threadIdx.x; i < tiles; i += THREADS) sum += partials[COLOURS * i + blockIdx.x];
  cells[threadIdx.x] = sum;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) cells[threadIdx.x] += cells[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) centre[blockIdx.x] = (float)floor(cells[0] / pixels + 0.5);
}

// Writes `side` x `side` shifted copies of the frame, stacked as channels. With zero padding, pixels outside the frame have the
// levels `red`, `green` and `blue`.
KERNEL expand(const unsigned char* bytes, const float* levels, const float* centre, value* to, int height, int width,
              int stride, int rows, int columns, int channels, int side, int lead, int padding_mode, float red, float green,
              float blue) {
  int groups = channels / EIGHT;
  unsigned index = blockIdx.x * (unsigned)THREADS + threadIdx.x;
  if (index >= (unsigned)rows * columns * groups) return;
  int group = index % groups, pixel = index / groups;
  int y = pixel / columns, x = pixel % columns;
  float values[EIGHT];
  for (int i = 0; i < EIGHT; ++i) {
    int channel = group * EIGHT + i, shift = channel / COLOURS, colour = channel % COLOURS;
    values[i] = 0.f;
    if (shift >= side * side) continue;
    int row = y + 3 * (shift / side) - lead, column = x + 3 * (shift % side) - lead;
    float level;
    if (padding_mode == ZERO && (outside(row, height) || outside(column, width))) {
      level = colour == 0 ? red : colour == 1 ? green : blue;
    } else {
      row = shown(row, height, padding_mode), column = shown(column, width, padding_mode);
      level = level_of(bytes, levels, stride, height * width, row * width + column, colour);
    }
    values[i] = (level - centre[colour]) / UNIT;
  }
  store_eight(values, to + (long long)index * EIGHT);
}

// Adds the moments `other` to `own` (Chan et al., 1979): count, mean, squared distances.
template <class number>
__device__ inline void merge(number* own, const number* other) {
  number count = own[0] + other[0];
  if (other[0] == 0) return;
  number delta = other[1] - own[1], share = other[0] / count;
  own[2] += other[2] + delta * delta * own[0] * share;
  own[1] += delta * share;
  own[0] = count;
}

// The moments of each channel over each tile of `tile` pixels: partials[tile][channel]. With two phases, a pixel has four results;
// those outside `rows` and `columns` do not count.
KERNEL measure(const value* from, float* partials, int height, int width, int channels, int phases, int skip, int rows,
               int columns, int tile) {
  __shared__ float cells[THREADS][3];
  int groups = channels / EIGHT, lanes = THREADS / groups;
  int group = threadIdx.x % groups, lane = threadIdx.x / groups;
  int first = blockIdx.x * tile, end = smaller(first + tile, height * width);
  int phase = group * EIGHT / (channels / (phases * phases)), row_phase = phase / 2, column_phase = phase % 2;
  float pivot[EIGHT], sum[EIGHT], squares[EIGHT], values[EIGHT];
  for (int i = 0; i < EIGHT; ++i) pivot[i] = sum[i] = squares[i] = 0.f;
  float count = 0.f;
  for (int pixel = first + lane; lane < lanes && pixel < end; pixel += lanes) {
    if (phases == 2) {
      int y = 2 * (pixel / width) - skip + row_phase, x = 2 * (pixel % width) - skip + column_phase;
      if (outside(y, rows) || outside(x, columns)) continue;
    }
    load_eight(from + (long long)pixel * channels + group * EIGHT, values);
    for (int i = 0; i < EIGHT; ++i) {
      // Distances from one of the values: this avoids cancellation.
      if (count == 0.f) pivot[i] = values[i];
      float distance = values[i] - pivot[i];
      sum[i] += distance;
      squares[i] += distance * distance;
    }
    count += 1.f;
  }
  for (int i = 0; i < EIGHT; ++i) {
    float shift = count > 0.f ? sum[i] / count : 0.f, left = squares[i] - sum[i] * shift;
    __syncthreads();
    cells[threadIdx.x][0] = count;
    cells[threadIdx.x][1] = pivot[i] + shift;
    cells[threadIdx.x][2] = left > 0.f ? left : 0.f;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
      if (lane < half && lane + half < lanes) merge(cells[threadIdx.x], cells[threadIdx.x + half * groups]);
      __syncthreads();
    }
    if (lane == 0) {
      float* to = partials + 3 * ((long long)blockIdx.x * channels + group * EIGHT + i);
      for (int j = 0; j < 3; ++j) to[j] = cells[threadIdx.x][j];
    }
  }
}

// Computes the normalisation of each channel, one block per channel: normals[channel] = (mean, factor, bias).
//
// `constants` has, for each channel, the weight, the bias, the unit and the sums of each colour's weights. `centre` has the means
// of the colours; `red`, `green` and `blue` are the levels that correspond to the network's 0. `control[0]` is the weight of the
// earlier frames. `before` and `after` have the mean and variance of each channel in the network's own units; the first `from`
// channels belong to other layers.
KERNEL merge_tiles(const float* partials, const float* constants, const float* centre, const double* control, const double* before, double* after,
                   float* normals, int tiles, int channels, int phases, int from, float red, float green, float blue,
                   float epsilon) {
  __shared__ double cells[THREADS][3];
  int channel = blockIdx.x, count = phases * phases;
  double own[3] = {0., 0., 0.};
  for (int i = threadIdx.x; i < tiles * count; i += THREADS) {
    const float* moments = partials + 3 * ((long long)(i / count) * count * channels + (i % count) * channels + channel);
    double other[3] = {moments[0], moments[1], moments[2]};
    merge(own, other);
  }
  for (int j = 0; j < 3; ++j) cells[threadIdx.x][j] = own[j];
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) merge(cells[threadIdx.x], cells[threadIdx.x + half]);
    __syncthreads();
  }
  if (threadIdx.x > 0) return;
  const float* constant = constants + 6 * channel;
  double unit = constant[2], offset = 0., keep = control[0];
  float zero[COLOURS] = {red, green, blue};
  for (int colour = 0; colour < COLOURS; ++colour)
    offset += (double)constant[3 + colour] * ((double)centre[colour] - zero[colour]);
  double mean = unit * cells[0][1] + offset, variance = unit * unit * (cells[0][2] / cells[0][0]);
  const double* kept = before + 2 * (from + channel);
  // Without earlier frames, `before` is not read.
  if (keep > 0.) {
    mean += keep * (kept[0] - mean);
    variance += keep * (kept[1] - variance);
  }
  after[2 * (from + channel)] = mean;
  after[2 * (from + channel) + 1] = variance;
  normals[3 * channel] = (float)((mean - offset) / unit);
  normals[3 * channel + 1] = (float)(constant[0] / sqrt((variance + epsilon) / (unit * unit)));
  normals[3 * channel + 2] = constant[1];
}

// Pixels per thread of `apply`, which reads the normals of its channels only once.
#define PIXELS 4

// Normalises the results, adds `residual`, applies the ReLU, and adds padding. `channels` is the number of channels of the picture
// written; `height` and `width` are its size without padding. `columns` is the length of a row of the results, and `pitch` that of
// a row of `residual`, whose first pixel without padding is `lead` rows and columns in.
KERNEL apply(const value* from, const value* residual, const float* normals, value* to, int height, int width, int columns,
             int channels, int phases, int skip, int to_height, int to_width, int pad, int padding_mode, int pitch, int lead,
             int relu) {
  int groups = channels / EIGHT, lanes = THREADS / groups;
  int group = threadIdx.x % groups, lane = threadIdx.x / groups;
  if (lane >= lanes) return;
  float mean[EIGHT], factor[EIGHT], bias[EIGHT], values[EIGHT], other[EIGHT];
  for (int i = 0; i < EIGHT; ++i) {
    const float* normal = normals + 3 * (group * EIGHT + i);
    mean[i] = normal[0];
    factor[i] = normal[1];
    bias[i] = normal[2];
  }
  for (int i = 0; i < PIXELS; ++i) {
    unsigned pixel = (blockIdx.x * (unsigned)PIXELS + i) * lanes + lane;
    if (pixel >= (unsigned)to_height * to_width) return;
    int y = (int)(pixel / to_width) - pad, x = (int)(pixel % to_width) - pad;
    if (padding_mode == ZERO && (outside(y, height) || outside(x, width))) {
      for (int j = 0; j < EIGHT; ++j) values[j] = 0.f;
      store_eight(values, to + (long long)pixel * channels + group * EIGHT);
      continue;
    }
    y = shown(y, height, padding_mode), x = shown(x, width, padding_mode);
    long long at = phases == 2 ? (((long long)((y + skip) / 2) * columns + (x + skip) / 2) * 4 + 2 * ((y + skip) % 2) +
                                  (x + skip) % 2) *
                                     channels
                               : ((long long)y * columns + x) * channels;
    load_eight(from + at + group * EIGHT, values);
    for (int j = 0; j < EIGHT; ++j) values[j] = (values[j] - mean[j]) * factor[j] + bias[j];
    if (residual) {
      load_eight(residual + ((long long)(y + lead) * pitch + x + lead) * channels + group * EIGHT, other);
      for (int j = 0; j < EIGHT; ++j) values[j] += other[j];
    }
    for (int j = 0; j < EIGHT; ++j)
      if (relu && values[j] < 0.f) values[j] = 0.f;
    store_eight(values, to + (long long)pixel * channels + group * EIGHT);
  }
}

__device__ inline float luma(const float* levels) { return 0.299f * levels[0] + 0.587f * levels[1] + 0.114f * levels[2]; }

__device__ inline float cut(float level) { return level < 0.f ? 0.f : level > 255.f ? 255.f : level; }

// Combines the painting's luma with the photo's colours, as blend.rs of infer does and explains.
__device__ inline void keep_colours(float* painted, const float* photo) {
  float cut_levels[COLOURS];
  for (int i = 0; i < COLOURS; ++i) cut_levels[i] = cut(painted[i]);
  float target = luma(cut_levels), saturation = 1.f, own = luma(photo);
  for (int i = 0; i < COLOURS; ++i) {
    float chroma = photo[i] - own, room = chroma > 0.f ? 255.f - target : target;
    saturation = fminf(saturation, room / fabsf(chroma));
  }
  for (int i = 0; i < COLOURS; ++i) painted[i] = target + saturation * (photo[i] - own);
}

// Adds up the painting from its summands. `join` has the factors of the summands and the bias of each colour, then the scale of the
// hyperbolic tangent (0 for none), then the factor and the offset of each colour that map the result to levels. The painting is
// written either as `levels`, (3, height, width), or as `bytes` blended with the frame: control[1] is the strength, and control[2]
// is not 0 if the frame's colours are kept.
KERNEL join(const value* summands, const float* join, const double* control, const unsigned char* frame, float* levels,
            unsigned char* bytes, int height, int width, int stride, int columns, int channels, int side) {
  unsigned pixel = blockIdx.x * (unsigned)THREADS + threadIdx.x;
  if (pixel >= (unsigned)height * width) return;
  int y = pixel / width, x = pixel % width;
  float painted[COLOURS];
  for (int colour = 0; colour < COLOURS; ++colour) painted[colour] = join[channels + colour];
  for (int shift = 0; shift < side * side; ++shift) {
    const value* summand =
        summands + ((long long)(y + 3 * (shift / side)) * columns + x + 3 * (shift % side)) * channels + COLOURS * shift;
    for (int colour = 0; colour < COLOURS; ++colour) painted[colour] += join[COLOURS * shift + colour] * widen(summand[colour]);
  }
  const float* map = join + channels + COLOURS;
  for (int colour = 0; colour < COLOURS; ++colour) {
    float level = map[0] > 0.f ? map[0] * tanhf(painted[colour]) : painted[colour];
    painted[colour] = map[1 + 2 * colour] * level + map[2 + 2 * colour];
  }
  if (levels) {
    for (int colour = 0; colour < COLOURS; ++colour) levels[((long long)colour * height + y) * width + x] = painted[colour];
    return;
  }
  float photo[COLOURS], strength = (float)control[1];
  const unsigned char* under = frame + (long long)pixel * stride;
  unsigned char* to = bytes + (long long)pixel * stride;
  for (int colour = 0; colour < COLOURS; ++colour) photo[colour] = under[colour];
  if (control[2] != 0.) keep_colours(painted, photo);
  for (int colour = 0; colour < COLOURS; ++colour) {
    float level = painted[colour];
    if (strength < 1.f) level = photo[colour] + strength * (cut(level) - photo[colour]);
    // Rounded to the nearest level; NaN becomes black, as on the CPU.
    to[colour] = level == level ? (unsigned char)cut(level + 0.5f) : 0;
  }
  if (stride == 4) to[3] = under[3];
}
