//! The transformer network of Johnson et al. (2016) as pytorch/examples builds it, with that program's tensor names.
//!
//! c9s1-32, d64, d128, residual blocks of 128, u64, u32, c9s1-3. Departures from the paper, shared with pytorch/examples:
//! every convolution pads by reflection (zero padding draws a frame around the picture), instance instead of batch
//! normalisation (Ulyanov et al., 2016), upsampling plus convolution instead of transposed convolution (Odena et al.,
//! 2016), a ReLU inside a residual block but none after the addition, and no tanh at the end.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use impasto_common::model_file::StyleModel;
use impasto_common::network::StyleNetConfig;
use impasto_error::ResultExt;

use crate::arrays;
use crate::ops::{self, Conv2d, InstanceNorm, Padding};

/// A network that paints any picture in one style.
#[derive(Debug, Clone)]
pub struct StyleNet {
    encoder: [ConvNorm; 3],
    blocks: Vec<ResidualBlock>,
    decoder: [ConvNorm; 2],
    output: ConvLayer,
}

impl StyleNet {
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

    /// Builds the network of a style model on `device`.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or has another shape than the card says, or the device is out of memory.
    pub fn from_model(model: &StyleModel, device: &Device) -> impasto_error::Result<Self> {
        let action = || format!("cannot build style `{}`", model.card.name);
        model.card.network.network().check(&model.tensors).context(action)?;
        let tensors = arrays::to_tensors(&model.tensors, device).context(action)?;
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, device);
        Self::new(&model.card.network, vb).context(action)
    }

    /// Paints `xs` `(batch, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// The result has the shape of `xs`, RGB nominally in `[0, 255]`, not clamped. (PyTorch's is rounded up to multiples
    /// of 4; this is its top left part.)
    ///
    /// # Errors
    ///
    /// If a side is shorter than [`Network::MIN_SIZE`](impasto_common::network::Network::MIN_SIZE).
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
