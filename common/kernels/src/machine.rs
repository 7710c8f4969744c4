//! The instruction set that kernels use on this machine, and the measured peak rate of arithmetic.
//!
//! The peak is measured. It is the flat part of the roofline (Williams et al., 2009): memory is left out, because the
//! convolutions of these networks do a few hundred operations for each byte that they move.

use std::hint::black_box;
use std::time::Instant;

use crate::peak::{multiply_add, operations_per_round};
use crate::simd::Level;

/// Short enough that some bursts are undisturbed on a busy machine, long enough that waking the threads does not matter.
const BURST_SECONDS: f64 = 0.03;
const BURSTS: usize = 15;
const FIRST_ROUNDS: usize = 1 << 16;

/// Floating-point operations (f32) a second that all threads of the pool reach together. A multiply-add counts as two.
///
/// Every thread multiplies and adds in the registers that the kernels use, the widest of the machine. The best of several bursts
/// counts. Takes half a second. On a busy machine the figure is too low.
#[must_use]
pub fn peak_flops() -> f64 {
    let level = Level::detect();
    let mut rounds = FIRST_ROUNDS;
    let mut seconds = burst(level, rounds);
    while seconds < BURST_SECONDS / 2.0 {
        rounds *= 2;
        seconds = burst(level, rounds);
    }
    let best = (0..BURSTS).map(|_| burst(level, rounds)).fold(seconds, f64::min);
    let operations = rounds * operations_per_round(level) * rayon::current_num_threads();
    operations as f64 / best
}

/// Side of the matrices that a GPU multiplies to show its peak.
#[cfg(feature = "cuda")]
const GPU_SIDE: usize = 8192;
#[cfg(feature = "cuda")]
const GPU_BURSTS: usize = 10;
/// Products in a burst.
#[cfg(feature = "cuda")]
const GPU_PRODUCTS: usize = 4;

/// Operations a second of a large matrix product by cuBLAS on the GPU with this ordinal, of factors of type `value` summed
/// in f32. The best of several bursts counts.
///
/// # Errors
///
/// If the GPU cannot be opened, or has not enough memory for the matrices.
#[cfg(feature = "cuda")]
pub fn gpu_peak_flops(ordinal: usize, value: crate::gpu::Value) -> candle_core::Result<f64> {
    use candle_core::{DType, Device, Tensor};

    use crate::gpu::Value;

    let device = Device::new_cuda(ordinal)?;
    let dtype = match value {
        Value::F32 => DType::F32,
        Value::Bf16 => DType::BF16,
        Value::F16 => DType::F16,
    };
    let shape = (GPU_SIDE, GPU_SIDE);
    let [a, b] = [Tensor::rand(-1f32, 1f32, shape, &device)?, Tensor::rand(-1f32, 1f32, shape, &device)?];
    let (a, b) = (a.to_dtype(dtype)?, b.to_dtype(dtype)?);
    let mut best = f64::INFINITY;
    for _ in 0..=GPU_BURSTS {
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..GPU_PRODUCTS {
            black_box(a.matmul(&b)?);
        }
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64() / GPU_PRODUCTS as f64);
    }
    Ok(2.0 * (GPU_SIDE as f64).powi(3) / best)
}

/// The vector instructions that the kernels use on this machine: `AVX-512`, `AVX2`, `NEON` or `portable`.
#[must_use]
pub fn instructions() -> &'static str {
    match Level::detect() {
        Level::Portable => "portable",
        Level::Neon => "NEON",
        Level::Avx2 => "AVX2",
        Level::Avx512 => "AVX-512",
    }
}

/// Runs `rounds` rounds on all threads at the same time and returns the seconds until the last thread finishes.
fn burst(level: Level, rounds: usize) -> f64 {
    let start = Instant::now();
    rayon::broadcast(|_| black_box(multiply_add(level, rounds)));
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_plausible_for_a_processor() {
        let peak = peak_flops();
        assert!((1e8..1e16).contains(&peak), "{peak}");
    }
}
