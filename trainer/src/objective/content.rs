//! The target of the content loss.
//!
//! It is computed in two steps, because the convention `relative` divides by the mean square of the features of a whole batch,
//! while a process or a micro-batch sees only its own photos.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use impasto_common::Result;
use impasto_nn::ops;

use super::Convention;
use impasto_nn::loss_network::Layer;

/// The features that the content loss compares with, of the photos of a batch or a micro-batch, and their magnitudes.
#[derive(Debug, Clone)]
pub struct ContentFeatures {
    features: BTreeMap<Layer, Tensor>,
    /// Their mean squares by layer, `(layers,)`: ones if the convention does not use them, `None` if there is no layer.
    magnitudes: Option<Tensor>,
}

/// The target of the content loss: the features of the photos, and the factor 1 / mean square at each layer.
#[derive(Debug, Clone)]
pub struct ContentTarget {
    /// At each layer, the features and the factor for their distance, a scalar.
    features: BTreeMap<Layer, (Tensor, Tensor)>,
}

impl ContentFeatures {
    pub(super) fn new(features: BTreeMap<Layer, Tensor>, convention: Convention) -> Result<Self> {
        let magnitudes = features.values().map(|features| match convention {
            Convention::Relative => ops::mean_square(features),
            _ => Tensor::ones((), DType::F32, features.device()),
        });
        let magnitudes = magnitudes.collect::<candle_core::Result<Vec<_>>>()?;
        let magnitudes = (!magnitudes.is_empty()).then(|| Tensor::stack(&magnitudes, 0)).transpose()?;
        Ok(Self { features, magnitudes })
    }

    /// The magnitudes of these features, one for each layer; `None` if content has no weight. Their mean over all micro-batches
    /// is that of the batch. They stay on the device: nothing is read back.
    #[must_use]
    pub fn magnitudes(&self) -> Option<&Tensor> {
        self.magnitudes.as_ref()
    }

    /// The target, given the magnitudes of the whole batch.
    ///
    /// # Errors
    ///
    /// If the number of magnitudes differs from the number of layers.
    pub fn target(self, magnitudes: Option<&Tensor>) -> Result<ContentTarget> {
        let Some(magnitudes) = magnitudes else { return Ok(ContentTarget { features: BTreeMap::new() }) };
        let factors = magnitudes.recip()?;
        let features = self.features.into_iter().enumerate();
        let features = features.map(|(at, (layer, features))| Ok((layer, (features, factors.get(at)?))));
        Ok(ContentTarget { features: features.collect::<Result<_>>()? })
    }
}

impl ContentTarget {
    /// At each layer, the features and the factor for their distance.
    pub(super) fn layers(&self) -> &BTreeMap<Layer, (Tensor, Tensor)> {
        &self.features
    }
}
