//! The arguments of the objective, shared by all commands that have them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use impasto_common::Result;

use super::download;
use crate::loss_weights::LossWeights;
use crate::objective::{Convention, ObjectiveConfig};
use impasto_nn::loss_network::{Architecture, Layer, LossPadding};

/// The arguments of the objective.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objective")]
pub(super) struct ObjectiveArgs {
    /// Loss network: `vgg16` or `vgg19`
    #[arg(long, value_name = "NAME", default_value_t = Architecture::default())]
    pub(super) loss_network: Architecture,
    /// Weights of the loss network: a `.safetensors` or `.pth` file with torchvision's names [default: built in for VGG-16 up to
    /// `relu3_3`; otherwise downloaded once (0.55 GB) and cached]
    #[arg(long, value_name = "FILE")]
    pub(super) loss_weights: Option<PathBuf>,
    /// Weight of the content loss: how much of the photo to keep
    #[arg(long, value_name = "WEIGHT", default_value_t = ObjectiveConfig::default().content_weight)]
    content_weight: f64,
    /// Weight of the style loss: how much of the painting's style to apply
    #[arg(long, value_name = "WEIGHT", default_value_t = ObjectiveConfig::default().style_weight)]
    style_weight: f64,
    /// Weight of the total variation: how smooth the result is
    #[arg(long, value_name = "WEIGHT", default_value_t = ObjectiveConfig::default().tv_weight)]
    tv_weight: f64,
    /// Layers of the content loss; append `:WEIGHT` to a layer whose weight is not 1
    #[arg(long, value_name = "LAYERS", default_value_t = Layers(ObjectiveConfig::default().content_layers))]
    content_layers: Layers,
    /// Layers of the style loss; append `:WEIGHT` to a layer whose weight is not 1
    #[arg(long, value_name = "LAYERS", default_value_t = Layers(ObjectiveConfig::default().style_layers))]
    style_layers: Layers,
    /// How losses are scaled before they are weighted: `relative` (to their target), `seed`, `johnson` or `gatys`
    #[arg(long, value_name = "NAME", default_value_t = Convention::default())]
    convention: Convention,
    /// Padding in the loss network: `reflect`, or `zero` as in Johnson et al. (2016), which makes networks paint a frame
    #[arg(long, value_name = "NAME", default_value_t = ObjectiveConfig::default().loss_padding)]
    loss_padding: LossPadding,
}

impl ObjectiveArgs {
    /// The configuration that these arguments describe.
    pub(super) fn config(&self) -> ObjectiveConfig {
        ObjectiveConfig {
            content_weight: self.content_weight,
            style_weight: self.style_weight,
            tv_weight: self.tv_weight,
            content_layers: self.content_layers.0.clone(),
            style_layers: self.style_layers.0.clone(),
            convention: self.convention,
            loss_padding: self.loss_padding,
        }
    }

    /// The weights of the loss network; downloads 0.55 GB if they are not built in, the user names no file and none is cached.
    pub(super) fn find_weights(&self, quiet: bool) -> Result<LossWeights> {
        download::loss_weights(self.loss_weights.as_deref(), self.loss_network, &self.config(), quiet)
    }
}

/// Layers with their weights, written `relu1_2,relu2_2:0.5`.
#[derive(Debug, Clone, PartialEq)]
struct Layers(BTreeMap<Layer, f64>);

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let layers = text.split(',').map(|item| {
            let (layer, weight) = item.split_once(':').unwrap_or((item, "1"));
            let weight = weight.parse().map_err(|_| format!("`{weight}` is not a number"))?;
            Ok((layer.trim().parse()?, weight))
        });
        layers.collect::<Result<_, String>>().map(Self)
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (layer, weight)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{layer}")?;
            if (weight - 1.0).abs() > f64::EPSILON {
                write!(f, ":{weight}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_parse_back_from_what_is_shown() {
        for text in ["relu1_2", "relu1_2,relu2_2:0.5,relu3_3"] {
            assert_eq!(text.parse::<Layers>().unwrap().to_string(), text);
        }
        for text in ["", "relu1_2,", "relu9_9", "relu1_2:x"] {
            assert!(text.parse::<Layers>().is_err(), "{text}");
        }
    }
}
