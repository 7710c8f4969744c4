//! The style-model file: a `.safetensors` file whose header holds a JSON card under the key `impasto`.
//!
//! Tensor names and value ranges are those of pytorch/examples, so files load in both programs.

mod candidates;

use std::collections::{BTreeSet, HashMap};
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::candidates::Candidate;
use crate::network::StyleNetConfig;
use crate::weights::{self, Listing, StoredType, Tensors, WeightFile, unique_keys};
use crate::{Error, Result, ResultExt};

/// The version of the card; a reader refuses a larger one.
pub const FORMAT: u32 = 1;

const CARD_KEY: &str = "impasto";

/// A style model takes a few megabytes. A larger file is something else and is not read into memory.
const MAX_BYTES: u64 = 1 << 28;

/// Upper bounds for the sizes in a card, far beyond any useful network.
const MAX_CHANNELS: usize = 1024;
const MAX_BLOCKS: usize = 256;

/// A file without a card is recognised by this tensor.
const FIRST_WEIGHT: &str = "conv1.conv2d.weight";

/// Left over from PyTorch before 0.4; its own loader drops them too.
const STATISTICS: [&str; 3] = [".running_mean", ".running_var", ".num_batches_tracked"];

/// The metadata of a style-model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The version of this card, [`FORMAT`].
    pub format: u32,
    /// The version of the crate that wrote the file.
    pub crate_version: String,
    /// The style's name, as `--style` takes it.
    pub name: String,
    /// What the style imitates: painter, title, year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The licence of the style.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The sizes of the network.
    pub network: StyleNetConfig,
    /// Training steps done.
    #[serde(default)]
    pub steps: usize,
    /// The value of the objective at the end, by term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<serde_json::Value>,
    /// The whole training configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<serde_json::Value>,
    /// The command that made the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl ModelCard {
    /// A card with nothing but a name and the sizes of the network.
    #[must_use]
    pub fn new(name: impl Into<String>, network: StyleNetConfig) -> Self {
        Self {
            format: FORMAT,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            name: name.into(),
            source: None,
            licence: None,
            network,
            steps: 0,
            objective: None,
            training: None,
            command: None,
        }
    }
}

/// A style: its card and its weights (f32, CPU).
#[derive(Debug, Clone)]
pub struct StyleModel {
    /// The metadata of the file.
    pub card: ModelCard,
    /// The weights under pytorch/examples' names.
    pub tensors: Tensors,
}

impl StyleModel {
    /// Reads a style-model file, or a file without a card that holds one pytorch/examples network at any depth. The sizes
    /// of a network without a card are derived from its tensors.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is cut short, is of a newer format, has a card that contradicts its tensors, or holds
    /// no such network or several different ones.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let model = WeightFile::open(path, MAX_BYTES).and_then(|file| Self::read(file, &name));
        model.context(|| format!("cannot load style `{}`", path.display()))
    }

    /// Reads the bytes of a file that [`Self::open`] reads; `name` is used where there is no card.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        Self::read(WeightFile::new(Cursor::new(bytes), name)?, name)
    }

    fn read<R: Read + Seek>(mut file: WeightFile<R>, name: &str) -> Result<Self> {
        let Some(card) = file.text(CARD_KEY) else {
            let (network, tensors) = candidates::read_the_one(&mut file)?;
            return Self { card: ModelCard::new(name, network), tensors }.checked();
        };
        let card = parse_card(card)?;
        if !are_sizes_of_a_style(card.network) {
            return Err(no_style_network(card.network));
        }
        let prefix = match &Candidate::all(file.listing())[..] {
            [only] => only.prefix.clone(),
            _ => String::new(),
        };
        let described = Candidate { prefix, network: card.network };
        refuse_others(&described, file.listing())?;
        let tensors = described.read(&mut file)?;
        Self { card, tensors }.checked()
    }

    /// Checks that all weights are finite, so that a damaged model is reported before the work starts.
    fn checked(self) -> Result<Self> {
        self.card.network.network().check(&self.tensors)?;
        for (name, array) in &self.tensors {
            if !array.values().iter().all(|value| value.is_finite()) {
                return Err(Error::new(format!("tensor `{name}` has values that are NaN or infinite"))
                    .with_hint("its training diverged; train it again with a lower learning rate"));
            }
        }
        Ok(self)
    }

    /// Writes the file atomically with weights of the type `stored`. The same model gives the same bytes.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: &Path, stored: StoredType) -> Result<()> {
        let bytes = self.to_bytes(stored)?;
        impasto_files::write_atomic(path, |writer| writer.write_all(&bytes).context(|| "cannot write the weights"))
    }

    /// The bytes of the file that [`Self::save`] writes.
    ///
    /// # Errors
    ///
    /// If the card cannot be written.
    pub fn to_bytes(&self, stored: StoredType) -> Result<Vec<u8>> {
        let card = serde_json::to_string(&self.card).context(|| "cannot write the card")?;
        // One key only: the header keeps a hash map, whose order would change the bytes from run to run.
        let metadata = HashMap::from([(CARD_KEY.to_owned(), card)]);
        weights::to_safetensors(&self.tensors, stored, metadata)
    }
}

/// Whether a network of these sizes can be a style network.
fn are_sizes_of_a_style(network: StyleNetConfig) -> bool {
    (1..=MAX_CHANNELS).contains(&network.channels) && network.blocks <= MAX_BLOCKS
}

fn no_style_network(StyleNetConfig { channels, blocks }: StyleNetConfig) -> Error {
    Error::new(format!("a style network cannot have {channels} channels and {blocks} residual blocks"))
}

/// Refuses tensors that the card's network does not have: the card is wrong or belongs to another file.
fn refuse_others(described: &Candidate, listing: &Listing) -> Result<()> {
    let Candidate { prefix, network } = described;
    let known: BTreeSet<_> =
        network.network().tensors().into_iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    let is_statistic = |name: &str| STATISTICS.iter().any(|ending| name.ends_with(ending));
    let mut others = listing.keys().filter(|name| !known.contains(*name) && !is_statistic(name));
    match others.next() {
        None => Ok(()),
        Some(name) => Err(Error::new(format!(
            "its card describes a network of {} channels and {} blocks, which has no tensor `{name}`",
            network.channels, network.blocks
        ))
        .with_hint(
            "the card and the weights belong to different networks: download the file again, or train the style again",
        )),
    }
}

fn parse_card(card: &str) -> Result<ModelCard> {
    let value: serde_json::Value = serde_json::from_str(card).context(|| "its card is not JSON")?;
    unique_keys::check(card).context(|| "its card is ambiguous")?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format > u64::from(FORMAT) {
        return Err(Error::new(format!(
            "it has format version {format}, but this program supports versions up to {FORMAT}"
        ))
        .with_hint("update this program"));
    }
    serde_json::from_value(value).context(|| "its card is incomplete")
}

#[cfg(test)]
mod tests;
