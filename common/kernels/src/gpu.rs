//! Kernels for NVIDIA GPUs: their sources, the code that launches them, and cuDNN.
//!
//! Each `.cu` file of ours has a CPU twin of the same name in the folder above. Everything but `driver`, `cudnn`, `canvas`
//! and `open` is written against [`GpuMachine`](machine::GpuMachine). Tests run that code without a GPU: a C++ compiler
//! builds the kernels, `emulator` runs them, and their results are compared with the twins'.
//!
//! The order of every sum depends on the sizes alone, and no float is added atomically. Results are therefore the same bytes
//! from run to run. cuDNN's algorithms are chosen to be deterministic too; cuBLAS is as long as the GPU and its version stay
//! the same.

pub mod adam;
#[cfg(any(feature = "cuda", test))]
mod algorithm;
#[cfg(feature = "cuda")]
pub mod canvas;
pub mod conv;
#[cfg(feature = "cuda")]
mod cudnn;
pub mod difference;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(any(feature = "testing", test))]
pub mod emulator;
pub mod gram;
pub mod launch;
pub mod machine;
pub mod norm;
pub mod paint;
pub mod pool;
mod source;
#[cfg(test)]
mod testing;
#[cfg(feature = "cuda")]
mod tf32;
mod value;
pub mod warp;

#[cfg(feature = "cuda")]
mod open;

#[cfg(feature = "cuda")]
pub use driver::{Gpu, GpuMemory};
#[cfg(feature = "cuda")]
pub use open::open;
pub use source::KernelSource;
#[cfg(feature = "cuda")]
pub use tf32::allow_tf32;
pub use value::Value;
