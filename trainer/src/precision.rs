//! The arithmetic precision of a training (mixed precision: Micikevicius et al., 2018).
//!
//! With every precision, weights, their moments, statistics, Gram sums, gradients of weights and losses are f32. bf16 has the
//! exponent range of f32, so no loss scaling is needed. A painting is f32 between network and objective, because total
//! variation and content depend on differences of levels, which bf16 would round to whole levels.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};
use impasto_common::{Error, Result};
use impasto_nn::StyleNet;
use serde::{Deserialize, Serialize};

/// The number type of activations and of the factors in convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainPrecision {
    /// f32 throughout.
    #[default]
    F32,
    /// f32, with the factors of products rounded to a 10-bit fraction.
    Tf32,
    /// bf16 activations and factors: a 7-bit fraction.
    Bf16,
}

impl TrainPrecision {
    /// All precisions.
    pub const ALL: [Self; 3] = [Self::F32, Self::Tf32, Self::Bf16];

    /// The default precision of a device: bf16 if the device supports it, otherwise f32.
    #[must_use]
    pub fn of_device(device: &Device) -> Self {
        if impasto_nn::device::has_bf16(device) { Self::Bf16 } else { Self::F32 }
    }

    /// The type of activations.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Whether this is f32, which the model card does not mention.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Sets the device to this precision, in this process.
    ///
    /// # Errors
    ///
    /// If the device does not support it.
    pub fn prepare(self, device: &Device) -> Result<()> {
        if self != Self::F32 && device.is_cpu() {
            return Err(Error::usage(format!("`--precision {self}` needs a GPU; the CPU trains in f32"))
                .with_hint("remove `--precision`, or train on a GPU with `--device cuda`"));
        }
        if self == Self::Bf16 && !impasto_nn::device::has_bf16(device) {
            return Err(Error::usage("`--precision bf16` is not supported by this GPU")
                .with_hint("use `--precision f32`; bf16 needs an Ampere GPU or a later one"));
        }
        impasto_nn::device::allow_tf32(self == Self::Tf32);
        Ok(())
    }

    /// Paints f32 photos to f32 paintings, in this precision.
    ///
    /// # Errors
    ///
    /// If the network cannot paint the photos.
    pub fn paint(self, network: &StyleNet, photos: &Tensor) -> Result<Tensor> {
        Ok(network.forward(&photos.to_dtype(self.dtype())?)?.to_dtype(DType::F32)?)
    }
}

impl fmt::Display for TrainPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for TrainPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.to_string() == text);
        found.ok_or_else(|| "expected `f32`, `tf32` or `bf16`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_trains_in_f32_and_says_so() {
        assert_eq!(TrainPrecision::of_device(&Device::Cpu), TrainPrecision::F32);
        TrainPrecision::F32.prepare(&Device::Cpu).unwrap();
        for precision in [TrainPrecision::Tf32, TrainPrecision::Bf16] {
            let error = precision.prepare(&Device::Cpu).unwrap_err();
            assert_eq!(error.to_string(), format!("`--precision {precision}` needs a GPU; the CPU trains in f32"));
            assert_eq!(error.exit_code(), 2);
            assert!(error.hint().is_some_and(|hint| hint.contains("remove `--precision`")));
        }
    }

    #[test]
    fn names_are_read_back() {
        for precision in TrainPrecision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("f64".parse::<TrainPrecision>().is_err());
    }
}
