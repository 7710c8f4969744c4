//! What a training is asked for, besides the configuration that decides its result.

use std::path::PathBuf;

use candle_core::Device;
use impasto_common::weights::StoredType;

use crate::peers::Seat;

/// Where a training reads and writes, and what it runs on. Nothing here changes the result, but for the inputs themselves.
#[derive(Debug, Clone)]
pub struct TrainingJob {
    /// The style picture.
    pub style: PathBuf,
    /// The folder of training photos.
    pub photos: PathBuf,
    /// Photos for the contact sheets, instead of some of `photos`.
    pub held_out: Option<PathBuf>,
    /// The weights of the loss network; none takes those of [`crate::loss_weights::LossWeights::find`].
    pub loss_weights: Option<PathBuf>,
    /// The weights that the training starts from.
    pub start: StartWeights,
    /// The style-model file to write.
    pub output: PathBuf,
    /// Its number type, f32 or f16.
    pub dtype: StoredType,
    /// The run folder, for snapshots, metrics and contact sheets.
    pub run_dir: PathBuf,
    /// What to do with an earlier training in the run folder.
    pub earlier: EarlierTraining,
    /// Steps between snapshots.
    pub snapshot_every: usize,
    /// The device to train on.
    pub device: Device,
    /// Which of several processes this is. Their number changes the result only by the order of sums.
    pub seat: Seat,
    /// Threads that prepare photos.
    pub loader_threads: usize,
    /// Memory for decoded photos, bytes.
    pub cache_bytes: usize,
    /// What the model card says.
    pub card: CardText,
}

/// The weights that a training starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartWeights {
    /// Those of a bundled style with the same network ([`crate::init::base`]), otherwise random ones. A training that starts
    /// near its goal needs a fraction of the steps, whatever the two paintings are.
    #[default]
    Base,
    /// Random ones.
    Random,
    /// Those of this style-model file, whose network must have the same sizes.
    File(PathBuf),
}

/// What to do with an earlier training in the run folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlierTraining {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Continue it; start a new training if there is none.
    Resume,
    /// Delete it and start a new one.
    Discard,
}

/// What the model card says besides figures.
#[derive(Debug, Clone, Default)]
pub struct CardText {
    /// The style's name.
    pub name: String,
    /// What the style imitates: painter, title, year.
    pub source: Option<String>,
    /// The licence of the style.
    pub licence: Option<String>,
    /// The command that makes the file.
    pub command: Option<String>,
}
