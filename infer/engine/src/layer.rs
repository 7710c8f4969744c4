//! A layer with its packed weights, normalization and activation.

use super::convolution::PackedConvolution;
use super::schedule::KernelChoice;
use impasto_common::network::{Activation, COLOURS, Convolution, Layer, Network, Resampling, values};
use impasto_common::weights::Tensors;
use impasto_error::Result;
use impasto_kernels::layout::{Moments, Normal};
use impasto_kernels::simd::Level;

/// A layer of the network, ready to be computed.
#[derive(Debug)]
pub(super) struct PackedLayer {
    pub(super) convolution: PackedConvolution,
    /// The convolution's bias. Before a normalization it has no effect, so it is left out.
    pub(super) bias: Vec<f32>,
    norm: Option<Affine>,
    /// Whether a ReLU precedes the addition, and the lower bound that sums are clamped to.
    relu: bool,
    pub(super) sum_floor: f32,
    /// Columns cropped from each side of the addend.
    pub(super) crop: usize,
}

/// The learned scale and shift of a normalization.
#[derive(Debug)]
struct Affine {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f64,
}

impl PackedLayer {
    /// Packs layer `index` of a network.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or of another shape.
    pub(super) fn new(
        network: &Network,
        index: usize,
        tensors: &Tensors,
        kernel: KernelChoice,
        (level, pairs): (Level, bool),
    ) -> Result<Self> {
        let layer = &network.layers[index];
        let (weight, bias) = in_order_of_colours(network, index, tensors)?;
        let relu = layer.activation == Activation::Relu;
        let adds = layer.residual.is_some();
        Ok(Self {
            convolution: PackedConvolution::new(level, &layer.convolution, kernel, &weight, pairs),
            bias,
            norm: Affine::new(layer, tensors)?,
            relu: relu && !adds,
            sum_floor: if relu { 0.0 } else { f32::NEG_INFINITY },
            crop: layer.residual.map_or(0, |residual| residual.crop),
        })
    }

    /// Whether the layer normalizes.
    pub(super) fn is_normalized(&self) -> bool {
        self.norm.is_some()
    }

    /// The normalization and activation that are applied when the convolution's result, which has these moments, is read.
    pub(super) fn normals(&self, moments: &[Moments]) -> Vec<Normal> {
        let Some(norm) = &self.norm else {
            let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
            return self.bias.iter().map(|&bias| Normal { mean: 0.0, factor: 1.0, bias, floor }).collect();
        };
        let affine = norm.weight.iter().zip(&norm.bias);
        let of = |(moments, (&weight, &bias)): (&Moments, (&f32, &f32))| {
            moments.normal(weight, bias, norm.epsilon, self.relu)
        };
        moments.iter().zip(affine).map(of).collect()
    }
}

impl Affine {
    fn new(layer: &Layer, tensors: &Tensors) -> Result<Option<Self>> {
        let Some(norm) = &layer.normalization else { return Ok(None) };
        let read = |part: &str| {
            let name = format!("{}.{part}", norm.name);
            values(tensors, &name, &[layer.convolution.outputs]).map(<[f32]>::to_vec)
        };
        Ok(Some(Self { weight: read("weight")?, bias: read("bias")?, epsilon: norm.epsilon }))
    }
}

/// Weight and bias of a layer's convolution for RGB pictures: for a BGR network, the weights of red and blue are swapped in
/// the first and last layer.
///
/// # Errors
///
/// If a tensor is missing or of another shape.
pub(super) fn in_order_of_colours(network: &Network, index: usize, tensors: &Tensors) -> Result<(Vec<f32>, Vec<f32>)> {
    let convolution = &network.layers[index].convolution;
    let Convolution { inputs, outputs, kernel, .. } = *convolution;
    let mut weight = values(tensors, &convolution.weight_name(), &convolution.weight_shape())?.to_vec();
    let mut bias = values(tensors, &convolution.bias_name(), &[outputs])?.to_vec();
    let (is_first, is_last) = (index == 0, index + 1 == network.layers.len());
    if network.pixels.bgr && (is_first || is_last) {
        let transposed = matches!(convolution.resampling, Resampling::Transposed { .. });
        let old = weight.clone();
        let at =
            |output: usize, input: usize| if transposed { input * outputs + output } else { output * inputs + input };
        let turned = |channel: usize, is_end: bool| if is_end { COLOURS - 1 - channel } else { channel };
        let taps = kernel * kernel;
        for (output, input) in (0..outputs).flat_map(|output| (0..inputs).map(move |input| (output, input))) {
            let from = at(turned(output, is_last), turned(input, is_first)) * taps;
            weight[at(output, input) * taps..][..taps].copy_from_slice(&old[from..][..taps]);
        }
        if is_last {
            bias.reverse();
        }
    }
    Ok((weight, bias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::StyleNetConfig;
    use impasto_common::weights::Array;

    #[test]
    fn colours_are_swapped_at_both_ends_of_a_bgr_network() {
        let mut network = StyleNetConfig { channels: 1, blocks: 0 }.network();
        network.pixels.bgr = true;
        let tensors: Tensors = network
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let values = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
                (name, Array::new(shape, values).unwrap())
            })
            .collect();
        let (first, _) = in_order_of_colours(&network, 0, &tensors).unwrap();
        assert_eq!([first[0], first[81], first[162]].map(f32::to_bits), [162f32, 81.0, 0.0].map(f32::to_bits));
        let (last, bias) = in_order_of_colours(&network, 5, &tensors).unwrap();
        assert_eq!([last[0], last[242]].map(f32::to_bits), [162f32, 80.0].map(f32::to_bits));
        assert_eq!(bias, [2.0, 1.0, 0.0]);
        let (inner, _) = in_order_of_colours(&network, 1, &tensors).unwrap();
        assert_eq!(inner[1].to_bits(), 1f32.to_bits());
    }
}
