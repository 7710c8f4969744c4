// Adam (Kingma and Ba, 2015) and the norm of the gradient, for all parameters of a network in one launch.
//
// Each block updates one row of the table: up to some thousand values of one parameter.

struct row {
  float* weight;
  const float* gradient;
  float* first;
  float* second;
  unsigned long long count;
};

KERNEL gradient_squares(const row* rows, float* partials) {
  row own = rows[blockIdx.x];
  float sum = 0.f;
  for (int i = threadIdx.x; i < (int)own.count; i += THREADS) sum += own.gradient[i] * own.gradient[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

KERNEL adam(const row* rows, float fresh1, float beta2, float fresh2, float epsilon, float gradient_scale, float step_size,
            float root_correction) {
  row own = rows[blockIdx.x];
  for (int i = threadIdx.x; i < (int)own.count; i += THREADS) {
    float gradient = own.gradient[i] * gradient_scale;
    float first = own.first[i] + fresh1 * (gradient - own.first[i]);
    float second = own.second[i] * beta2 + fresh2 * (gradient * gradient);
    own.first[i] = first;
    own.second[i] = second;
    own.weight[i] -= step_size * (first / (sqrtf(second) / root_correction + epsilon));
  }
}
