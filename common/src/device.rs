//! Which device the tensors live on, and how many threads the CPU kernels use.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::{Error, Result, ResultExt};

/// What the user asked for with `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A CUDA device if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this ordinal.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", ordinal)) => {
                ordinal.parse().map(Self::Cuda).map_err(|_| format!("`{ordinal}` is not a device number; try `cuda:0`"))
            }
            _ => Err("expected `auto`, `cpu`, `cuda` or `cuda:N`".into()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// If a CUDA device was asked for by name and this build or this machine has none.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(Device::cuda_if_available(0).unwrap_or(Device::Cpu)),
            Self::Cuda(ordinal) => Device::new_cuda(ordinal)
                .context(|| format!("cannot open `--device cuda:{ordinal}`"))
                .map_err(|error| error.with_hint("use `--device cpu`, or a build with CUDA on a machine that has it")),
        }
    }
}

/// Sets the number of CPU threads of every kernel, candle's own included. `0` keeps one per core.
///
/// Call it once, before the first tensor is made.
///
/// # Errors
///
/// If the thread pool exists already.
pub fn set_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| Error::new(format!("cannot start {threads} threads")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_parses_back_from_its_name() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }
}
