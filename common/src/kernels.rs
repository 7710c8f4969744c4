//! The compute kernels behind [`crate::ops`]: plain slices in, plain slices out, no tensors and no autograd.
//!
//! The only folder with `unsafe`. Sums are ordered by the shapes alone: any number of threads gives the same bytes.
#![expect(clippy::inline_always, reason = "intrinsics must end up in the function that enables their target feature")]
#![expect(unsafe_code, reason = "vector intrinsics, and outputs shared by threads that write disjoint parts")]

pub(crate) mod conv;
pub(crate) mod conv_weight;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
pub(crate) mod difference;
pub(crate) mod flow;
pub(crate) mod layout;
mod multiversion;
pub(crate) mod norm;
pub(crate) mod pad;
pub(crate) mod peak;
pub(crate) mod pool;
#[cfg(test)]
pub(crate) mod reference;
pub(crate) mod rows;
mod scratch;
pub(crate) mod simd;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod steps;
pub(crate) mod sums;
mod tally;
mod tile;
pub(crate) mod warp;
pub(crate) mod winograd;
pub(crate) mod ycc;
