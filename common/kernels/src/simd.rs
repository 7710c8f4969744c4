//! One small trait over the machine's vector registers, and the choice of the instruction set.
//!
//! An algorithm is written once, generic over `Simd`, and instantiated in functions that enable the registers' target
//! feature. Everything in between is `#[inline(always)]`, so that the intrinsics end up in such a function. The trait is here
//! and its implementations are in the modules below, which is why they use each other.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// A set of vector instructions, chosen at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Arrays of four, left to the compiler, on any machine.
    Portable,
    /// NEON, which every 64-bit Arm processor for applications has: 32 registers of 4.
    Neon,
    /// AVX2 and FMA: 16 registers of 8.
    Avx2,
    /// AVX-512F, VL and DQ: 32 registers of 16. (Without VL, narrower instructions reach only the lower 16 registers,
    /// and the compiler keeps sums that end in one there.)
    Avx512,
}

impl Level {
    /// The widest that this machine has.
    #[must_use]
    pub fn detect() -> Self {
        Self::Avx512.or_narrower()
    }

    /// Every one that this machine has, for tests.
    #[must_use]
    #[cfg(any(feature = "testing", test))]
    pub fn all() -> Vec<Self> {
        [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(|level| level.or_narrower() == *level)
            .collect()
    }

    /// Asserts that the machine has this level. Without it, its instructions must not run.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub(crate) fn assert_available(self) {
        assert!(self.or_narrower() == self, "this machine has no {self:?} instructions");
    }

    /// Floats in a register.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable | Self::Neon => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// Whether there are 32 registers rather than 16.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Neon | Self::Avx512)
    }

    /// Whether the machine multiplies pairs of bf16 at this level: `AVX512_BF16`.
    #[must_use]
    pub fn has_pairs(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Self::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// The widest level up to this one that the machine has.
    #[cfg(target_arch = "x86_64")]
    fn or_narrower(self) -> Self {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if self == Self::Avx512 && wide {
            Self::Avx512
        } else if self >= Self::Avx2 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn or_narrower(self) -> Self {
        let neon = self >= Self::Neon && std::arch::is_aarch64_feature_detected!("neon");
        if neon { Self::Neon } else { Self::Portable }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn or_narrower(self) -> Self {
        Self::Portable
    }
}

/// A vector register of f32 and its operations.
///
/// # Safety
///
/// The caller of any function has enabled the instruction set of the implementor. `load` needs a pointer to [`Self::LANES`]
/// readable floats, `store` to as many writable ones, `store_part` to `len` writable ones; none needs alignment. `len` is at most
/// [`Self::LANES`].
pub(crate) trait Simd {
    /// The register.
    type V: Copy;
    /// Floats in it.
    const LANES: usize;
    /// Whether there are 32 registers rather than 16.
    const WIDE: bool;

    /// All `value`.
    unsafe fn splat(value: f32) -> Self::V;
    /// [`Self::LANES`] floats from `from`, unaligned.
    unsafe fn load(from: *const f32) -> Self::V;
    /// [`Self::LANES`] floats to `to`, unaligned.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// The first `len` floats to `to`.
    unsafe fn store_part(to: *mut f32, v: Self::V, len: usize);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The first `len` lanes, then zeros.
    unsafe fn keep_first(v: Self::V, len: usize) -> Self::V;
    /// The first lane.
    unsafe fn first(v: Self::V) -> f32;
    /// The sum of the register.
    unsafe fn sum(v: Self::V) -> f32;
}

/// See [`Level::Portable`].
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for four floats, by the trait's contract; alignment is not needed.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for four floats, by the trait's contract; alignment is not needed.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, v: Self::V, len: usize) {
        for (i, value) in v.into_iter().enumerate().take(len) {
            // SAFETY: the caller vouches for `len` floats, by the trait's contract.
            unsafe { to.add(i).write(value) }
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // `f32::mul_add` is a call into the C library where the machine may have no fused instruction.
        let one = |i: usize| a[i] * b[i] + c[i];
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        let one = |i: usize| if a[i] > b[i] { a[i] } else { b[i] };
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn keep_first(v: Self::V, len: usize) -> Self::V {
        let one = |i: usize| if i < len { v[i] } else { 0.0 };
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn first(v: Self::V) -> f32 {
        v[0]
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        (v[0] + v[2]) + (v[1] + v[3])
    }
}
