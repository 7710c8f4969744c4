//! Differentiable operations that candle lacks or runs too slowly, as custom ops with analytic gradients.
//!
//! Tensors are `(batch, channels, height, width)`, f32, contiguous or not. On a GPU activations may be bf16 or f16, while
//! weights, statistics, sums and losses stay f32; a result has the type of the first argument.
//! Each op computes the gradient of an argument only if that argument is part of the graph (`Tensor::track_op`), so frozen
//! weights cost nothing.

mod adam;
mod conv;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod difference;
mod gram;
mod norm;
mod pool;
#[cfg(test)]
mod testing;
mod warp;

pub use adam::{AdamNumbers, AdamParameter, adam_step, gradient_norm};
pub use conv::{Conv2d, Padding, conv2d};
pub use difference::{mean_square, mse, total_variation};
pub use gram::gram;
pub use norm::{InstanceNorm, instance_norm};
pub use pool::max_pool2d;
pub use warp::warp;
