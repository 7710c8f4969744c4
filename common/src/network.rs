//! The transformer network as data: a list of layers, each a convolution and what follows it.
//!
//! Everything that knows the network iterates this list: the trainable network, the painting engine on the CPU and on a
//! GPU, the benchmark's operation counts, the style-model file. Adding a network of the family is adding a description.
//!
//! [`StyleNetConfig::network`] describes Johnson et al. (2016) as pytorch/examples builds it, with that program's tensor
//! names: c9s1-32, d64, d128, residual blocks of 128, u64, u32, c9s1-3. Departures from the paper, shared with
//! pytorch/examples: every convolution pads by reflection (zero padding draws a frame around the picture), instance instead
//! of batch normalisation (Ulyanov et al., 2016), upsampling plus convolution instead of transposed convolution (Odena et
//! al., 2016), a ReLU inside a residual block but none after the addition, and no tanh at the end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::weights::Tensors;
use crate::{Error, Result};

/// Named sizes of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// 32, 64 and 128 channels, 5 residual blocks: 1.68 million weights.
    #[default]
    L,
    /// Half the channels of `l`.
    M,
    /// A quarter of the channels of `l`.
    S,
    /// An eighth of the channels of `l`, 3 residual blocks.
    Xs,
}

impl Preset {
    /// All presets, largest first.
    pub const ALL: [Self; 4] = [Self::L, Self::M, Self::S, Self::Xs];
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L => "l",
            Self::M => "m",
            Self::S => "s",
            Self::Xs => "xs",
        })
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.to_string() == text)
            .ok_or_else(|| "expected `l`, `m`, `s` or `xs`".into())
    }
}

/// The sizes of a transformer network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StyleNetConfig {
    /// Channels after the first convolution; twice and four times as many follow. Default: 32.
    pub channels: usize,
    /// Residual blocks at a quarter of the resolution. Default: 5.
    pub blocks: usize,
}

impl Default for StyleNetConfig {
    fn default() -> Self {
        Preset::default().into()
    }
}

impl From<Preset> for StyleNetConfig {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::L => Self { channels: 32, blocks: 5 },
            Preset::M => Self { channels: 16, blocks: 5 },
            Preset::S => Self { channels: 8, blocks: 5 },
            Preset::Xs => Self { channels: 4, blocks: 3 },
        }
    }
}

impl StyleNetConfig {
    /// The preset of these sizes, if they are one's.
    #[must_use]
    pub fn preset(&self) -> Option<Preset> {
        Preset::ALL.into_iter().find(|&preset| Self::from(preset) == *self)
    }

    /// The network of these sizes.
    #[must_use]
    pub fn network(&self) -> Network {
        let [c1, c2, c4] = [1, 2, 4].map(|factor| factor * self.channels);
        let convolution = |name: &str, inputs, outputs, kernel, resampling| Convolution {
            name: format!("{name}.conv2d"),
            inputs,
            outputs,
            kernel,
            resampling,
            padding: Padding::Reflect(kernel / 2),
        };
        let layer = |conv: &str, norm: &str, inputs, outputs, kernel, resampling| Layer {
            convolution: convolution(conv, inputs, outputs, kernel, resampling),
            normalization: Some(InstanceNormalization { name: norm.into(), epsilon: EPSILON }),
            activation: Activation::Relu,
            residual: None,
        };
        let mut layers = vec![
            layer("conv1", "in1", 3, c1, 9, Resampling::None),
            layer("conv2", "in2", c1, c2, 3, Resampling::Stride(2)),
            layer("conv3", "in3", c2, c4, 3, Resampling::Stride(2)),
        ];
        for block in 1..=self.blocks {
            let part = |i: usize| {
                layer(&format!("res{block}.conv{i}"), &format!("res{block}.in{i}"), c4, c4, 3, Resampling::None)
            };
            let residual = Some(Residual { layers: 2, crop: 0 });
            layers.extend([part(1), Layer { activation: Activation::None, residual, ..part(2) }]);
        }
        layers.extend([
            layer("deconv1", "in4", c4, c2, 3, Resampling::Nearest(2)),
            layer("deconv2", "in5", c2, c1, 3, Resampling::Nearest(2)),
            Layer {
                convolution: convolution("deconv3", c1, 3, 9, Resampling::None),
                normalization: None,
                activation: Activation::None,
                residual: None,
            },
        ]);
        Network { layers, pixels: PixelRange::default(), output: OutputMap::Linear }
    }
}

/// Added to every variance, as PyTorch does by default.
const EPSILON: f64 = 1e-5;

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

/// A convolution and what follows it: normalisation, addition of an earlier picture, activation, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The convolution.
    pub convolution: Convolution,
    /// The normalisation, if there is one.
    pub normalization: Option<InstanceNormalization>,
    /// What is added to the normalised result, if anything is.
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

/// How a convolution changes the size of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resampling {
    /// Not at all, but for padding.
    None,
    /// Only every so many rows and columns are computed.
    Stride(usize),
    /// Every pixel of the input is repeated so often along both axes first, and then padded.
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

/// Instance normalisation with learned scale and shift (Ulyanov et al., 2016).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceNormalization {
    /// The tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The addition of an earlier picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residual {
    /// The input of the layer that lies so many layers back, this one counted, is added: 2 in a block of two.
    pub layers: usize,
    /// Pixels that are cut off each side of what is added.
    pub crop: usize,
}

/// What follows the normalisation.
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
    pub mean: [f32; 3],
    /// Whether the first channel is blue.
    pub bgr: bool,
}

impl Default for PixelRange {
    /// RGB in `[0, 255]`.
    fn default() -> Self {
        Self { white: 255.0, mean: [0.0; 3], bgr: false }
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

impl Network {
    /// The smallest height and width that a network takes: below it a reflection would be as large as the picture.
    pub const MIN_SIZE: usize = 5;

    /// The names and shapes of all tensors, in the order of the layers.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let of = |layer: &Layer| {
            let Convolution { name, inputs, outputs, kernel, resampling, .. } = &layer.convolution;
            let (first, second) = match resampling {
                Resampling::Transposed { .. } => (inputs, outputs),
                _ => (outputs, inputs),
            };
            let mut tensors = vec![
                (format!("{name}.weight"), vec![*first, *second, *kernel, *kernel]),
                (format!("{name}.bias"), vec![*outputs]),
            ];
            if let Some(norm) = &layer.normalization {
                tensors.extend(["weight", "bias"].map(|part| (format!("{}.{part}", norm.name), vec![*outputs])));
            }
            tensors
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// Checks that every tensor of the network is among `tensors`, in its shape.
    ///
    /// # Errors
    ///
    /// If one is missing, or of another shape: both shapes are named.
    pub fn check(&self, tensors: &Tensors) -> Result<()> {
        self.tensors().iter().try_for_each(|(name, shape)| values(tensors, name, shape).map(drop))
    }
}

/// The values of a tensor that must have this shape.
///
/// # Errors
///
/// If it is missing, or of another shape: both shapes are named.
pub fn values<'a>(tensors: &'a Tensors, name: &str, shape: &[usize]) -> Result<&'a [f32]> {
    let array = tensors.get(name).ok_or_else(|| Error::new(format!("tensor `{name}` is missing")))?;
    if array.shape() != shape {
        let (found, expected) = (prose(array.shape()), prose(shape));
        return Err(Error::new(format!("tensor `{name}` is {found}, expected {expected}")));
    }
    Ok(array.values())
}

/// A shape as PyTorch prints it: `(64, 64, 3, 3)`.
fn prose(shape: &[usize]) -> String {
    let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
    format!("({})", sizes.join(", "))
}
