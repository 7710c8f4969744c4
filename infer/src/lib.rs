//! Paints pictures with a trained style in one forward pass.
//!
//! ```no_run
//! use impasto_picture::Picture;
//! use impasto_infer::Stylizer;
//!
//! let stylizer = Stylizer::open("mosaic.safetensors")?;
//! let painted = stylizer.stylize(&Picture::open("photo.jpg")?)?;
//! painted.picture.save("painting.png")?;
//! # Ok::<(), impasto_common::Error>(())
//! ```
//!
//! [`Stylizer`] paints pictures, [`Stabilizer`] paints the frames of a clip with less flicker, [`video::render`] paints
//! clip files, and [`serve::Server`] answers HTTP requests. Complete programs:
//!
//! - [`stylize_buffer`]: RGB bytes in memory to a painting in memory
//! - [`stylize_frames`]: frames that arrive one after the other, with less flicker
//! - [`serve`](https://github.com/impasto/impasto/blob/main/infer/examples/serve.rs): a server of one's own
//!
//! [`stylize_buffer`]: https://github.com/impasto/impasto/blob/main/infer/examples/stylize_buffer.rs
//! [`stylize_frames`]: https://github.com/impasto/impasto/blob/main/infer/examples/stylize_frames.rs

#![forbid(unsafe_code)]

pub mod bench;
mod blend;
pub mod cli;
mod pipelined_painter;
pub mod serve;
mod steady;
mod stylizer;
pub mod video;

pub use pipelined_painter::PipelinedPainter;
pub use steady::{Composed, Patchwork, Stabilizer, SteadyOptions};
pub use stylizer::{PaintMargin, Painted, PaintedFile, PaintedPlanes, StylizeOptions, Stylizer, StylizerBuilder};
