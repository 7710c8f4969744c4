//! The compute kernels behind [`crate::ops`]: plain slices in, plain slices out, no tensors and no autograd.
//!
//! The only folder with `unsafe`. Sums are ordered by the shapes alone: any number of threads gives the same bytes.
#![expect(clippy::inline_always, reason = "intrinsics must end up in the function that enables their target feature")]
#![expect(unsafe_code, reason = "vector intrinsics, and outputs shared by threads that write disjoint parts")]

pub mod conv;
pub mod conv_weight;
pub mod cropped;
#[cfg(any(feature = "cuda", feature = "testing", test))]
pub mod cuda;
pub mod difference;
pub mod flow;
pub mod interleave;
pub mod layout;
pub mod machine;
mod multiversion;
pub mod norm;
pub mod pad;
pub mod peak;
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
