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
    /// The weights of the loss network; none fetches them from the Hugging Face hub, or from its cache
    /// ([`crate::loss_weights`]).
    pub loss_weights: Option<PathBuf>,
    /// The style whose weights the training starts from; none starts from random ones.
    pub init_from: Option<PathBuf>,
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
