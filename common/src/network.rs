//! The transformer network of Johnson et al. (2016) as pytorch/examples builds it, with that program's tensor names.
//!
//! c9s1-32, d64, d128, residual blocks of 128, u64, u32, c9s1-3. Departures from the paper, shared with pytorch/examples:
//! every convolution pads by reflection (zero padding draws a frame around the picture), instance instead of batch
//! normalisation (Ulyanov et al., 2016), upsampling plus convolution instead of transposed convolution (Odena et al.,
//! 2016), a ReLU inside a residual block but none after the addition, and no tanh at the end.

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::ops::{self, Conv2d, InstanceNorm, Padding};

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

/// The sizes of a [`StyleNet`].
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
}

/// A network that paints any picture in one style.
#[derive(Debug, Clone)]
pub struct StyleNet {
    encoder: [ConvNorm; 3],
    blocks: Vec<ResidualBlock>,
    decoder: [ConvNorm; 2],
    output: ConvLayer,
}

impl StyleNet {
    /// The smallest height and width that the network takes: below it a reflection would be as large as the picture.
    pub const MIN_SIZE: usize = 5;

    /// Builds the network from weights named as in pytorch/examples.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or has another shape than `config` asks for.
    pub fn new(config: &StyleNetConfig, vb: VarBuilder) -> Result<Self> {
        let [c1, c2, c4] = [1, 2, 4].map(|factor| factor * config.channels);
        let same = Conv2d::default();
        let down = Conv2d { stride: 2, ..same };
        let up = Conv2d { upsample: 2, ..same };
        let blocks = (1..=config.blocks).map(|i| ResidualBlock::new(c4, vb.pp(format!("res{i}"))));
        Ok(Self {
            encoder: [
                ConvNorm::new(3, c1, 9, same, vb.pp("conv1"), vb.pp("in1"))?,
                ConvNorm::new(c1, c2, 3, down, vb.pp("conv2"), vb.pp("in2"))?,
                ConvNorm::new(c2, c4, 3, down, vb.pp("conv3"), vb.pp("in3"))?,
            ],
            blocks: blocks.collect::<Result<_>>()?,
            decoder: [
                ConvNorm::new(c4, c2, 3, up, vb.pp("deconv1"), vb.pp("in4"))?,
                ConvNorm::new(c2, c1, 3, up, vb.pp("deconv2"), vb.pp("in5"))?,
            ],
            output: ConvLayer::new(c1, 3, 9, same, vb.pp("deconv3"))?,
        })
    }

    /// Paints `xs` `(batch, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// The result has the shape of `xs`, RGB nominally in `[0, 255]`, not clamped. (PyTorch's is rounded up to multiples
    /// of 4; this is its top left part.)
    ///
    /// # Errors
    ///
    /// If a side is shorter than [`Self::MIN_SIZE`].
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = xs.dims4()?;
        let mut ys = xs.clone();
        for layer in &self.encoder {
            ys = layer.forward(&ys)?;
        }
        for block in &self.blocks {
            ys = block.forward(&ys)?;
        }
        for layer in &self.decoder {
            ys = layer.forward(&ys)?;
        }
        self.output.forward(&ys)?.narrow(2, 0, height)?.narrow(3, 0, width)
    }
}

/// A convolution that pads by reflection.
#[derive(Debug, Clone)]
struct ConvLayer {
    weight: Tensor,
    bias: Tensor,
    config: Conv2d,
}

impl ConvLayer {
    fn new(inputs: usize, outputs: usize, kernel: usize, config: Conv2d, vb: VarBuilder) -> Result<Self> {
        let vb = vb.pp("conv2d");
        let weight = vb.get((outputs, inputs, kernel, kernel), "weight")?;
        let bias = vb.get(outputs, "bias")?;
        Ok(Self { weight, bias, config: Conv2d { padding: Padding::Reflect(kernel / 2), ..config } })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        ops::conv2d(xs, &self.weight, &self.bias, &self.config)
    }
}

/// The learned scale and shift of an instance normalisation.
#[derive(Debug, Clone)]
struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get(channels, "weight")?, bias: vb.get(channels, "bias")? })
    }

    fn forward(&self, xs: &Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        let config = InstanceNorm { relu, ..InstanceNorm::default() };
        ops::instance_norm(xs, &self.weight, &self.bias, residual, &config)
    }
}

/// Convolution, instance normalisation, ReLU.
#[derive(Debug, Clone)]
struct ConvNorm {
    conv: ConvLayer,
    norm: Affine,
}

impl ConvNorm {
    fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: Conv2d,
        conv: VarBuilder,
        norm: VarBuilder,
    ) -> Result<Self> {
        let conv = ConvLayer::new(inputs, outputs, kernel, config, conv)?;
        Ok(Self { conv, norm: Affine::new(outputs, norm)? })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(xs)?, None, true)
    }
}

/// Two 3x3 convolutions around which the input is carried unchanged.
#[derive(Debug, Clone)]
struct ResidualBlock {
    first: ConvNorm,
    second: ConvNorm,
}

impl ResidualBlock {
    fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        let layer = |conv, norm| ConvNorm::new(channels, channels, 3, Conv2d::default(), vb.pp(conv), vb.pp(norm));
        Ok(Self { first: layer("conv1", "in1")?, second: layer("conv2", "in2")? })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.second.conv.forward(&self.first.forward(xs)?)?;
        self.second.norm.forward(&ys, Some(xs), false)
    }
}
