//! The weights and layers of an objective, and the conventions by which its distances are scaled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use impasto_common::{Error, Result};
use serde::{Deserialize, Serialize};

use impasto_nn::loss_network::{Layer, LossPadding};

/// How the raw distances are scaled before they are weighted.
///
/// With F the features of the painting and P those of the photo at a layer of C channels and M positions, and G and S the
/// Gram matrices of the painting and of the style, *averaged* over positions (so that the style image may have any size):
///
/// | convention | content | style | origin |
/// |-|-|-|-|
/// | `relative` | mean (F - P)^2 / mean P^2 | \|\|G - S\|\|^2 / \|\|S\|\|^2 | here |
/// | `seed` | mean (F - P)^2 | M / (2 C) \|\|G - S\|\|^2 | Gram sums over positions, 1 / (2 M C) |
/// | `johnson` | mean (F - P)^2 | 1 / C^2 \|\|G - S\|\|^2 | Gram / (C M) |
/// | `gatys` | mean (F - P)^2 | 1 / (4 C^2) \|\|G - S\|\|^2 | Gram sums, 1 / (4 C^2 M^2) |
///
/// Where the original sums over positions and the style image has another size than the painting, its Gram matrix counts
/// as if it had the painting's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// Every term is relative to the magnitude of its target. The same weights suit any style and any loss network,
    /// whatever the scale of its activations.
    #[default]
    Relative,
    /// Gram matrices summed over positions, squared distance over `2 n_H n_W n_C`.
    Seed,
    /// Gram matrices divided by `C H W`, squared distance.
    Johnson,
    /// Gram matrices summed over positions, squared distance over `4 N^2 M^2`.
    Gatys,
}

impl Convention {
    /// All conventions.
    pub const ALL: [Self; 4] = [Self::Relative, Self::Seed, Self::Johnson, Self::Gatys];

    /// The factor for the squared distance of position-averaged Gram matrices.
    pub(super) fn style_scale(self, channels: usize, positions: usize, target_energy: f64) -> f64 {
        let channels = channels as f64;
        match self {
            Self::Relative => 1.0 / target_energy.max(f64::MIN_POSITIVE),
            Self::Seed => positions as f64 / (2.0 * channels),
            Self::Johnson => 1.0 / (channels * channels),
            Self::Gatys => 1.0 / (4.0 * channels * channels),
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "relative",
            Self::Seed => "seed",
            Self::Johnson => "johnson",
            Self::Gatys => "gatys",
        })
    }
}

impl FromStr for Convention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|convention| convention.to_string() == text);
        found.ok_or_else(|| "expected `relative`, `seed`, `johnson` or `gatys`".into())
    }
}

/// The weights and layers of an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveConfig {
    /// Weight of the content loss, alpha. Default: 1.
    pub content_weight: f64,
    /// Weight of the style loss, beta.
    pub style_weight: f64,
    /// Weight of the total variation, gamma.
    pub tv_weight: f64,
    /// Layers of the content loss, each with its weight.
    pub content_layers: BTreeMap<Layer, f64>,
    /// Layers of the style loss, each with its weight.
    pub style_layers: BTreeMap<Layer, f64>,
    /// How distances are scaled.
    pub convention: Convention,
    /// How the loss network pads. Default: by reflection; styles that do not say were trained with zeros.
    #[serde(default = "zero_padding")]
    pub loss_padding: LossPadding,
}

fn zero_padding() -> LossPadding {
    LossPadding::Zero
}

/// The layers whose weight, times that of their term, is not 0.
fn used(layers: &BTreeMap<Layer, f64>, weight: f64) -> BTreeSet<Layer> {
    layers.iter().filter(|&(_, &layer)| layer * weight > 0.0).map(|(&layer, _)| layer).collect()
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        let layers = |names: &[&str]| names.iter().filter_map(|name| Some((name.parse().ok()?, 1.0))).collect();
        Self {
            content_weight: 1.0,
            style_weight: 20.0,
            tv_weight: 1.0,
            content_layers: layers(&["relu2_2"]),
            style_layers: layers(&["relu1_2", "relu2_2", "relu3_3"]),
            convention: Convention::default(),
            loss_padding: LossPadding::Reflect,
        }
    }
}

impl ObjectiveConfig {
    /// The layers whose features have a weight.
    #[must_use]
    pub fn layers(&self) -> BTreeSet<Layer> {
        self.used_content_layers().union(&self.used_style_layers()).copied().collect()
    }

    /// The layers of the content loss that have a weight.
    pub(super) fn used_content_layers(&self) -> BTreeSet<Layer> {
        used(&self.content_layers, self.content_weight)
    }

    /// The layers of the style loss that have a weight.
    pub(super) fn used_style_layers(&self) -> BTreeSet<Layer> {
        used(&self.style_layers, self.style_weight)
    }

    /// Checks that the weights are valid and not all zero.
    ///
    /// # Errors
    ///
    /// If a weight is negative or not finite, or all are zero.
    pub fn validate(&self) -> Result<()> {
        let weights = [
            ("--content-weight", self.content_weight),
            ("--style-weight", self.style_weight),
            ("--tv-weight", self.tv_weight),
        ];
        let layers = self.content_layers.values().chain(self.style_layers.values());
        let layers = layers.map(|&weight| ("the weight of a layer", weight));
        for (name, weight) in weights.into_iter().chain(layers) {
            if !weight.is_finite() || weight < 0.0 {
                return Err(Error::usage(format!("{name} is {weight}, expected a number of at least 0")));
            }
        }
        if self.content_weight + self.style_weight == 0.0 {
            return Err(Error::usage("`--content-weight` and `--style-weight` are both 0: nothing to paint"));
        }
        Ok(())
    }
}
