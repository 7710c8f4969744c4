//! Differentiable operations that candle lacks or runs too slowly, as custom ops with analytic gradients.
//!
//! Tensors are `(batch, channels, height, width)`, f32, contiguous or not. Each op computes the gradient of an argument
//! only where that argument is part of the graph (`Tensor::track_op`): frozen weights cost nothing.

mod conv;
mod cpu;
mod difference;
mod gram;
mod norm;
mod pool;
#[cfg(test)]
mod testing;
mod warp;

pub use conv::{Conv2d, Padding, conv2d};
pub use difference::{mse, total_variation};
pub use gram::gram;
pub use norm::{InstanceNorm, instance_norm};
pub use pool::max_pool2d;
pub use warp::warp;
