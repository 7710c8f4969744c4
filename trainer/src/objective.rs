//! The objective: J = alpha J_content + beta J_style + gamma J_tv (Gatys et al., 2015; Johnson et al., 2016).
//!
//! Training, optimising a picture and evaluating a network all use this objective.

mod config;
mod content;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, DType, Tensor};
use impasto_common::Result;
use impasto_nn::ops;

pub use self::config::{Convention, ObjectiveConfig};
pub use self::content::{ContentFeatures, ContentTarget};
use impasto_nn::loss_network::{Layer, LossNetwork};

/// The objective of one style. Its style targets are computed once.
#[derive(Debug, Clone)]
pub struct Objective {
    network: LossNetwork,
    config: ObjectiveConfig,
    styles: BTreeMap<Layer, StyleTarget>,
    layers: BTreeSet<Layer>,
    content_layers: BTreeSet<Layer>,
}

/// The style's Gram matrix `(1, channels, channels)` at one layer, averaged over positions, and its squared norm.
#[derive(Debug, Clone)]
struct StyleTarget {
    gram: Tensor,
    energy: f64,
}

/// The value of the objective for a batch, averaged over its pictures. All tensors are scalars.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The objective: the sum of the terms below.
    pub total: Tensor,
    /// The content loss times its weight.
    pub content: Tensor,
    /// The style loss times its weight.
    pub style: Tensor,
    /// The total variation times its weight.
    pub tv: Tensor,
    /// The temporal loss times its weight; `None` if the training does not use it, and for a single picture.
    pub temporal: Option<Tensor>,
    /// The scaled but unweighted distance at every layer, under names such as `content.relu3_3`.
    pub layers: Vec<(String, Tensor)>,
}

impl Losses {
    /// Adds the weighted temporal loss as another term.
    ///
    /// # Errors
    ///
    /// If the temporal loss is not a scalar.
    pub fn with_temporal(self, temporal: Tensor) -> Result<Self> {
        Ok(Self { total: (&self.total + &temporal)?, temporal: Some(temporal), ..self })
    }

    /// The same figures, detached from the graph, so that the memory of the backward pass is freed.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            total: self.total.detach(),
            content: self.content.detach(),
            style: self.style.detach(),
            tv: self.tv.detach(),
            temporal: self.temporal.as_ref().map(Tensor::detach),
            layers: self.layers.iter().map(|(name, value)| (name.clone(), value.detach())).collect(),
        }
    }
}

impl Objective {
    /// Computes the targets of `style` `(1, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, or the loss network does not reach a layer.
    pub fn new(network: LossNetwork, style: &Tensor, config: &ObjectiveConfig) -> Result<Self> {
        config.validate()?;
        let network = network.with_padding(config.loss_padding);
        let (content_layers, style_layers) = (config.used_content_layers(), config.used_style_layers());
        let layers = config.layers();
        network.require(layers.iter().copied())?;
        let features = network.features(&style.detach(), &style_layers)?;
        let styles = features.into_iter().map(|(layer, features)| Ok((layer, StyleTarget::new(&features)?)));
        let styles = styles.collect::<Result<_>>()?;
        Ok(Self { network, config: config.clone(), styles, layers, content_layers })
    }

    /// The configuration of this objective.
    #[must_use]
    pub fn config(&self) -> &ObjectiveConfig {
        &self.config
    }

    /// Computes the content target of photos `(batch, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// # Errors
    ///
    /// If the photos are too small for the loss network.
    pub fn content_target(&self, photos: &Tensor) -> Result<ContentTarget> {
        let features = self.content_features(photos)?;
        let magnitudes = features.magnitudes().cloned();
        features.target(magnitudes.as_ref())
    }

    /// The first half of [`Self::content_target`], for the photos of a micro-batch: the second half needs a mean over the batch.
    ///
    /// # Errors
    ///
    /// If the photos are too small for the loss network.
    pub fn content_features(&self, photos: &Tensor) -> Result<ContentFeatures> {
        let features = self.network.features(&photos.detach(), &self.content_layers)?;
        ContentFeatures::new(features, self.config.convention)
    }

    /// The losses of `painted` against the `photos` that it was painted from, both `(batch, 3, height, width)`, RGB in
    /// `[0, 255]`.
    ///
    /// # Errors
    ///
    /// If the shapes differ or are too small for the loss network.
    pub fn losses(&self, painted: &Tensor, photos: &Tensor) -> Result<Losses> {
        self.losses_to(painted, &self.content_target(photos)?)
    }

    /// Like [`Self::losses`], for a content target that is already computed.
    ///
    /// # Errors
    ///
    /// If the shapes differ or are too small for the loss network.
    pub fn losses_to(&self, painted: &Tensor, photos: &ContentTarget) -> Result<Losses> {
        let features = self.network.features(painted, &self.layers)?;
        let zero = Tensor::zeros((), DType::F32, painted.device())?;
        let (mut content, mut style, mut layers) = (zero.clone(), zero.clone(), Vec::new());
        for (layer, (target, factor)) in photos.layers() {
            let distance = (ops::mse(&features[layer], target)? * factor)?;
            content = (content + (&distance * self.config.content_layers[layer])?)?;
            layers.push((format!("content.{layer}"), distance));
        }
        for (layer, target) in &self.styles {
            let distance = target.distance(&features[layer], self.config.convention)?;
            style = (style + (&distance * self.config.style_layers[layer])?)?;
            layers.push((format!("style.{layer}"), distance));
        }
        let content = (content * self.config.content_weight)?;
        let style = (style * self.config.style_weight)?;
        let tv = match self.config.tv_weight {
            0.0 => zero,
            weight => (total_variation(painted)? * weight)?,
        };
        let total = ((&content + &style)? + &tv)?;
        Ok(Losses { total, content, style, tv, temporal: None, layers })
    }
}

impl StyleTarget {
    fn new(features: &Tensor) -> Result<Self> {
        let gram = mean_gram(features)?.mean_keepdim(0)?;
        let energy = f64::from(gram.sqr()?.sum_all()?.to_scalar::<f32>()?);
        Ok(Self { gram, energy })
    }

    /// The scaled squared distance to the Gram matrices of `features`, averaged over the batch.
    fn distance(&self, features: &Tensor, convention: Convention) -> Result<Tensor> {
        let (batch, channels, height, width) = features.dims4()?;
        let squared = mean_gram(features)?.broadcast_sub(&self.gram)?.sqr()?.sum_all()?;
        Ok((squared * (convention.style_scale(channels, height * width, self.energy) / batch as f64))?)
    }
}

/// Gram matrices averaged over positions: `(batch, channels, channels)`.
fn mean_gram(features: &Tensor) -> Result<Tensor> {
    let positions = features.dim(D::Minus1)? * features.dim(D::Minus2)?;
    Ok((ops::gram(features)? / positions as f64)?)
}

/// Mean squared difference between neighbouring pixels, in units of the whole range: about 0.005 for a photo.
///
/// The average over the picture makes the weight independent of the size, unlike Johnson et al.'s sum.
fn total_variation(xs: &Tensor) -> Result<Tensor> {
    Ok((ops::total_variation(xs)? / (255.0 * 255.0))?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use impasto_common::weights::Tensors;

    use super::*;
    use impasto_nn::loss_network::{Architecture, LossPadding};

    /// Two convolutions that let the first channels of their input through, so that features are known by hand.
    fn identity_network() -> LossNetwork {
        let mut tensors = Tensors::new();
        for (index, (outputs, inputs)) in [(0, (2, 3)), (2, (2, 2))] {
            let mut weight = vec![0f32; outputs * inputs * 9];
            for channel in 0..2 {
                weight[(channel * inputs + channel) * 9 + 4] = 1.0;
            }
            let weight = impasto_common::weights::Array::new([outputs, inputs, 3, 3], weight).unwrap();
            tensors.insert(format!("features.{index}.weight"), weight);
            tensors.insert(
                format!("features.{index}.bias"),
                impasto_common::weights::Array::new([outputs], vec![0.0; outputs]).unwrap(),
            );
        }
        LossNetwork::new(Architecture::Vgg16, &tensors, &Device::Cpu).unwrap()
    }

    /// A picture of one colour whose features are `red` and `green` after the network's normalisation of its input.
    fn picture(red: f32, green: f32, size: usize) -> Tensor {
        let levels = [(red * 0.229 + 0.485) * 255.0, (green * 0.224 + 0.456) * 255.0, 0.0];
        let colour = Tensor::from_slice(&levels, (1, 3, 1, 1), &Device::Cpu).unwrap();
        colour.broadcast_as((1, 3, size, size)).unwrap().contiguous().unwrap()
    }

    fn config(convention: Convention) -> ObjectiveConfig {
        let layer: Layer = "relu1_2".parse().unwrap();
        ObjectiveConfig {
            content_weight: 2.0,
            style_weight: 3.0,
            tv_weight: 0.0,
            content_layers: [(layer, 1.0)].into(),
            style_layers: [(layer, 0.5)].into(),
            convention,
            loss_padding: LossPadding::Zero,
        }
    }

    fn scalar(tensor: &Tensor) -> f64 {
        f64::from(tensor.to_scalar::<f32>().unwrap())
    }

    fn assert_close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= 1e-4 * expected.abs().max(1e-3), "{actual} instead of {expected}");
    }

    #[test]
    fn every_convention_gives_the_number_worked_out_by_hand() {
        // Painting (2, 1), style (1, 1), photo (1, 1): G = [4 2; 2 1], S = all ones, ||G - S||^2 = 9 + 1 + 1 + 0 = 11.
        // Content: mean of ((2 - 1)^2, 0) = 1/2, relative to the photo's mean square 1. C = 2, M = 16.
        let cases = [
            (Convention::Relative, 0.5, 11.0 / 4.0),
            (Convention::Seed, 0.5, 11.0 * 16.0 / (2.0 * 2.0)),
            (Convention::Johnson, 0.5, 11.0 / 4.0),
            (Convention::Gatys, 0.5, 11.0 / 16.0),
        ];
        for (convention, content, style) in cases {
            // The style image has another size: only averages over positions count.
            let objective = Objective::new(identity_network(), &picture(1.0, 1.0, 6), &config(convention)).unwrap();
            let losses = objective.losses(&picture(2.0, 1.0, 4), &picture(1.0, 1.0, 4)).unwrap();
            assert_close(scalar(&losses.content), 2.0 * content);
            assert_close(scalar(&losses.style), 3.0 * 0.5 * style);
            assert_close(scalar(&losses.total), 2.0 * content + 1.5 * style);
            let names: Vec<_> = losses.layers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["content.relu1_2", "style.relu1_2"]);
            assert_close(scalar(&losses.layers[1].1), style);
        }
    }

    #[test]
    fn relative_terms_do_not_depend_on_the_scale_of_the_activations() {
        let value = |factor: f32| {
            let (painted, photo) = (picture(2.0 * factor, factor, 4), picture(factor, factor, 4));
            let objective = Objective::new(identity_network(), &photo, &config(Convention::Relative)).unwrap();
            scalar(&objective.losses(&painted, &photo).unwrap().total)
        };
        assert_close(value(20.0), value(1.0));
    }

    #[test]
    fn a_batch_counts_as_the_average_of_its_pictures() {
        let style = picture(1.0, 2.0, 4);
        let objective = Objective::new(identity_network(), &style, &config(Convention::Gatys)).unwrap();
        let (a, b, photo) = (picture(2.0, 1.0, 4), picture(3.0, 1.0, 4), picture(1.0, 1.0, 4));
        let apart = [&a, &b].map(|painted| scalar(&objective.losses(painted, &photo).unwrap().total));
        let batch = [&a, &b].map(Tensor::clone);
        let (batch, photos) = (Tensor::cat(&batch, 0).unwrap(), Tensor::cat(&[&photo, &photo], 0).unwrap());
        assert_close(scalar(&objective.losses(&batch, &photos).unwrap().total), f64::midpoint(apart[0], apart[1]));
    }

    #[test]
    fn total_variation_of_a_checkerboard_is_all_neighbours_different() {
        let board: Vec<f32> = (0..4).map(|i| if (i / 2 + i % 2) % 2 == 0 { 0.0 } else { 255.0 }).collect();
        let board = Tensor::from_vec(board, (1, 1, 2, 2), &Device::Cpu).unwrap();
        assert_close(scalar(&total_variation(&board).unwrap()), 1.0);
    }

    #[test]
    fn the_gradient_of_the_picture_agrees_with_differences() {
        let (style, photo) = (picture(1.0, 2.0, 6), picture(1.0, 1.0, 4));
        let noise: Vec<f32> = (0..48u8).map(|i| 120.0 + f32::from(i * 37 % 97)).collect();
        let at = |values: &[f32]| {
            Var::from_tensor(&Tensor::from_slice(values, (1, 3, 4, 4), &Device::Cpu).unwrap()).unwrap()
        };
        let config = ObjectiveConfig { tv_weight: 0.5, ..config(Convention::Relative) };
        let objective = Objective::new(identity_network(), &style, &config).unwrap();
        let picture = at(&noise);
        let grads = objective.losses(&picture, &photo).unwrap().total.backward().unwrap();
        let gradient = grads.get(&picture).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in [0, 5, 17, 20] {
            let value = |delta: f32| {
                let mut moved = noise.clone();
                moved[i] += delta;
                scalar(&objective.losses(&at(&moved), &photo).unwrap().total)
            };
            let difference = (value(1.0) - value(-1.0)) / 2.0;
            assert!((difference - f64::from(gradient[i])).abs() < 2e-2 * difference.abs() + 1e-6, "{i}");
        }
    }

    #[test]
    fn a_missing_layer_is_named() {
        let mut config = config(Convention::Relative);
        config.style_layers = [("relu3_3".parse().unwrap(), 1.0)].into();
        let error = Objective::new(identity_network(), &picture(1.0, 1.0, 4), &config).unwrap_err();
        assert_eq!(error.to_string(), "the loss network's weights end at `relu1_2`, before `relu3_3`");
    }

    #[test]
    fn negative_weights_are_refused() {
        let config = ObjectiveConfig { style_weight: -1.0, ..ObjectiveConfig::default() };
        assert!(config.validate().unwrap_err().to_string().contains("--style-weight"));
    }
}
