//! The peak performance of the machine.

use impasto_common::{Error, Result};
use impasto_kernels::machine;
use serde::Serialize;

use crate::Stylizer;

/// The peak performance of the machine, with which the networks' speed is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchMachine {
    /// The number of computing threads.
    pub threads: usize,
    /// The vector instructions in use.
    pub instructions: &'static str,
    /// The measured peak of all threads together, see [`machine::peak_flops`]; 1e9 operations a second.
    pub peak_gflops: f64,
    /// The GPU that paints, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuFigures>,
}

/// The peak performance of a GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuFigures {
    /// The name given by the driver.
    pub name: String,
    /// The measured peak of a large matrix product in the precision of the painting; 1e9 operations a second.
    pub peak_gflops: f64,
}

impl BenchMachine {
    /// Measures the machine, which takes half a second.
    #[must_use]
    pub fn measure() -> Self {
        Self {
            threads: rayon::current_num_threads(),
            instructions: machine::instructions(),
            peak_gflops: machine::peak_flops() / 1e9,
            gpu: None,
        }
    }

    /// Measures the machine, and the GPU that `stylizer` paints on, if there is one.
    ///
    /// # Errors
    ///
    /// If the GPU fails.
    pub fn of(stylizer: &Stylizer) -> Result<Self> {
        let gpu = stylizer.engine().gpu().map(|gpu| {
            let peak_gflops = gpu.peak_flops()? / 1e9;
            Ok::<_, Error>(GpuFigures { name: gpu.name().to_owned(), peak_gflops })
        });
        Ok(Self { gpu: gpu.transpose()?, ..Self::measure() })
    }

    /// The peak of the device that paints, 1e9 operations a second.
    pub(super) fn peak(&self) -> f64 {
        self.gpu.as_ref().map_or(self.peak_gflops, |gpu| gpu.peak_gflops)
    }
}
