//! The trainable transformer network: runs the layers of a network description in order.
//!
//! [`impasto_common::network`] describes networks and says which papers they follow.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use impasto_common::model_file::StyleModel;
use impasto_common::network::{self, Activation, COLOURS, Convolution, Network, OutputMap, Resampling};
use impasto_error::ResultExt;

use crate::arrays;
use crate::ops::{self, Conv2d, InstanceNorm, Padding};

/// A network that paints any picture in one style.
#[derive(Debug, Clone)]
pub struct StyleNet {
    layers: Vec<TrainableLayer>,
    description: Network,
}

impl StyleNet {
    /// Builds the network from weights with the names in the description.
    ///
    /// # Errors
    ///
    /// If the description is not valid, or a tensor is missing or has the wrong shape.
    pub fn new(network: &Network, vb: VarBuilder) -> Result<Self> {
        network.validate().map_err(candle_core::Error::wrap)?;
        let layers = (0..network.layers.len()).map(|index| TrainableLayer::new(network, index, &vb));
        Ok(Self { layers: layers.collect::<Result<_>>()?, description: network.clone() })
    }

    /// Builds the network of a style model on `device`.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or does not have the shape given by the card, or the device is out of memory.
    pub fn from_model(model: &StyleModel, device: &Device) -> impasto_error::Result<Self> {
        let action = || format!("cannot build style `{}`", model.card.name);
        let network = model.card.network.network();
        network.check(&model.tensors).context(action)?;
        let tensors = arrays::to_tensors(&model.tensors, device).context(action)?;
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, device);
        Self::new(&network, vb).context(action)
    }

    /// Paints `xs` `(batch, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// The result has the shape of `xs`, RGB nominally in `[0, 255]`, not clamped. (In PyTorch the sides of the result are
    /// rounded up to multiples of 4; this is the top left part of that result.)
    ///
    /// # Errors
    ///
    /// If a side is shorter than the network's [`smallest`](Network::smallest_side).
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = xs.dims4()?;
        let mut ys = self.pixels_in(xs)?;
        // Results that are kept because later layers add them.
        let mut results: Vec<Option<Tensor>> = vec![None; self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            ys = layer.forward(&ys, layer.added.and_then(|added| results[added].as_ref()))?;
            if layer.is_added {
                results[index] = Some(ys.clone());
            }
        }
        self.pixels_out(&ys.narrow(2, 0, height)?.narrow(3, 0, width)?)
    }

    /// Converts levels to the network's input range.
    fn pixels_in(&self, xs: &Tensor) -> Result<Tensor> {
        let pixels = &self.description.pixels;
        mapped(xs, pixels.bgr, |channel| pixels.from_level(pixels.channel(channel)))
    }

    /// Converts the last layer's result to levels.
    fn pixels_out(&self, ys: &Tensor) -> Result<Tensor> {
        let pixels = &self.description.pixels;
        let ys = match self.description.output {
            OutputMap::Linear => ys.clone(),
            OutputMap::Tanh { scale } => (ys.tanh()? * f64::from(scale))?,
        };
        mapped(&ys, pixels.bgr, |colour| pixels.to_level(colour))
    }
}

/// Scales and shifts the three channels of `xs`, and reverses their order if requested. Factors and offsets are per channel of
/// the result.
fn mapped(xs: &Tensor, reverse: bool, map: impl Fn(usize) -> (f32, f32)) -> Result<Tensor> {
    let maps: Vec<_> = (0..COLOURS).map(map).collect();
    if !reverse && maps.iter().all(|&map| map == (1.0, 0.0)) {
        return Ok(xs.clone());
    }
    let channel = |(i, &(factor, offset)): (usize, &(f32, f32))| {
        let from = if reverse { COLOURS - 1 - i } else { i };
        xs.narrow(1, from, 1)?.affine(f64::from(factor), f64::from(offset))
    };
    Tensor::cat(&maps.iter().enumerate().map(channel).collect::<Result<Vec<_>>>()?, 1)
}

/// A layer of the description, with its weights.
#[derive(Debug, Clone)]
struct TrainableLayer {
    convolution: Convolution,
    weight: Tensor,
    bias: Tensor,
    norm: Option<Affine>,
    relu: bool,
    /// The layer whose result is added, and the number of pixels that are cropped from each side of it.
    added: Option<usize>,
    crop: usize,
    /// Whether a later layer adds the result of this layer.
    is_added: bool,
}

/// The learned scale and shift of an instance normalization.
#[derive(Debug, Clone)]
struct Affine {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl TrainableLayer {
    fn new(network: &Network, index: usize, vb: &VarBuilder) -> Result<Self> {
        let layer = &network.layers[index];
        let convolution = layer.convolution.clone();
        let vector = |name: &str, part: &str| vb.pp(name).get(convolution.outputs, part);
        let norm = layer.normalization.as_ref().map(|norm| {
            let (weight, bias) = (vector(&norm.name, "weight")?, vector(&norm.name, "bias")?);
            Ok::<_, candle_core::Error>(Affine { weight, bias, epsilon: norm.epsilon })
        });
        Ok(Self {
            weight: vb.pp(&convolution.name).get(convolution.weight_shape().as_slice(), "weight")?,
            bias: vector(&convolution.name, "bias")?,
            norm: norm.transpose()?,
            relu: layer.activation == Activation::Relu,
            added: network.added(index),
            crop: layer.residual.map_or(0, |residual| residual.crop),
            is_added: (0..network.layers.len()).any(|later| network.added(later) == Some(index)),
            convolution,
        })
    }

    fn forward(&self, xs: &Tensor, added: Option<&Tensor>) -> Result<Tensor> {
        let Some(added) = added else { return self.normalized(&self.convolved(xs)?, None, self.relu) };
        let ys = self.convolved(xs)?;
        let (_, _, height, width) = ys.dims4()?;
        let added = if self.crop > 0 {
            added.narrow(2, self.crop, height)?.narrow(3, self.crop, width)?
        } else {
            added.clone()
        };
        let sum = self.normalized(&ys, Some(&added), false)?;
        if self.relu { sum.relu() } else { Ok(sum) }
    }

    fn convolved(&self, xs: &Tensor) -> Result<Tensor> {
        let padding = match self.convolution.padding {
            network::Padding::Reflect(pixels) => Padding::Reflect(pixels),
            network::Padding::Zero(pixels) => Padding::Zero(pixels),
        };
        let same = Conv2d { padding, ..Conv2d::default() };
        let config = match self.convolution.resampling {
            Resampling::None => same,
            Resampling::Stride(stride) => Conv2d { stride, ..same },
            Resampling::Nearest(upsample) => Conv2d { upsample, ..same },
            Resampling::Transposed { stride, output_padding } => {
                let padding = self.convolution.padding.pixels();
                let ys = xs.contiguous()?.conv_transpose2d(&self.weight, padding, output_padding, stride, 1)?;
                return ys.broadcast_add(&self.bias.reshape((1, (), 1, 1))?);
            }
        };
        ops::conv2d(xs, &self.weight, &self.bias, &config)
    }

    /// Normalizes and rectifies if the layer does so, and adds the residual, if any.
    fn normalized(&self, ys: &Tensor, added: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        if let Some(Affine { weight, bias, epsilon }) = &self.norm {
            return ops::instance_norm(ys, weight, bias, added, &InstanceNorm { epsilon: *epsilon, relu });
        }
        let ys = if relu { ys.relu()? } else { ys.clone() };
        added.map_or(Ok(ys.clone()), |added| ys + added)
    }
}
