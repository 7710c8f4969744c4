// A GPU emulator for tests. It compiles CUDA C as C++ and runs blocks one after the other; the threads of a block are fibers that
// switch at each barrier.
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static  // One block runs at a time.

struct dim3 {
  unsigned x, y, z;
};
static dim3 blockIdx, threadIdx, blockDim, gridDim;

namespace emulator {
constexpr size_t STACK = 1 << 16;
enum State { READY, WAITING, DONE };
static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;
static std::vector<char> stacks;
static std::vector<State> states;
static void (*body)(void*);
static void* argument;
static unsigned current;

static void enter() {
  body(argument);
  states[current] = DONE;
}

// Runs all threads of a block. Returns false if a thread waits at a barrier that another thread never reaches.
static bool block(unsigned threads) {
  fibers.resize(threads);
  stacks.resize(threads * STACK);
  states.assign(threads, READY);
  for (unsigned i = 0; i < threads; ++i) {
    getcontext(&fibers[i]);
    fibers[i].uc_stack.ss_sp = &stacks[i * STACK];
    fibers[i].uc_stack.ss_size = STACK;
    fibers[i].uc_link = &scheduler;
    makecontext(&fibers[i], enter, 0);
  }
  for (unsigned done = 0; done < threads;) {
    for (current = 0; current < threads; ++current) {
      threadIdx = {current, 0, 0};
      swapcontext(&scheduler, &fibers[current]);
      done += states[current] == DONE;
    }
    if (done != 0 && done != threads) return false;
  }
  return true;
}

template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<A*>(arguments[I])...);
}

// Returns 0, or 1 if the threads of a block did not all reach the same barriers.
template <class... A>
static int run(void (*kernel)(A...), const unsigned* grid, unsigned threads, void** arguments) {
  struct Call {
    void (*kernel)(A...);
    void** arguments;
  } each = {kernel, arguments};
  argument = &each;
  body = [](void* raw) {
    Call* each = static_cast<Call*>(raw);
    call(each->kernel, each->arguments, std::index_sequence_for<A...>());
  };
  blockDim = {threads, 1, 1};
  gridDim = {grid[0], grid[1], grid[2]};
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        blockIdx = {x, y, z};
        if (!block(threads)) return 1;
      }
  return 0;
}
}  // namespace emulator

static void __syncthreads() {
  emulator::states[emulator::current] = emulator::WAITING;
  swapcontext(&emulator::fibers[emulator::current], &emulator::scheduler);
}

// Warp shuffles, for kernels in which all threads take part.
template <class T>
static T exchange(T x, unsigned from) {
  static T cells[1024];
  cells[threadIdx.x] = x;
  __syncthreads();
  T y = cells[from];
  __syncthreads();
  return y;
}
template <class T>
static T __shfl_xor_sync(unsigned, T x, int mask) { return exchange(x, threadIdx.x ^ mask); }
template <class T>
static T __shfl_down_sync(unsigned, T x, unsigned by) {
  return exchange(x, threadIdx.x % 32 + by < 32 ? threadIdx.x + by : threadIdx.x);
}

static unsigned long long atomicAdd(unsigned long long* to, unsigned long long x) {
  unsigned long long before = *to;
  *to += x;
  return before;
}

static float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
static unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  return bits;
}

// f16 is converted by hand, because older C++ compilers have no type for it.
static float half_to_float(unsigned short half) {
  unsigned exponent = (half >> 10) & 31, fraction = half & 1023;
  float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                    : exponent     ? ldexpf(1024 + fraction, (int)exponent - 25)
                                   : ldexpf(fraction, -24);
  return half >> 15 ? -magnitude : magnitude;
}
static unsigned short float_to_half(float x) {
  unsigned short sign = __float_as_uint(x) >> 31 << 15;
  if (x != x) return 0x7fff;
  if (x == 0.f) return sign;
  x = fabsf(x);
  if (x >= 65520.f) return sign | 0x7c00;
  int exponent = 0;
  frexpf(x, &exponent);
  int shift = exponent - 11 < -24 ? -24 : exponent - 11;  // The weight of the last bit; subnormals end at 2^-24.
  unsigned steps = (unsigned)nearbyintf(ldexpf(x, -shift));
  return sign | (unsigned short)(((shift + 24) << 10) + steps);
}
