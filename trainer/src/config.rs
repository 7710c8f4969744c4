//! The configuration of a training: everything that determines the bytes of the result. It is stored in the result.

use impasto_common::network::Network;
use impasto_common::network::StyleNetConfig;
use impasto_common::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::objective::ObjectiveConfig;
use crate::precision::TrainPrecision;
use crate::schedule::Schedule;
use impasto_nn::loss_network::Architecture;

/// How long a training lasts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// This many steps of one batch each.
    Steps(usize),
    /// This many passes over all photos.
    Epochs(usize),
    /// As many steps as take this many minutes. The number is fixed when the training starts, from the time that a few steps
    /// take, and then stored as [`Self::Steps`]: a resumed training makes as many steps in all.
    Minutes(f64),
}

impl Length {
    /// The number of steps, of `batch` photos each, on a folder of `photos`; `None` if it depends on the time that they take.
    #[must_use]
    pub fn steps(self, photos: usize, batch: usize) -> Option<usize> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Epochs(epochs) => Some((epochs * photos).div_ceil(batch)),
            Self::Minutes(_) => None,
        }
    }
}

/// The configuration of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Sizes of the network. Default: preset `m`.
    pub network: StyleNetConfig,
    /// The loss network. Default: VGG-16, as in Johnson et al. (2016).
    pub loss_network: Architecture,
    /// The weights and layers of the objective.
    pub objective: ObjectiveConfig,
    /// Weight of the temporal loss, for videos. Default: 0, which is omitted from the JSON, so that older files can be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub temporal_weight: f64,
    /// Short side of the style picture, pixels; a smaller one is not enlarged. Default: 512.
    pub style_size: usize,
    /// Height and width of a training crop, pixels. Default: 160.
    pub size: usize,
    /// If set, each batch has a random crop size from `size` to this. Default: `None`, which is omitted from the JSON.
    ///
    /// A network that was trained on several sizes paints them equally well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_size: Option<usize>,
    /// The short side of a photo before it is cropped lies between `size` and this many times `size`. Default: 1.6.
    pub zoom: f64,
    /// Photos per step. Default: 1; the command line takes 4 on a GPU.
    pub batch: usize,
    /// How long to train. Default: 15 minutes.
    pub length: Length,
    /// Learning rate of Adam. Default: 4e-3.
    pub learning_rate: f64,
    /// The learning rate of the last layer, in units of the others'. Its weights are in levels of 0 to 255, so they have
    /// further to go. Default: 10; 1 is omitted from the JSON, so that older files can be read.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub output_rate: f64,
    /// The schedule of the learning rate. Default: cosine.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises at the start. Default: 10.
    pub warmup: usize,
    /// The largest norm of the gradient; a larger gradient is scaled down to it. 0 means no limit. Default: 10.
    pub clip_norm: f64,
    /// The arithmetic precision. Default: f32, which is omitted from the JSON; the command line chooses by the device.
    #[serde(default, skip_serializing_if = "TrainPrecision::is_f32")]
    pub precision: TrainPrecision,
    /// The seed for the initial weights, the order of photos, crops, flips and temporal changes. Default: 0.
    pub seed: u64,
    /// The number of photos that are held out for evaluation, at most a tenth of the folder. Default: 20, as many as
    /// `trainer evaluate` takes.
    pub held_out: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            network: StyleNetConfig::default(),
            loss_network: Architecture::default(),
            objective: ObjectiveConfig::default(),
            temporal_weight: 0.0,
            style_size: 512,
            size: 160,
            largest_size: None,
            zoom: 1.6,
            batch: 1,
            length: Length::Minutes(15.0),
            learning_rate: 4e-3,
            output_rate: 10.0,
            schedule: Schedule::default(),
            warmup: 10,
            clip_norm: 10.0,
            precision: TrainPrecision::F32,
            seed: 0,
            held_out: 20,
        }
    }
}

impl TrainConfig {
    /// Checks that all values are valid.
    ///
    /// # Errors
    ///
    /// If a value is out of range; the error names the option.
    pub fn validate(&self) -> Result<()> {
        match self.length {
            Length::Steps(steps) => at_least("--steps", steps as f64, 1.0)?,
            Length::Epochs(epochs) => at_least("--epochs", epochs as f64, 1.0)?,
            Length::Minutes(minutes) if minutes.is_finite() && minutes > 0.0 => {}
            Length::Minutes(minutes) => {
                return Err(Error::usage(format!("`--minutes {minutes}` is not a number above 0")));
            }
        }
        let counts = [("--batch", self.batch), ("--preset", self.network.channels), ("--preset", self.network.blocks)];
        for (flag, value) in counts {
            at_least(flag, value as f64, 1.0)?;
        }
        for (flag, size) in [("--size", self.size), ("--style-size", self.style_size)] {
            at_least(flag, size as f64, Network::MIN_SIZE as f64)?;
        }
        if let Some(largest) = self.largest_size {
            at_least("--largest-size", largest as f64, self.size as f64)?;
        }
        at_least("--zoom", self.zoom, 1.0)?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::usage(format!("`--lr {}` is not a number above 0", self.learning_rate)));
        }
        if !(self.output_rate.is_finite() && self.output_rate > 0.0) {
            return Err(Error::usage(format!("`--output-rate {}` is not a number above 0", self.output_rate)));
        }
        at_least("--clip-norm", self.clip_norm, 0.0)?;
        at_least("--temporal-weight", self.temporal_weight, 0.0)?;
        self.objective.validate()
    }
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_one(number: &f64) -> bool {
    number.to_bits() == 1f64.to_bits()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn at_least(flag: &str, value: f64, least: f64) -> Result<()> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(Error::usage(format!("`{flag} {value}` is not a number of at least {least}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_json() {
        let config = TrainConfig::default();
        config.validate().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
        for later in ["temporal", "largest", "precision"] {
            assert!(!json.contains(later), "cards and snapshots without it keep their bytes: {json}");
        }
        let config =
            TrainConfig { temporal_weight: 0.5, largest_size: Some(384), precision: TrainPrecision::Bf16, ..config };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
    }

    #[test]
    fn a_value_out_of_range_is_named_by_its_flag() {
        let message = |config: TrainConfig| config.validate().unwrap_err().to_string();
        let default = TrainConfig::default;
        assert_eq!(message(TrainConfig { batch: 0, ..default() }), "`--batch 0` is not a number of at least 1");
        assert_eq!(message(TrainConfig { learning_rate: 0.0, ..default() }), "`--lr 0` is not a number above 0");
        assert_eq!(message(TrainConfig { zoom: f64::NAN, ..default() }), "`--zoom NaN` is not a number of at least 1");
        assert_eq!(
            message(TrainConfig { largest_size: Some(159), ..default() }),
            "`--largest-size 159` is not a number of at least 160"
        );
        assert_eq!(
            message(TrainConfig { length: Length::Epochs(0), ..default() }),
            "`--epochs 0` is not a number of at least 1"
        );
        for (minutes, shown) in [(0.0, "0"), (-1.0, "-1"), (f64::INFINITY, "inf")] {
            assert_eq!(
                message(TrainConfig { length: Length::Minutes(minutes), ..default() }),
                format!("`--minutes {shown}` is not a number above 0")
            );
        }
    }

    #[test]
    fn an_epoch_ends_with_the_batch_that_holds_its_last_photo() {
        assert_eq!(Length::Epochs(2).steps(5, 4), Some(3));
        assert_eq!(Length::Steps(7).steps(5, 4), Some(7));
        assert_eq!(Length::Minutes(7.0).steps(5, 4), None);
    }
}
