//! Painting on a GPU: the network becomes a program of convolutions and the steps between them, made once for each picture
//! size.
//!
//! [`lower`] maps each layer to a plain convolution, [`program`] makes the program, and [`fold`] makes its weights. Tests
//! run the program on the CPU. One thread, [`worker`], owns a GPU; other threads send it pictures.

pub(super) mod fold;
#[cfg(test)]
pub(super) mod interpret;
mod lower;
pub(super) mod program;
#[cfg(feature = "cuda")]
mod worker;

#[cfg(feature = "cuda")]
pub(super) use engine::GpuEngine;

#[cfg(feature = "cuda")]
mod engine;
#[cfg(test)]
pub(super) mod tests;
