//! The inference engine: paints pictures of any size with a [`Network`](impasto_common::network::Network), on the CPU, within
//! a bound on memory; [`AnyEngine`] paints on a GPU where there is one.
//!
//! Weights are packed once. Feature maps are stored row by row, all channels of a row together, so that a band of rows is
//! one slice. A convolution reads its input unnormalized and normalizes it as it loads it into registers. It computes the
//! moments of its result as it stores it. So no result is read or written only to be normalized, except those that the
//! residual blocks add.
//!
//! The statistics of an instance normalization are the only global dependency in the network. The engine therefore makes
//! one pass per normalization. The input of a pass is kept from the previous pass, in memory or in a file, or recomputed
//! row by row if there is no room. Beyond the rounding of the statistics, the painting does not depend on that choice.
//!
//! The kernel of a layer is chosen by its kind, see `schedule`: the trainer's networks use specialized kernels throughout;
//! other networks of the family use general kernels where no specialized one exists.

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
pub use gpu_painter::{Blend, FrameInFlight, GpuAnswer, GpuPainter, GpuTimes, PixelFrame};
pub use memory::{ARENAS_VARIABLE, address_space_is_limited, default_memory};
pub use precision::PaintPrecision;
pub use rows::{Rows, Sink};
pub use statistics::Statistics;

#[cfg(test)]
mod tests;
