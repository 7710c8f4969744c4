//! The networks that the trainer makes: Johnson et al. (2016) as pytorch/examples builds it, with that program's tensor names.
//!
//! c9s1-32, d64, d128, residual blocks of 128, u64, u32, c9s1-3. Departures from the paper, shared with pytorch/examples:
//! every convolution pads by reflection (zero padding draws a frame around the picture), instance instead of batch
//! normalization (Ulyanov et al., 2016), upsampling plus convolution instead of transposed convolution (Odena et al., 2016),
//! a ReLU inside a residual block but none after the addition, and no tanh at the end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Activation, Convolution, InstanceNormalization, Layer, Network, OutputMap, Padding, PixelRange, Resampling,
    Residual,
};

/// Added to every variance, as PyTorch does by default.
const EPSILON: f64 = 1e-5;

/// Named sizes of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// 32, 64 and 128 channels, 5 residual blocks: 1.68 million weights.
    L,
    /// Half the channels of `l`: 0.42 million weights.
    #[default]
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
    /// Channels after the first convolution; the next two have twice and four times as many. Default: 16.
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
    /// The preset with these sizes, if there is one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_valid_network_with_a_known_smallest_picture() {
        for preset in Preset::ALL {
            let network = StyleNetConfig::from(preset).network();
            network.validate().unwrap();
            assert_eq!(network.smallest_side(), Network::MIN_SIZE);
        }
    }
}
