// Included before every kernel: the type of a value, wide loads, sums over a block.
//
// Compiled by NVRTC, which has no host headers, and in tests by a C++ compiler (emulator.hpp). VALUE selects the type of `value`:
// 0 is f32, 1 is bf16, 2 is f16. All arithmetic is f32.

#define THREADS 256
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

#if VALUE == 0

typedef float value;
__device__ inline float widen(value x) { return x; }
__device__ inline value narrow(float x) { return x; }

#else

struct value {
  unsigned short bits;
};

#if VALUE == 1

__device__ inline float widen(value x) { return __uint_as_float((unsigned)x.bits << 16); }

// Rounds to nearest, ties to even. NaN stays NaN.
__device__ inline value narrow(float x) {
  unsigned bits = __float_as_uint(x);
  value y;
  y.bits = x != x ? 0x7fff : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  return y;
}

#else

#ifdef __CUDA_ARCH__
__device__ inline float widen(value x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ inline value narrow(float x) {
  value y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
#else
__device__ inline float widen(value x) { return half_to_float(x.bits); }
__device__ inline value narrow(float x) {
  value y;
  y.bits = float_to_half(x);
  return y;
}
#endif

#endif
#endif

// 16 bytes of values, which are loaded or stored at once.
#define PACK ((int)(16 / sizeof(value)))
struct __align__(16) pack {
  value at[16 / sizeof(value)];
};

// The sum over the block, always in the same order. Every thread gets it.
__device__ inline float block_sum(float x) {
  __shared__ float cells[THREADS];
  __syncthreads();
  cells[threadIdx.x] = x;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) cells[threadIdx.x] += cells[threadIdx.x + half];
    __syncthreads();
  }
  return cells[0];
}

// The larger number. NaN counts as larger than every number.
__device__ inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// The largest number of the block. Every thread gets it.
__device__ inline float block_largest(float x) {
  __shared__ float cells[THREADS];
  __syncthreads();
  cells[threadIdx.x] = x;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) cells[threadIdx.x] = larger(cells[threadIdx.x], cells[threadIdx.x + half]);
    __syncthreads();
  }
  return cells[0];
}

__device__ inline int smaller(int a, int b) { return a < b ? a : b; }
