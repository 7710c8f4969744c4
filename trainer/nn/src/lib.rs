//! The candle part of training: differentiable operations, the trainable network, the loss network, and pictures as tensors.
#![forbid(unsafe_code)]

pub mod arrays;
pub mod device;
pub mod loss_network;
pub mod ops;
mod pixels;
mod style_net;

pub use pixels::{rgb_to_tensor, tensor_to_rgb};
pub use style_net::StyleNet;
