//! The contract between `trainer` and `infer`: the network, the style-model file, the bundled styles, the choice of a
//! device, and the error type.
//!
//! A file belongs here only if the two programs must agree on it. Nothing here prints, exits, parses arguments or uses a
//! tensor framework.
#![forbid(unsafe_code)]

pub mod device;
pub mod model_file;
pub mod network;
pub mod styles;
pub mod weights;

pub use impasto_error::{self as error, Error, Result, ResultExt};
