//! Kernels for NVIDIA GPUs: their sources, what starts them, and cuDNN.
//!
//! Each file of ours has a CPU twin of its name in the folder above. Everything but `gpu` and `cudnn` is written against
//! [`launch::Machine`] and tested without a GPU, against that twin, by a C++ compiler and `emulator`.
//!
//! Sums are taken in an order given by the sizes alone, and no float is added atomically: the same bytes from run to run, as far
//! as cuDNN and cuBLAS keep to it (their algorithms are chosen so).

pub(crate) mod adam;
#[cfg(feature = "cuda")]
pub(crate) mod canvas;
pub(crate) mod conv;
#[cfg(feature = "cuda")]
mod cudnn;
pub(crate) mod difference;
#[cfg(test)]
pub(crate) mod emulator;
#[cfg(feature = "cuda")]
mod gpu;
pub(crate) mod gram;
pub(crate) mod launch;
pub(crate) mod norm;
pub(crate) mod paint;
pub(crate) mod pool;
mod source;
#[cfg(test)]
mod testing;
pub(crate) mod warp;

#[cfg(feature = "cuda")]
pub(crate) use gpu::Gpu;
