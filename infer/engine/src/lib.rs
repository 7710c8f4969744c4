//! The inference engine: paints pictures of any size with a [`Network`](impasto_common::network::Network), on the CPU, within
//! a bound on memory; [`AnyEngine`] paints on a GPU where there is one.
//!
//! Weights are packed once. Pictures lie in memory row by row, all channels of a row together, so that a band of rows is
//! one slice. A convolution reads its input unnormalized and normalizes it on the way into the registers, and takes the
//! moments of its result on the way out; so no result is read or written only to be normalized, except those that the
//! residual blocks add up.
//!
//! The statistics of an instance normalization are the network's only global coupling. The engine therefore makes one pass
//! for every normalization. What a pass reads is kept from the pass before, in memory or in a file, or computed again row by
//! row if there is no room: the painting does not depend on the choice, beyond the rounding of the statistics.
//!
//! Every layer is computed by a kernel that is chosen by what the layer is, see `schedule`: the trainer's networks get
//! specialized kernels throughout, other networks of the family general ones where there is no specialized one.

#![forbid(unsafe_code)]

mod any;
mod chain;
mod convolution;
mod engine;
#[cfg(any(feature = "cuda", test))]
mod gpu;
mod gpu_painter;
mod layer;
mod memory;
mod painting;
mod precision;
mod rows;
mod schedule;
mod spill;
mod statistics;
mod store;

pub use any::{AnyEngine, Begun, Outcome, RefusedFrame, Ticket};
pub use engine::Engine;
pub use gpu_painter::{Blend, FrameUnderWay, GpuPainter, GpuTimes, PixelFrame};
pub use memory::default_memory;
pub use precision::PaintPrecision;
pub use rows::{Rows, Sink};
pub use statistics::Statistics;

#[cfg(test)]
mod tests;
