//! Maps each layer to a plain convolution for the GPU, with the padding that its input needs.

use crate::convolution::TransposedTaps;
use impasto_common::network::{Network, Padding, Resampling};
use impasto_kernels::steps::{PaddingMode, SIDE};

/// The side of the kernels that are split into shifted 3x3 kernels.
const NINE: usize = 9;

/// The plain convolution that a layer becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainForm {
    /// The layer's own kernel.
    Same,
    /// A 9x9 convolution of three colours, as a 3x3 one of nine shifted copies of them.
    Shifted,
    /// A 9x9 convolution to three colours, as a 3x3 one to nine summands of each.
    Split,
    /// Upsampling by two and a 3x3 convolution, as a 2x2 convolution to four times the channels.
    Upsampled,
    /// A transposed convolution, as a plain one to four times the channels.
    Transposed(TransposedTaps),
}

/// A layer as a GPU computes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoweredLayer {
    pub(super) form: PlainForm,
    pub(super) stride: usize,
    /// The kind of padding around the input, and its rows and columns before the first pixel.
    pub(super) padding_mode: PaddingMode,
    pub(super) lead: usize,
    /// The side of the layer's own kernel.
    kernel: usize,
}

impl LoweredLayer {
    /// The side of the plain convolution's kernel.
    pub(super) fn kernel(&self) -> usize {
        match self.form {
            PlainForm::Same => self.kernel,
            PlainForm::Shifted | PlainForm::Split => SIDE,
            PlainForm::Upsampled => 2,
            PlainForm::Transposed(taps) => taps.cells,
        }
    }

    /// Results of the layer in each pixel of the plain convolution's result, per side.
    pub(super) fn phases(&self) -> usize {
        if matches!(self.form, PlainForm::Upsampled | PlainForm::Transposed(_)) { 2 } else { 1 }
    }

    /// Unused results of pixel 0 before the layer's first result, per side.
    pub(super) fn skip(&self) -> usize {
        usize::from(self.form == PlainForm::Upsampled)
    }

    /// Shifts of the frame, or summands of the painting, per side.
    pub(super) fn side(&self) -> usize {
        if matches!(self.form, PlainForm::Shifted | PlainForm::Split) { SIDE } else { 1 }
    }

    /// Height or width of the padded input that gives `result` rows or columns of the layer's result; without padding it has
    /// `input` rows or columns. An input of shifted copies is smaller by the reach of the shifts.
    pub(super) fn padded_side(&self, input: usize, result: usize) -> usize {
        if self.stride > 1 {
            return input + 2 * self.lead;
        }
        let reach = if self.form == PlainForm::Split { self.kernel } else { self.kernel() };
        (result + self.skip()).div_ceil(self.phases()) - 1 + reach
    }
}

/// All layers of a network.
///
/// # Errors
///
/// If the GPU's kernels have no form for one of them: the reason, as it goes into a sentence.
pub(super) fn lower(network: &Network) -> Result<Vec<LoweredLayer>, String> {
    if network.layers.len() < 2 {
        return Err("its network has only one layer".into());
    }
    (0..network.layers.len()).map(|index| lower_one(network, index)).collect()
}

fn lower_one(network: &Network, index: usize) -> Result<LoweredLayer, String> {
    let (layer, last) = (&network.layers[index], network.layers.len() - 1);
    let convolution = &layer.convolution;
    let fault = |what: &str| Err(format!("the GPU kernels do not support layer `{}`, which {what}", convolution.name));
    if index < last && layer.normalization.is_none() {
        return fault("has no normalization");
    }
    let (kernel, padding, resampling) = (convolution.kernel, convolution.padding, convolution.resampling);
    if index == last && resampling != Resampling::None {
        return fault("is the last layer and changes the size");
    }
    let around = if padding.reflects() { PaddingMode::Reflect } else { PaddingMode::Zero };
    let (mut lead, mut padding_mode, mut stride) = (padding.pixels(), around, 1);
    let form = match resampling {
        Resampling::None if kernel == NINE && index == 0 => PlainForm::Shifted,
        Resampling::None if kernel == NINE && index == last => PlainForm::Split,
        Resampling::None => PlainForm::Same,
        Resampling::Stride(step) => {
            stride = step;
            PlainForm::Same
        }
        Resampling::Nearest(_) if (kernel, padding.pixels()) != (3, 1) => {
            return fault("upsamples and is not 3x3 with a padding of 1");
        }
        Resampling::Nearest(_) => {
            // Reflection padding of the upsampled picture is replication padding of the small one.
            padding_mode =
                if matches!(padding, Padding::Reflect(_)) { PaddingMode::Replicate } else { PaddingMode::Zero };
            PlainForm::Upsampled
        }
        Resampling::Transposed { .. } => {
            let Some(taps) = TransposedTaps::new(convolution) else {
                return fault("is transposed in an unsupported way");
            };
            lead = taps.lead;
            PlainForm::Transposed(taps)
        }
    };
    Ok(LoweredLayer { form, stride, padding_mode, lead, kernel })
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::StyleNetConfig;

    #[test]
    fn unsupported_layers_are_named() {
        let sound = StyleNetConfig { channels: 2, blocks: 0 }.network();
        assert_eq!(lower(&sound).unwrap().len(), 6);
        let mut network = sound.clone();
        network.layers[1].normalization = None;
        let reason = lower(&network).unwrap_err();
        assert_eq!(reason, "the GPU kernels do not support layer `conv2.conv2d`, which has no normalization");
        let mut network = sound;
        network.layers[3].convolution.kernel = 5;
        let reason = lower(&network).unwrap_err();
        assert!(
            reason.contains("layer `deconv1.conv2d`, which upsamples and is not 3x3 with a padding of 1"),
            "{reason}"
        );
    }
}
