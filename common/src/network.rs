//! The transformer network as data: a list of layers, each a convolution and what follows it.
//!
//! Everything that depends on the network iterates over this list: the trainable network, the painting engine on the CPU
//! and on a GPU, the benchmark's operation counts, the style-model file. A new network of the family needs only a new
//! description.
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

/// A style network: its layers in order, and the pixel ranges of its input and output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// The pixel range of the first layer's input and of the output map's result.
    pub pixels: PixelRange,
    /// How the last layer's result becomes pixels.
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
    /// The padding of its input.
    pub padding: Padding,
}

/// How a convolution changes the size of the picture. Every factor is 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resampling {
    /// The size stays the same, apart from padding.
    None,
    /// Only every second row and column is computed.
    Stride(usize),
    /// Every pixel of the input is repeated along both axes first; the enlarged picture is then padded.
    Nearest(usize),
    /// The transpose of a convolution with this stride, whose weights are `(inputs, outputs, kernel, kernel)`; rows and
    /// columns are added at the bottom and the right, as PyTorch's `output_padding`. Padding must be zeros.
    Transposed {
        /// The stride of the convolution whose transpose this is.
        stride: usize,
        /// The number of rows and columns added.
        output_padding: usize,
    },
}

/// The padding of a convolution's input, in pixels on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Padding {
    /// Reflection: the input is mirrored at its outermost pixels, which are not repeated.
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

    /// Whether this is reflection padding.
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
    /// The distance to the layer whose input is added, counted in layers and including this one: 2 in a residual block of
    /// two layers.
    pub layers: usize,
    /// Pixels cropped from each side of the addend.
    pub crop: usize,
}

/// The activation, applied after the normalization and the addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// No activation.
    None,
    /// ReLU: negative values become zero.
    Relu,
}

/// The range, mean and channel order of a network's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PixelRange {
    /// The network's value for the level 255, before the mean is subtracted.
    pub white: f32,
    /// Subtracted from each channel, in the network's order of channels.
    pub mean: [f32; COLOURS],
    /// Whether the channel order is BGR rather than RGB.
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

    /// The factor and the offset that map a colour's levels, `[0, 255]`, to the network's values.
    #[must_use]
    pub fn from_level(&self, colour: usize) -> (f32, f32) {
        (self.white / WHITE, -self.mean[self.channel(colour)])
    }

    /// The factor and the offset that map the network's values to a colour's levels.
    #[must_use]
    pub fn to_level(&self, colour: usize) -> (f32, f32) {
        let factor = WHITE / self.white;
        (factor, factor * self.mean[self.channel(colour)])
    }
}

/// How the last layer's result becomes pixels in the network's range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum OutputMap {
    /// Unchanged: the result is already pixels.
    Linear,
    /// The hyperbolic tangent of the result times a scale (Johnson et al., 2016: 150).
    Tanh {
        /// The scale.
        scale: f32,
    },
}

impl OutputMap {
    /// Maps a value of the last layer's result to a pixel value in the network's range.
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

    /// The name of the last convolution, whose results are pixels.
    #[must_use]
    pub fn output_layer(&self) -> &str {
        self.layers.last().map_or("", |layer| &layer.convolution.name)
    }

    /// The layer whose result layer `index` adds to its own; see [`Self::validate`].
    #[must_use]
    pub fn added(&self, index: usize) -> Option<usize> {
        self.layers[index].residual.and_then(|residual| index.checked_sub(residual.layers))
    }
}
