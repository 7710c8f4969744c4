//! The contract between `trainer` and `infer`: the networks, the style-model file, the compute kernels both run on,
//! pixels and tensors, image files, devices and errors.
//!
//! A file belongs here only if the two binaries must agree on it. Nothing here prints, exits or parses arguments.

pub mod device;
pub mod engine;
pub mod error;
pub mod files;
pub mod flow;
mod kernels;
pub mod machine;
pub mod model_file;
pub mod network;
pub mod ops;
pub mod picture;
pub mod styles;
pub mod video;
pub mod weights;

pub use error::{Error, Result, ResultExt};
