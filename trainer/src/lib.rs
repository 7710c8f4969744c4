//! Fits a feed-forward network to one style image.
//!
//! Nothing here prints, exits or parses arguments, but for [`cli`].

#![forbid(unsafe_code)]

pub mod adam;
pub mod cli;
pub mod clip;
pub mod config;
pub mod digest;
pub mod evaluate;
pub mod init;
pub mod interpolate;
pub mod lbfgs;
pub mod live;
pub mod loader;
pub mod loss_weights;
pub mod metrics;
pub mod objective;
pub mod optimize;
pub mod pace;
pub mod parts;
pub mod peers;
pub mod photos;
pub mod precision;
pub mod preview;
pub mod random;
pub mod report;
pub mod resample;
pub mod run_folder;
pub mod schedule;
pub mod snapshot;
pub mod step;
pub mod temporal;
pub mod train;
