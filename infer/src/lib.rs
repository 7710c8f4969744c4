//! Paints pictures with a trained style in one forward pass.
//!
//! ```no_run
//! use impasto_picture::Picture;
//! use impasto_infer::Stylizer;
//!
//! let stylizer = Stylizer::open("mosaic.safetensors")?;
//! let painting = stylizer.stylize(&Picture::open("photo.jpg")?)?;
//! painting.save("painting.png")?;
//! # Ok::<(), impasto_common::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod bench;
mod blend;
pub mod cli;
mod flight;
pub mod serve;
mod steady;
mod stylizer;
pub mod video;

pub use flight::Flight;
pub use steady::{Stabilizer, SteadyOptions};
pub use stylizer::{StylizeOptions, Stylizer};
