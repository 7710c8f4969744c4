//! Checks that a list of layers is a network that can be trained and painted with.

use std::collections::BTreeSet;

use super::{Activation, COLOURS, Convolution, Layer, Network, OutputMap, Padding, Resampling};
use crate::{Error, Result};

/// The largest kernel: a larger one means that the description is damaged.
const MAX_KERNEL: usize = 31;

/// The only factor of a size change that the compute kernels support.
const FACTOR: usize = 2;

impl Network {
    /// Checks that the layers fit together and belong to the supported family.
    ///
    /// A network begins and ends with three colours, at the picture's size and never above it. Each layer takes as many
    /// channels as the previous one gives. Only results of earlier layers are added, never the picture. Only the output map
    /// follows the last convolution.
    ///
    /// # Errors
    ///
    /// If a check fails; the error names the layer.
    pub fn validate(&self) -> Result<()> {
        let (Some(last), Some(first)) = (self.layers.last(), self.layers.first()) else {
            return Err(Error::new("the network has no layers"));
        };
        let mut channels = COLOURS;
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.convolution.inputs != channels {
                let inputs = layer.convolution.inputs;
                return Err(layer.fault(&format!("expects {inputs} channels, but its input has {channels}")));
            }
            channels = layer.convolution.outputs;
            layer.convolution.validate().map_err(|what| layer.fault(&what))?;
            self.validate_following(index).map_err(|what| layer.fault(&what))?;
        }
        if channels != COLOURS {
            return Err(
                last.fault(&format!("is the last layer, but has {channels} output channels instead of {COLOURS}"))
            );
        }
        if last.normalization.is_some() || last.residual.is_some() || last.activation != Activation::None {
            return Err(last.fault("is the last layer: only the output map may follow its convolution"));
        }
        self.validate_levels(first)?;
        self.validate_names()?;
        self.validate_numbers()
    }

    /// Checks what follows a layer's convolution.
    fn validate_following(&self, index: usize) -> Result<(), String> {
        let layer = &self.layers[index];
        if let Some(norm) = layer.normalization.as_ref().filter(|norm| !(norm.epsilon > 0.0 && norm.epsilon < 1.0)) {
            return Err(format!("has an epsilon of {}, expected a number above 0 and below 1", norm.epsilon));
        }
        let Some(residual) = layer.residual else { return Ok(()) };
        if residual.layers == 0 {
            return Err("adds its own result as a residual".into());
        }
        let Some(added) = self.added(index) else {
            return Err("has a residual that is not the result of an earlier layer".into());
        };
        let (theirs, own) = (self.layers[added].convolution.outputs, layer.convolution.outputs);
        if theirs != own {
            return Err(format!("adds a residual of {theirs} channels to a result of {own}"));
        }
        Ok(())
    }

    fn validate_levels(&self, first: &Layer) -> Result<()> {
        let levels = self.levels();
        if let Some(at) = levels.iter().position(|&level| level < 0) {
            return Err(self.layers[at].fault("makes the feature map larger than the picture"));
        }
        if levels.last() != Some(&0) {
            return Err(first.fault("is the first layer of a network that does not restore the size of the picture"));
        }
        Ok(())
    }

    fn validate_names(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        match self.tensors().into_iter().find(|(name, _)| !seen.insert(name.clone())) {
            Some((name, _)) => Err(Error::new(format!("tensor `{name}` belongs to two layers"))),
            None => Ok(()),
        }
    }

    fn validate_numbers(&self) -> Result<()> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if !positive(self.pixels.white) || !self.pixels.mean.iter().all(|mean| mean.is_finite()) {
            return Err(Error::new("the network's pixel range must be finite, with white above 0"));
        }
        match self.output {
            OutputMap::Tanh { scale } if !positive(scale) => {
                Err(Error::new(format!("the network's output has a scale of {scale}, expected a number above 0")))
            }
            _ => Ok(()),
        }
    }
}

impl Layer {
    fn fault(&self, what: &str) -> Error {
        Error::new(format!("layer `{}` {what}", self.convolution.name))
    }
}

impl Convolution {
    fn validate(&self) -> Result<(), String> {
        let Self { outputs, kernel, resampling, padding, .. } = self;
        if *outputs == 0 {
            return Err("has no output channels".into());
        }
        if !(1..=MAX_KERNEL).contains(kernel) {
            return Err(format!("has a kernel of {kernel}x{kernel}, expected 1x1 to {MAX_KERNEL}x{MAX_KERNEL}"));
        }
        let factor = match *resampling {
            Resampling::None => FACTOR,
            Resampling::Stride(factor) | Resampling::Nearest(factor) => factor,
            Resampling::Transposed { stride, output_padding } => {
                if !matches!(padding, Padding::Zero(pad) if pad < kernel) {
                    return Err("is transposed and needs a zero padding smaller than its kernel".into());
                }
                if output_padding >= stride {
                    return Err(format!("has an output padding of {output_padding}, expected less than its stride"));
                }
                stride
            }
        };
        if factor != FACTOR {
            return Err(format!("changes the size by a factor of {factor}, expected {FACTOR}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Residual, StyleNetConfig};
    use super::*;

    /// The error for a small network with this change.
    fn fault(change: impl FnOnce(&mut Network)) -> String {
        let mut network = StyleNetConfig { channels: 2, blocks: 1 }.network();
        network.validate().unwrap();
        change(&mut network);
        network.validate().unwrap_err().to_string()
    }

    #[test]
    fn layers_that_do_not_fit_together_are_named() {
        let found = fault(|network| network.layers[1].convolution.outputs = 5);
        assert_eq!(found, "layer `conv3.conv2d` expects 4 channels, but its input has 5");
        let found = fault(|network| network.layers[4].residual = Some(Residual { layers: 3, crop: 0 }));
        assert_eq!(found, "layer `res1.conv2.conv2d` adds a residual of 4 channels to a result of 8");
        let found = fault(|network| network.layers[0].residual = Some(Residual { layers: 1, crop: 0 }));
        assert!(
            found.starts_with("layer `conv1.conv2d` has a residual that is not the result of an earlier layer"),
            "{found}"
        );
        let found = fault(|network| network.layers[3].convolution.name = "conv1.conv2d".into());
        assert_eq!(found, "tensor `conv1.conv2d.weight` belongs to two layers");
        assert_eq!(fault(|network| network.layers.clear()), "the network has no layers");
    }

    #[test]
    fn unsupported_layers_are_named() {
        let found = fault(|network| network.layers[1].convolution.resampling = Resampling::Stride(3));
        assert_eq!(found, "layer `conv2.conv2d` changes the size by a factor of 3, expected 2");
        let transposed = Resampling::Transposed { stride: 2, output_padding: 1 };
        let found = fault(|network| network.layers[5].convolution.resampling = transposed);
        assert!(found.starts_with("layer `deconv1.conv2d` is transposed and needs a zero padding"), "{found}");
        let found = fault(|network| network.layers[5].convolution.resampling = Resampling::None);
        assert_eq!(
            found,
            "layer `conv1.conv2d` is the first layer of a network that does not restore the size of the picture"
        );
        let found = fault(|network| network.layers[7].activation = Activation::Relu);
        assert!(found.starts_with("layer `deconv3.conv2d` is the last layer: only"), "{found}");
        let found = fault(|network| network.output = OutputMap::Tanh { scale: f32::NAN });
        assert_eq!(found, "the network's output has a scale of NaN, expected a number above 0");
    }

    #[test]
    fn a_description_survives_json() {
        let network = StyleNetConfig::default().network();
        let json = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
    }
}
