//! Kernels for NVIDIA GPUs: their sources, what starts them, and cuDNN.
//!
//! Each file of ours has a CPU twin of its name in the folder above. Everything but `gpu` and `cudnn` is written against
//! [`launch::Machine`] and tested without a GPU, against that twin, by a C++ compiler and `emulator`.
//!
//! Sums are taken in an order given by the sizes alone, and no float is added atomically: the same bytes from run to run, as far
//! as cuDNN and cuBLAS keep to it (their algorithms are chosen so).

pub mod adam;
#[cfg(feature = "cuda")]
pub mod canvas;
pub mod conv;
#[cfg(feature = "cuda")]
mod cudnn;
pub mod difference;
#[cfg(any(feature = "testing", test))]
pub mod emulator;
#[cfg(feature = "cuda")]
mod gpu;
pub mod gram;
pub mod launch;
pub mod norm;
pub mod paint;
pub mod pool;
mod source;
#[cfg(test)]
mod testing;
pub mod warp;

#[cfg(feature = "cuda")]
mod open;

#[cfg(feature = "cuda")]
pub use gpu::Gpu;
#[cfg(feature = "cuda")]
pub use open::open;
