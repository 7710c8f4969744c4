//! The numbers that products are taken of.

use std::fmt;
use std::str::FromStr;

use impasto_error::{Error, Result};
use impasto_kernels::simd::Level;

/// The numbers that products are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaintPrecision {
    /// Single precision: within 1 of 255 levels of PyTorch.
    #[default]
    F32,
    /// bf16, summed in single precision, wherever that is faster; for processors that have `AVX512_BF16`, and for GPUs.
    Bf16,
    /// f16, summed in single precision; for GPUs.
    F16,
}

impl fmt::Display for PaintPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for PaintPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err("expected `f32`, `bf16` or `f16`".into()),
        }
    }
}

impl PaintPrecision {
    /// Whether this machine's processor can compute so.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn check(self) -> Result<()> {
        if self == Self::F16 {
            return Err(Error::usage("f16 is supported only on a GPU").with_hint("use `f32` or `bf16`"));
        }
        if self == Self::Bf16 && !Level::detect().has_pairs() {
            return Err(Error::usage("this processor has no bf16 instructions (AVX512_BF16)").with_hint("use `f32`"));
        }
        Ok(())
    }
}
