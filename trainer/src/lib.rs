//! Trains a feed-forward network to paint any picture in the style of one painting.
//!
//! [`train::train`] is the training loop; `trainer/examples/train.rs` is a whole training in 50 lines of Rust.
//!
//! Only [`cli`] prints, exits or parses arguments.

#![forbid(unsafe_code)]

pub mod adam;
pub mod cli;
pub mod clip;
pub mod config;
pub mod digest;
pub mod evaluate;
pub mod hub;
pub mod init;
pub mod interpolate;
pub mod lbfgs;
pub mod live;
pub mod loader;
pub mod loss_weights;
pub mod marks;
pub mod metrics;
pub mod micro_batches;
pub mod objective;
pub mod optimize;
pub mod output;
pub mod pace;
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
