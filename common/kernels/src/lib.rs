//! The compute kernels of Impasto: loops over slices of numbers. No tensors, no autograd, no files.
//!
//! Convolution ([`conv`], [`conv_weight`], [`winograd`]), instance normalisation ([`norm`]), pooling ([`pool`]), differences
//! ([`difference`]) and warps ([`warp`]) serve training and painting; [`rows`] serves painting alone. [`flow`] and [`ycc`] serve
//! clips. `gpu` holds their counterparts for NVIDIA GPUs, [`steps`] the program of a painting there.
//!
//! This is the only crate with `unsafe`. The order of every sum depends on the shapes alone, so any number of threads gives the
//! same bytes.
#![expect(clippy::inline_always, reason = "intrinsics must end up in the function that enables their target feature")]
#![expect(
    unsafe_code,
    reason = "vector intrinsics, outputs shared by threads that write disjoint parts, and the GPU's driver"
)]

pub mod conv;
pub mod conv_weight;
pub mod cropped;
pub mod difference;
mod dots;
pub mod flow;
pub mod geometry;
#[cfg(any(feature = "cuda", feature = "testing", test))]
pub mod gpu;
pub mod interleave;
pub mod layout;
pub mod machine;
mod multiversion;
pub mod norm;
pub mod pad;
mod peak;
pub mod pool;
#[cfg(any(feature = "testing", test))]
pub mod reference;
pub mod rows;
mod scratch;
pub mod simd;
pub mod steps;
pub mod sums;
mod tally;
mod tile;
pub mod warp;
pub mod winograd;
pub mod ycc;
