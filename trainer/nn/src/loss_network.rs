//! The loss network: features of VGG-16 or VGG-19 (Simonyan and Zisserman, 2015) trained on ImageNet, frozen.
//!
//! Layers after the deepest requested layer are not computed. The weights never get gradients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::arrays::to_tensor;
use crate::ops::{self, Conv2d, Padding};
use candle_core::{DType, Device, Tensor};
use impasto_common::weights::{self, Tensors};
use impasto_error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Mean of the ImageNet photos, RGB in `[0, 1]`, as torchvision's weights expect it.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of the ImageNet photos, RGB in `[0, 1]`.
const STANDARD_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// VGG-16 to `relu3_3`, in f16: see `weights/README.md` for its authors and licence.
const BUNDLED: &[u8] = include_bytes!("../weights/vgg16_relu3_3.safetensors");

/// The architecture: VGG-16 or VGG-19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 13 convolutions: 2, 2, 3, 3 and 3 in the five blocks.
    #[default]
    Vgg16,
    /// 16 convolutions: 2, 2, 4, 4 and 4 in the five blocks.
    Vgg19,
}

impl Architecture {
    /// Convolutions in each of the five blocks; a maximum pooling follows each block.
    #[must_use]
    pub fn blocks(self) -> [usize; 5] {
        match self {
            Self::Vgg16 => [2, 2, 3, 3, 3],
            Self::Vgg19 => [2, 2, 4, 4, 4],
        }
    }

    /// All convolutions in order, each with its index in torchvision's `features`.
    fn convolutions(self) -> impl Iterator<Item = (Layer, usize)> {
        let mut index = 0;
        self.blocks().into_iter().enumerate().flat_map(move |(block, convolutions)| {
            let first = index;
            // A convolution and its ReLU are two entries, the pooling after a block is one.
            index += 2 * convolutions + 1;
            (0..convolutions).map(move |i| (Layer { block: block + 1, index: i + 1 }, first + 2 * i))
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vgg16 => "vgg16",
            Self::Vgg19 => "vgg19",
        })
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "vgg16" => Ok(Self::Vgg16),
            "vgg19" => Ok(Self::Vgg19),
            _ => Err("expected `vgg16` or `vgg19`".into()),
        }
    }
}

/// A layer named as in the papers, `reluX_Y`: the Y-th convolution of block X, rectified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Layer {
    block: usize,
    index: usize,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relu{}_{}", self.block, self.index)
    }
}

impl From<Layer> for String {
    fn from(layer: Layer) -> Self {
        layer.to_string()
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.strip_prefix("relu").and_then(|rest| rest.split_once('_'));
        let parsed = numbers.and_then(|(block, index)| Some((block.parse().ok()?, index.parse().ok()?)));
        match parsed {
            Some((block @ 1..=5, index @ 1..=4)) => Ok(Self { block, index }),
            _ => Err(format!("`{text}` is not a layer; expected `relu1_1` to `relu5_4`")),
        }
    }
}

impl TryFrom<String> for Layer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How the loss network pads pictures and features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossPadding {
    /// With the neighbours of the border, mirrored, so that no edge is seen where a picture ends.
    Reflect,
    /// With zeros, as VGG was trained. Its features see the border of a crop as an edge, and a network that is trained with
    /// them paints a frame.
    Zero,
}

impl fmt::Display for LossPadding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reflect => "reflect",
            Self::Zero => "zero",
        })
    }
}

impl FromStr for LossPadding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reflect" => Ok(Self::Reflect),
            "zero" => Ok(Self::Zero),
            _ => Err("expected `reflect` or `zero`".into()),
        }
    }
}

/// A frozen VGG, with as many layers as its weights have.
#[derive(Debug, Clone)]
pub struct LossNetwork {
    architecture: Architecture,
    convolutions: Vec<Convolution>,
    scale: Tensor,
    shift: Tensor,
    dtype: DType,
    padding: LossPadding,
}

#[derive(Debug, Clone)]
struct Convolution {
    layer: Layer,
    weight: Tensor,
    bias: Tensor,
}

impl LossNetwork {
    /// Reads the weights from a `.safetensors` or zip `.pth` file with torchvision's names (`features.0.weight` ..).
    ///
    /// The file may end at any layer. The classifier after the features is ignored.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or does not hold this architecture's first convolution.
    pub fn open(architecture: Architecture, weights: &Path, device: &Device) -> Result<Self> {
        Self::new(architecture, &weights::read_tensors(weights)?, device)
            .map_err(|error| Error::new(format!("cannot use loss network `{}`", weights.display())).with_source(error))
    }

    /// Takes the weights from tensors with torchvision's names. All channel counts are allowed (tests use small ones).
    ///
    /// # Errors
    ///
    /// If the first convolution is missing, or a shape does not follow from the layer before.
    pub fn new(architecture: Architecture, tensors: &Tensors, device: &Device) -> Result<Self> {
        let mut convolutions: Vec<Convolution> = Vec::new();
        let mut channels = 3;
        for (layer, index) in architecture.convolutions() {
            let Some(weight) = tensors.get(&format!("features.{index}.weight")) else { break };
            let bias_name = format!("features.{index}.bias");
            let bias = tensors.get(&bias_name).ok_or_else(|| Error::new(format!("tensor `{bias_name}` is missing")))?;
            let outputs = bias.values().len();
            if weight.shape() != [outputs, channels, 3, 3] {
                return Err(Error::new(format!(
                    "tensor `features.{index}.weight` is {:?}, expected ({outputs}, {channels}, 3, 3)",
                    weight.shape()
                ))
                .with_hint(format!("if the file is not {architecture}, select its network with `--loss-network`")));
            }
            let [weight, bias] = [weight, bias].map(|array| to_tensor(array, device));
            convolutions.push(Convolution { layer, weight: weight?, bias: bias? });
            channels = outputs;
        }
        if convolutions.is_empty() {
            return Err(Error::new("it has no tensor `features.0.weight`")
                .with_hint("use torchvision's or timm's VGG-16 or VGG-19 weights"));
        }
        let scale: Vec<_> = STANDARD_DEVIATION.iter().map(|deviation| 1.0 / (255.0 * deviation)).collect();
        let shift: Vec<_> = MEAN.iter().zip(STANDARD_DEVIATION).map(|(mean, deviation)| -mean / deviation).collect();
        Ok(Self {
            architecture,
            convolutions,
            scale: Tensor::from_vec(scale, (1, 3, 1, 1), device)?,
            shift: Tensor::from_vec(shift, (1, 3, 1, 1), device)?,
            dtype: DType::F32,
            padding: LossPadding::Zero,
        })
    }

    /// The bytes of the weights that are built into the library: VGG-16 to `relu3_3`.
    #[must_use]
    pub fn bundled_bytes() -> &'static [u8] {
        BUNDLED
    }

    /// Whether the weights that are built into the library are of this architecture and reach every one of `layers`.
    #[must_use]
    pub fn is_bundled(architecture: Architecture, layers: &BTreeSet<Layer>) -> bool {
        let last = Layer { block: 3, index: 3 };
        architecture == Architecture::Vgg16 && layers.iter().all(|&layer| layer <= last)
    }

    /// The loss network whose weights are built into the library: VGG-16 to `relu3_3`.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn bundled(device: &Device) -> Result<Self> {
        Self::new(Architecture::Vgg16, &weights::tensors_of(BUNDLED)?, device)
    }

    /// Computes features in this type from now on; weights stay f32. Default: f32.
    #[must_use]
    pub fn with_features_in(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Pads like this from now on. Default: zeros.
    #[must_use]
    pub fn with_padding(self, padding: LossPadding) -> Self {
        Self { padding, ..self }
    }

    /// The smallest height and width of a picture for which all of `layers` have a feature.
    #[must_use]
    pub fn smallest_side(&self, layers: &BTreeSet<Layer>) -> usize {
        // A mirror needs a neighbour.
        let smallest = if self.padding == LossPadding::Reflect { 2 } else { 1 };
        layers.iter().next_back().map_or(1, |last| smallest << (last.block - 1))
    }

    /// The architecture of this network.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The device of the weights.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.scale.device()
    }

    /// Checks that the weights reach every one of `layers`.
    ///
    /// # Errors
    ///
    /// If a layer is missing; the error names the first one.
    pub fn require(&self, layers: impl IntoIterator<Item = Layer>) -> Result<()> {
        for layer in layers {
            if layer.index > self.architecture.blocks()[layer.block - 1] {
                return Err(Error::usage(format!("{} has no layer `{layer}`", self.architecture)));
            }
            if !self.convolutions.iter().any(|convolution| convolution.layer == layer) {
                let last = self.convolutions.last().map_or_else(String::new, |last| last.layer.to_string());
                return Err(Error::usage(format!("the loss network's weights end at `{last}`, before `{layer}`"))
                    .with_hint("choose earlier layers, or use a file with all features"));
            }
        }
        Ok(())
    }

    /// The features of `xs` `(batch, 3, height, width)`, f32, RGB in `[0, 255]`, at each of `layers`.
    ///
    /// A layer of block X is `(batch, channels, height / 2^(X-1), width / 2^(X-1))`, with values of at least 0. Differentiable
    /// in `xs`.
    ///
    /// # Errors
    ///
    /// If a layer is missing or the picture is too small for that many poolings.
    pub fn features(&self, xs: &Tensor, layers: &BTreeSet<Layer>) -> Result<BTreeMap<Layer, Tensor>> {
        self.require(layers.iter().copied())?;
        let padding = match self.padding {
            LossPadding::Reflect => Padding::Reflect(1),
            LossPadding::Zero => Padding::Zero(1),
        };
        let config = Conv2d { upsample: 1, padding, stride: 1, relu: true };
        let (_, _, height, width) = xs.dims4()?;
        let smallest = self.smallest_side(layers);
        if height.min(width) < smallest {
            return Err(Error::usage(format!(
                "a picture of {width}x{height} pixels is too small for the loss network, which needs {smallest}x{smallest}"
            )));
        }
        let mut features = BTreeMap::new();
        let mut ys = xs.broadcast_mul(&self.scale)?.broadcast_add(&self.shift)?.to_dtype(self.dtype)?;
        let mut block = 1;
        for convolution in &self.convolutions {
            if features.len() == layers.len() {
                break;
            }
            if convolution.layer.block != block {
                ys = ops::max_pool2d(&ys)?;
                block = convolution.layer.block;
            }
            ys = ops::conv2d(&ys, &convolution.weight, &convolution.bias, &config)?;
            if layers.contains(&convolution.layer) {
                features.insert(convolution.layer, ys.clone());
            }
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use impasto_common::weights::Array;

    use super::*;

    #[test]
    fn convolutions_of_both_networks_have_the_numbers_of_torchvision() {
        let indices = |architecture: Architecture| architecture.convolutions().map(|(_, i)| i).collect::<Vec<_>>();
        assert_eq!(indices(Architecture::Vgg16), [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]);
        assert_eq!(indices(Architecture::Vgg19), [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]);
    }

    #[test]
    fn a_layer_parses_back_from_its_name_and_nonsense_does_not() {
        assert_eq!("relu4_2".parse::<Layer>().unwrap().to_string(), "relu4_2");
        for text in ["relu0_1", "relu6_1", "relu1_5", "conv1_1", "relu1", "relu1_", ""] {
            assert!(text.parse::<Layer>().is_err(), "{text}");
        }
    }

    #[test]
    fn padding_changes_the_features_at_the_borders_alone() {
        let layers = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<Layer>>();
        let zeros = LossNetwork::bundled(&Device::Cpu).unwrap();
        let mirrored = zeros.clone().with_padding(LossPadding::Reflect);
        let picture = Tensor::rand(0f32, 255f32, (1, 3, 42, 40), &Device::Cpu).unwrap();
        let [with_zeros, with_mirrors] =
            [&zeros, &mirrored].map(|network| network.features(&picture, &layers(&["relu1_2", "relu2_2"])).unwrap());
        let largest = |xs: &Tensor| xs.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        // Each convolution reaches a pixel further; the pooling halves the reach of the first block.
        for (name, reach) in [("relu1_2", 2), ("relu2_2", 3)] {
            let layer: Layer = name.parse().unwrap();
            let difference = (&with_zeros[&layer] - &with_mirrors[&layer]).unwrap();
            let (_, _, height, width) = difference.dims4().unwrap();
            let middle = difference.narrow(2, reach, height - 2 * reach).unwrap();
            let middle = middle.narrow(3, reach, width - 2 * reach).unwrap();
            let scale = largest(&with_zeros[&layer]);
            assert!(largest(&middle) < 1e-4 * scale, "{layer}: {} of {scale}", largest(&middle));
            assert!(largest(&difference) > 0.1 * scale, "{layer}: {} of {scale}", largest(&difference));
        }
        // A picture of one colour has the same features everywhere.
        let grey = Tensor::full(127f32, (1, 3, 16, 16), &Device::Cpu).unwrap();
        let features = mirrored.features(&grey, &layers(&["relu3_3"])).unwrap().remove(&"relu3_3".parse().unwrap());
        let features = features.unwrap();
        let span = (features.max(3).unwrap().max(2).unwrap() - features.min(3).unwrap().min(2).unwrap()).unwrap();
        assert!(largest(&span) < 1e-3 * largest(&features), "{}", largest(&span));
        let deepest = layers(&["relu1_2", "relu3_3"]);
        assert_eq!((zeros.smallest_side(&deepest), mirrored.smallest_side(&deepest)), (4, 8));
        let error = mirrored.features(&picture.narrow(3, 0, 7).unwrap(), &deepest).unwrap_err();
        assert_eq!(error.to_string(), "a picture of 7x42 pixels is too small for the loss network, which needs 8x8");
    }

    #[test]
    fn a_layer_that_the_architecture_does_not_have_is_a_usage_error() {
        let zeros = |shape: &[usize]| Array::new(shape, vec![0.0; shape.iter().product()]).unwrap();
        let (weight, bias) = (zeros(&[2, 3, 3, 3]), zeros(&[2]));
        let tensors = Tensors::from([("features.0.weight".into(), weight), ("features.0.bias".into(), bias)]);
        let network = LossNetwork::new(Architecture::Vgg16, &tensors, &Device::Cpu).unwrap();
        let error = network.require(["relu3_4".parse().unwrap()]).unwrap_err();
        assert_eq!(error.to_string(), "vgg16 has no layer `relu3_4`");
        assert_eq!(error.exit_code(), 2);
    }
}
