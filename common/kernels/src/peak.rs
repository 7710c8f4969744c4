//! A loop of only multiply-adds: the rate that a kernel would reach if it never waited for memory.

#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Portable, Simd};

/// Number of independent sums. Two units of four cycles' latency (Intel since Skylake, AMD since Zen 2) need 8 to be busy;
/// 12 are enough for slower ones too, and with two operands and a temporary they still fit 16 registers.
const SUMS: usize = 12;

/// The same for NEON: large Arm cores have four units of four cycles, and there are 32 registers.
const NEON_SUMS: usize = 24;

/// Multiplies and adds in registers, `rounds` times over. The returned sum only keeps the optimiser from dropping the loop.
///
/// # Panics
///
/// If the machine lacks `level`.
pub(crate) fn multiply_add(level: Level, rounds: usize) -> f32 {
    level.assert_available();
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has AVX2 and FMA, as asserted above.
        Level::Avx2 => unsafe { run_avx2(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has AVX-512F, VL and DQ, as asserted above.
        Level::Avx512 => unsafe { run_avx512(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the machine has NEON, as asserted above.
        Level::Neon => unsafe { run_neon(rounds) },
        // SAFETY: the portable registers need no instruction set.
        _ => unsafe { run::<Portable, SUMS>(rounds) },
    }
}

/// Floating-point operations in a round of [`multiply_add`]; a multiply-add counts as two.
pub(crate) fn operations_per_round(level: Level) -> usize {
    2 * sums(level) * level.lanes()
}

fn sums(level: Level) -> usize {
    if level == Level::Neon { NEON_SUMS } else { SUMS }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn run_neon(rounds: usize) -> f32 {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { run::<Neon, NEON_SUMS>(rounds) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(rounds: usize) -> f32 {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { run::<Avx2, SUMS>(rounds) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
unsafe fn run_avx512(rounds: usize) -> f32 {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { run::<Avx512, SUMS>(rounds) }
}

/// Each sum goes to `sum / 2 + 1`, which tends to 2: no overflow and no denormal number, which would be slow.
#[inline(always)]
unsafe fn run<S: Simd, const SUMS: usize>(rounds: usize) -> f32 {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let (half, one) = (S::splat(std::hint::black_box(0.5)), S::splat(std::hint::black_box(1.0)));
        // Equal sums would be computed once.
        let mut sums: [S::V; SUMS] = std::array::from_fn(|i| S::splat(i as f32));
        for _ in 0..rounds {
            for sum in &mut sums {
                // The product contains the sum: a product of constants would be hoisted out of the loop.
                *sum = S::mul_add(*sum, half, one);
            }
        }
        sums.into_iter().map(|sum| S::sum(sum)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same without registers.
    fn scalar(level: Level, rounds: usize) -> f32 {
        let lanes = level.lanes();
        let sums = (0..sums(level)).map(|i| (0..rounds).fold(i as f32, |sum, _| sum * 0.5 + 1.0));
        sums.map(|sum| sum * lanes as f32).sum()
    }

    #[test]
    fn every_instruction_set_does_the_work_of_the_scalar_loop() {
        for level in Level::all() {
            for rounds in [0, 1, 2, 5, 100] {
                let (found, expected) = (multiply_add(level, rounds), scalar(level, rounds));
                assert!((found - expected).abs() <= 1e-4 * expected, "{level:?}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_multiply_add_counts_as_two_operations() {
        assert_eq!(operations_per_round(Level::Portable), 2 * 12 * 4);
        assert_eq!(operations_per_round(Level::Avx512), 2 * 12 * 16);
        assert_eq!(operations_per_round(Level::Neon), 2 * 24 * 4);
    }
}
