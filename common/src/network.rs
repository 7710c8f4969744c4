//! The transformer network as data: a list of layers, each a convolution and what follows it.
//!
//! Everything that knows the network iterates this list: the trainable network, the painting engine on the CPU and on a
//! GPU, the benchmark's operation counts, the style-model file. Adding a network of the family is adding a description.
//!
//! [`StyleNetConfig::network`] describes the networks that the trainer makes.

mod johnson;
mod size;
mod tensors;
mod validate;

use serde::{Deserialize, Serialize};

pub use johnson::{Preset, StyleNetConfig};
pub use tensors::values;

/// Colours of a picture.
pub const COLOURS: usize = 3;

/// The largest level of a colour.
const WHITE: f32 = 255.0;

/// A network that paints: its layers in order, and what its numbers mean at both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// What the picture passes through, first to last.
    pub layers: Vec<Layer>,
    /// What the first layer takes, and what the output map gives.
    pub pixels: PixelRange,
    /// What becomes of the last layer's result.
    pub output: OutputMap,
}

/// A convolution and what follows it: normalization, addition of an earlier result, activation, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The convolution.
    pub convolution: Convolution,
    /// The normalization, if there is one.
    pub normalization: Option<InstanceNormalization>,
    /// What is added to the normalized result, if anything is.
    pub residual: Option<Residual>,
    /// The activation, after the addition.
    pub activation: Activation,
}

/// A convolution with square kernels and a bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convolution {
    /// The tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its result.
    pub outputs: usize,
    /// Height and width of a kernel.
    pub kernel: usize,
    /// How the size changes.
    pub resampling: Resampling,
    /// What lies around its input.
    pub padding: Padding,
}

/// How a convolution changes the size of the picture. Every factor is 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resampling {
    /// Not at all, but for padding.
    None,
    /// Only every second row and column is computed.
    Stride(usize),
    /// Every pixel of the input is repeated along both axes first; the enlarged picture is then padded.
    Nearest(usize),
    /// The transpose of a convolution with this stride, whose weights are `(inputs, outputs, kernel, kernel)`; rows and
    /// columns are added at the bottom and the right, as PyTorch's `output_padding`. Padding must be zeros.
    Transposed {
        /// The stride of the convolution that this one is the transpose of.
        stride: usize,
        /// Rows and columns added.
        output_padding: usize,
    },
}

/// What lies around a convolution's input, in pixels on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Padding {
    /// The picture mirrored at its outermost pixels, which are not repeated.
    Reflect(usize),
    /// Zeros.
    Zero(usize),
}

impl Padding {
    /// Pixels on each side.
    #[must_use]
    pub fn pixels(self) -> usize {
        match self {
            Self::Reflect(pixels) | Self::Zero(pixels) => pixels,
        }
    }

    /// Whether the picture is mirrored.
    #[must_use]
    pub fn reflects(self) -> bool {
        matches!(self, Self::Reflect(_))
    }
}

/// Instance normalization with learned scale and shift (Ulyanov et al., 2016).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceNormalization {
    /// The tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The addition of an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residual {
    /// The input of the layer that lies so many layers back, this one counted, is added: 2 in a block of two.
    pub layers: usize,
    /// Pixels that are cut off each side of what is added.
    pub crop: usize,
}

/// What follows the normalization and the addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    None,
    /// Negative values become zero.
    Relu,
}

/// What the numbers of a picture mean to a network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PixelRange {
    /// The level 255 is this number to the network, before the mean is taken off.
    pub white: f32,
    /// Taken off each channel, in the network's order of channels.
    pub mean: [f32; COLOURS],
    /// Whether the first channel is blue.
    pub bgr: bool,
}

impl Default for PixelRange {
    /// RGB in `[0, 255]`.
    fn default() -> Self {
        Self { white: WHITE, mean: [0.0; COLOURS], bgr: false }
    }
}

impl PixelRange {
    /// The network's channel of a colour: 0 is red, 1 green, 2 blue.
    #[must_use]
    pub fn channel(&self, colour: usize) -> usize {
        if self.bgr { COLOURS - 1 - colour } else { colour }
    }

    /// The factor and the offset that make a colour's levels, `[0, 255]`, the network's numbers.
    #[must_use]
    pub fn from_level(&self, colour: usize) -> (f32, f32) {
        (self.white / WHITE, -self.mean[self.channel(colour)])
    }

    /// The factor and the offset that make the network's numbers a colour's levels.
    #[must_use]
    pub fn to_level(&self, colour: usize) -> (f32, f32) {
        let factor = WHITE / self.white;
        (factor, factor * self.mean[self.channel(colour)])
    }
}

/// How the last layer's result becomes pixels in the network's range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum OutputMap {
    /// It is pixels.
    Linear,
    /// Its hyperbolic tangent, times a scale (Johnson et al., 2016: 150).
    Tanh {
        /// The scale.
        scale: f32,
    },
}

impl OutputMap {
    /// The pixel, in the network's range, that a number of the last layer's result becomes.
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Linear => x,
            Self::Tanh { scale } => scale * x.tanh(),
        }
    }
}

impl Network {
    /// The smallest height and width that a network of the trainer takes: below it a reflection would be as large as the
    /// picture. See [`Self::smallest_side`] for any network.
    pub const MIN_SIZE: usize = 5;

    /// Channels of each normalization, in the order of the layers.
    #[must_use]
    pub fn normalized_channels(&self) -> Vec<usize> {
        let normalized = self.layers.iter().filter(|layer| layer.normalization.is_some());
        normalized.map(|layer| layer.convolution.outputs).collect()
    }

    /// The layer whose result layer `index` adds to its own; see [`Self::validate`].
    #[must_use]
    pub fn added(&self, index: usize) -> Option<usize> {
        self.layers[index].residual.and_then(|residual| index.checked_sub(residual.layers))
    }
}
