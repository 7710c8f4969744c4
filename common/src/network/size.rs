//! The sizes of a network's results, and the number of operations to compute them. Sizes are `(height, width)` in pixels.

use super::{Convolution, Network, Padding, Resampling};
use crate::{Error, Result};

/// The sides that [`Network::smallest_side`] tries. A network that accepts none of them is taken to accept no picture.
const SIDES: usize = 4096;

impl Network {
    /// The size of every layer's result for a picture of `size`.
    ///
    /// The last layer's result may be larger than the picture; the painting is its top left part.
    ///
    /// # Errors
    ///
    /// If a reflection or a kernel is larger than its input, an addend differs in size from the result that it is added to,
    /// or the painting would be smaller than the picture.
    pub fn sizes(&self, size: (usize, usize)) -> Result<Vec<(usize, usize)>> {
        let mut sizes = Vec::with_capacity(self.layers.len());
        let mut current = size;
        for (index, layer) in self.layers.iter().enumerate() {
            let name = &layer.convolution.name;
            let (Some(height), Some(width)) =
                (layer.convolution.result_side(current.0), layer.convolution.result_side(current.1))
            else {
                return Err(Error::new(format!("layer `{name}` cannot convolve a picture of {}", prose(current))));
            };
            current = (height, width);
            sizes.push(current);
            if let (Some(residual), Some(added)) = (layer.residual, self.added(index)) {
                let cut = |side: usize| side.checked_sub(2 * residual.crop);
                let (height, width) = sizes[added];
                if (cut(height), cut(width)) != (Some(current.0), Some(current.1)) {
                    let (added, own) = (prose(sizes[added]), prose(current));
                    let crop = residual.crop;
                    return Err(Error::new(format!(
                        "layer `{name}` adds a result of {added}, cropped by {crop} pixels on each side, to a result of {own}"
                    )));
                }
            }
        }
        if current.0 < size.0 || current.1 < size.1 {
            let (picture, painting) = (prose(size), prose(current));
            return Err(Error::new(format!("the painting of a picture of {picture} would have only {painting}")));
        }
        Ok(sizes)
    }

    /// The smallest side of a picture that the network accepts: [`Self::sizes`] succeeds for it and for all larger ones.
    ///
    /// If the network accepts no picture, this is larger than any picture's side.
    #[must_use]
    pub fn smallest_side(&self) -> usize {
        // Rounding of sizes repeats with the step.
        let step = self.step();
        let taken = |side: usize| self.sizes((side, side)).is_ok();
        (1..=SIDES).find(|&side| (side..side + step).all(taken)).unwrap_or(usize::MAX)
    }

    /// The distance of two pixels of the coarsest level, in pixels of the picture: moving a picture by a multiple of it moves
    /// the painting's strokes by as much.
    #[must_use]
    pub fn step(&self) -> usize {
        1 << self.levels().into_iter().max().unwrap_or(0).clamp(0, 6)
    }

    /// For each layer, how many times its result is halved relative to the picture: 0 is full size, 2 is a quarter of each
    /// side.
    #[must_use]
    pub fn levels(&self) -> Vec<i32> {
        let change = |resampling| match resampling {
            Resampling::None => 0,
            Resampling::Stride(_) => 1,
            Resampling::Nearest(_) | Resampling::Transposed { .. } => -1,
        };
        let mut level = 0;
        let layers = self.layers.iter();
        layers
            .map(|layer| {
                level += change(layer.convolution.resampling);
                level
            })
            .collect()
    }

    /// Operations on a picture of `size`, two for each multiply-add of the convolutions as the layers define them.
    ///
    /// The sum over all convolutions of `2 * inputs * outputs * kernel^2 * height * width`, where height and width are
    /// those of the convolution's result, or of its input if it is transposed. An upsampling convolution thus counts as a
    /// convolution of the enlarged picture. Biases, normalization, activation and additions are left out: they amount to a
    /// few thousandths. This measures the task; a kernel such as Winograd's may need fewer operations.
    ///
    /// # Errors
    ///
    /// As [`Self::sizes`].
    pub fn operations(&self, size: (usize, usize)) -> Result<f64> {
        let results = self.sizes(size)?;
        let mut input = size;
        let mut operations = 0.0;
        for (layer, &result) in self.layers.iter().zip(&results) {
            let Convolution { inputs, outputs, kernel, resampling, .. } = layer.convolution;
            let (height, width) = if let Resampling::Transposed { .. } = resampling { input } else { result };
            operations += 2.0 * (inputs * kernel * kernel * outputs) as f64 * (height * width) as f64;
            input = result;
        }
        Ok(operations)
    }
}

impl Convolution {
    /// Height or width of the result, from that of the input; `None` if the kernel or a reflection does not fit.
    fn result_side(&self, side: usize) -> Option<usize> {
        let pad = self.padding.pixels();
        let enlarged = if let Resampling::Nearest(factor) = self.resampling { factor * side } else { side };
        if matches!(self.padding, Padding::Reflect(pad) if pad >= enlarged) {
            return None;
        }
        let result = match self.resampling {
            Resampling::Transposed { stride, output_padding } => {
                (side.checked_sub(1)? * stride + self.kernel + output_padding).checked_sub(2 * pad)?
            }
            Resampling::Stride(stride) => (side + 2 * pad).checked_sub(self.kernel)? / stride + 1,
            Resampling::None | Resampling::Nearest(_) => (enlarged + 2 * pad + 1).checked_sub(self.kernel)?,
        };
        (side > 0 && result > 0).then_some(result)
    }
}

/// A size as shown to users: width x height.
fn prose((height, width): (usize, usize)) -> String {
    format!("{width}x{height} pixels")
}

#[cfg(test)]
mod tests {
    use super::super::{Preset, StyleNetConfig};
    use super::*;

    #[test]
    fn sizes_halve_rounded_up_and_double() {
        let config = StyleNetConfig { blocks: 0, ..Preset::Xs.into() };
        let expected = [(5, 7), (3, 4), (2, 2), (4, 4), (8, 8), (8, 8)];
        assert_eq!(config.network().sizes((5, 7)).unwrap(), expected);
        assert_eq!(config.network().levels(), [0, 1, 2, 1, 0, 0]);
        assert_eq!(config.network().step(), 4);
    }

    #[test]
    fn a_transposed_convolution_gives_the_same_size_as_pytorch() {
        // (side - 1) * stride - 2 * padding + kernel + output_padding.
        let mut convolution = StyleNetConfig::default().network().layers[3].convolution.clone();
        convolution.resampling = Resampling::Transposed { stride: 2, output_padding: 1 };
        convolution.padding = Padding::Zero(1);
        assert_eq!([1, 2, 7].map(|side| convolution.result_side(side)), [Some(2), Some(4), Some(14)]);
    }

    #[test]
    fn a_reflection_as_large_as_the_picture_is_named() {
        let error = StyleNetConfig::default().network().sizes((4, 9)).unwrap_err().to_string();
        assert_eq!(error, "layer `conv1.conv2d` cannot convolve a picture of 9x4 pixels");
    }

    #[test]
    fn the_residual_of_a_block_without_padding_must_be_cropped_and_the_picture_padded_for_it() {
        let mut network = StyleNetConfig { channels: 2, blocks: 1 }.network();
        network.layers[3].convolution.padding = Padding::Zero(0);
        let error = network.sizes((40, 40)).unwrap_err().to_string();
        assert_eq!(
            error,
            "layer `res1.conv2.conv2d` adds a result of 10x10 pixels, cropped by 0 pixels on each side, to a result of 8x8 pixels"
        );
        network.layers[4].residual = Some(crate::network::Residual { layers: 2, crop: 1 });
        let error = network.sizes((40, 40)).unwrap_err().to_string();
        assert_eq!(error, "the painting of a picture of 40x40 pixels would have only 32x32 pixels");
        network.layers[0].convolution.padding = Padding::Reflect(8);
        assert_eq!(network.sizes((40, 40)).unwrap().last(), Some(&(40, 40)));
    }
}
