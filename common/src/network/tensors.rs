//! The tensors of a network: names, shapes, values.

use super::{Convolution, Layer, Network, Resampling};
use crate::weights::Tensors;
use crate::{Error, Result};

impl Network {
    /// The names and shapes of all tensors, in the order of the layers.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.layers.iter().flat_map(Layer::tensors).collect()
    }

    /// Checks that every tensor of the network is among `tensors`, with the expected shape.
    ///
    /// # Errors
    ///
    /// If one is missing, or of another shape: both shapes are named.
    pub fn check(&self, tensors: &Tensors) -> Result<()> {
        self.tensors().iter().try_for_each(|(name, shape)| values(tensors, name, shape).map(drop))
    }
}

impl Layer {
    /// The names and shapes of the convolution's weight and bias, then of the normalization's.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let outputs = self.convolution.outputs;
        let mut tensors = vec![
            (self.convolution.weight_name(), self.convolution.weight_shape().to_vec()),
            (self.convolution.bias_name(), vec![outputs]),
        ];
        if let Some(norm) = &self.normalization {
            tensors.extend(["weight", "bias"].map(|part| (format!("{}.{part}", norm.name), vec![outputs])));
        }
        tensors
    }
}

impl Convolution {
    /// The name of the weight.
    #[must_use]
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// The name of the bias, `(outputs)`.
    #[must_use]
    pub fn bias_name(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// The shape of the weight: `(outputs, inputs, kernel, kernel)`, or `(inputs, outputs, kernel, kernel)` if transposed.
    #[must_use]
    pub fn weight_shape(&self) -> [usize; 4] {
        let (first, second) = match self.resampling {
            Resampling::Transposed { .. } => (self.inputs, self.outputs),
            _ => (self.outputs, self.inputs),
        };
        [first, second, self.kernel, self.kernel]
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
