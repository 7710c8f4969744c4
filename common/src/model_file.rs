//! The style-model file: a `.safetensors` file whose header holds a JSON card under the key `impasto`.
//!
//! Tensor names and value ranges are pytorch/examples' own, so its files load here and ours load there.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::network::StyleNetConfig;
use crate::weights::{self, StoredType, Tensors, WeightFile};
use crate::{Error, Result, ResultExt};

/// The version of the card; a reader refuses a larger one.
pub const FORMAT: u32 = 1;

const CARD_KEY: &str = "impasto";

/// A style model has some megabytes; whatever is larger than this is something else, and not read into memory.
const MAX_BYTES: u64 = 1 << 28;

/// Bounds for the sizes that a card claims, far beyond what paints any better.
const MAX_CHANNELS: usize = 1024;
const MAX_BLOCKS: usize = 256;

/// By this tensor a network without a card is recognised.
const FIRST_WEIGHT: &str = "conv1.conv2d.weight";

const STATISTICS: [&str; 3] = [".running_mean", ".running_var", ".num_batches_tracked"];

/// What a style-model file says of itself.
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
    /// What the file says of itself.
    pub card: ModelCard,
    /// The weights under pytorch/examples' names.
    pub tensors: Tensors,
}

impl StyleModel {
    /// Reads a style-model file, or a pytorch/examples network without a card (its sizes are read off its tensors).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is cut short, is of a newer format, or holds another network.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::read(path, &name).context(|| format!("cannot load style `{}`", path.display()))
    }

    fn read(path: &Path, name: &str) -> Result<Self> {
        match weights::open(path, MAX_BYTES)? {
            WeightFile::Safetensors(bytes) => Self::from_bytes(&bytes, name),
            WeightFile::Torch(tensors) => Self::imported(tensors, name),
        }
    }

    /// Reads the bytes of a `.safetensors` file; `name` is used where there is no card.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let tensors = weights::parse_safetensors(bytes)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).context(|| weights::DAMAGED)?;
        match metadata.metadata().as_ref().and_then(|metadata| metadata.get(CARD_KEY)) {
            None => Self::imported(tensors, name),
            Some(card) => Self { card: parse_card(card)?, tensors }.checked(),
        }
    }

    fn imported(mut tensors: Tensors, name: &str) -> Result<Self> {
        // Left over from PyTorch before 0.4; its own loader drops them too.
        tensors.retain(|name, _| !STATISTICS.iter().any(|ending| name.ends_with(ending)));
        let network = sizes_of(&tensors)?;
        Self { card: ModelCard::new(name, network), tensors }.checked()
    }

    /// The model, if its weights are whole: better to learn it here than in the middle of the work.
    fn checked(self) -> Result<Self> {
        let StyleNetConfig { channels, blocks } = self.card.network;
        if !(1..=MAX_CHANNELS).contains(&channels) || blocks > MAX_BLOCKS {
            return Err(Error::new(format!(
                "its network of {channels} channels and {blocks} blocks is not a style network"
            )));
        }
        self.card.network.network().check(&self.tensors)?;
        for (name, array) in &self.tensors {
            if !array.values().iter().all(|value| value.is_finite()) {
                return Err(Error::new(format!("tensor `{name}` holds values that are not numbers"))
                    .with_hint("its training went astray; train it again with a lower learning rate"));
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

fn parse_card(card: &str) -> Result<ModelCard> {
    let value: serde_json::Value = serde_json::from_str(card).context(|| "its card is not JSON")?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format > u64::from(FORMAT) {
        return Err(Error::new(format!("it is of format {format}, this program knows {FORMAT}"))
            .with_hint("update this program"));
    }
    serde_json::from_value(value).context(|| "its card is incomplete")
}

/// Reads the sizes of a network without a card off its tensors.
fn sizes_of(tensors: &Tensors) -> Result<StyleNetConfig> {
    let weight = tensors.get(FIRST_WEIGHT).ok_or_else(|| another_network(tensors))?;
    let blocks =
        (1..=tensors.len()).take_while(|i| tensors.contains_key(&format!("res{i}.conv1.conv2d.weight"))).count();
    Ok(StyleNetConfig { channels: weight.shape().first().copied().unwrap_or(0), blocks })
}

fn another_network(tensors: &Tensors) -> Error {
    let found: Vec<_> = tensors.keys().take(3).map(|name| format!("`{name}`")).collect();
    let found = match tensors.len() {
        0 => "no tensors".into(),
        count => format!("{} .. ({count} tensors)", found.join(", ")),
    };
    Error::new(format!("it holds another network: expected `{FIRST_WEIGHT}`, found {found}"))
        .with_hint("networks of this trainer and of pytorch/examples' fast_neural_style can be loaded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Array;

    const TINY: StyleNetConfig = StyleNetConfig { channels: 2, blocks: 1 };

    fn add(tensors: &mut Tensors, name: &str, shape: &[usize]) {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 + name.len()) % 101) as f32 / 101.0 - 0.5).collect();
        tensors.insert(name.into(), Array::new(shape, values).unwrap());
    }

    fn tiny() -> Tensors {
        let mut tensors = Tensors::new();
        TINY.network().tensors().iter().for_each(|(name, shape)| add(&mut tensors, name, shape));
        tensors
    }

    fn bytes_of(tensors: Tensors) -> Vec<u8> {
        StyleModel { card: ModelCard::new("tiny", TINY), tensors }.to_bytes(StoredType::F32).unwrap()
    }

    fn error_of(bytes: &[u8]) -> Error {
        StyleModel::from_bytes(bytes, "x").unwrap_err()
    }

    #[test]
    fn a_model_comes_back_from_its_bytes_and_its_bytes_repeat() {
        let bytes = bytes_of(tiny());
        assert_eq!(bytes, bytes_of(tiny()));
        let model = StyleModel::from_bytes(&bytes, "x").unwrap();
        assert_eq!(model.card, ModelCard::new("tiny", TINY));
        assert_eq!(model.tensors.keys().collect::<Vec<_>>(), tiny().keys().collect::<Vec<_>>());
    }

    #[test]
    fn half_precision_weights_without_a_card_and_old_statistics_are_imported() {
        let mut tensors = tiny();
        tensors.insert("in1.running_mean".into(), Array::new([2], vec![0.0; 2]).unwrap());
        let bytes = weights::to_safetensors(&tensors, StoredType::F16, HashMap::new()).unwrap();
        let model = StyleModel::from_bytes(&bytes, "mine").unwrap();
        assert_eq!(model.card, ModelCard::new("mine", TINY));
        assert!(!model.tensors.contains_key("in1.running_mean"));
        let value = |tensors: &Tensors| tensors["in1.bias"].values()[1];
        assert!((value(&model.tensors) - value(&tiny())).abs() < 1e-3);
    }

    #[test]
    fn a_tensor_of_another_shape_is_named_with_both_shapes() {
        let mut tensors = tiny();
        add(&mut tensors, "res1.conv2.conv2d.weight", &[4, 8, 3, 3]);
        let expected = "tensor `res1.conv2.conv2d.weight` is (4, 8, 3, 3), expected (8, 8, 3, 3)";
        assert_eq!(error_of(&bytes_of(tensors)).to_string(), expected);
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut tensors = tiny();
        tensors.remove("deconv2.conv2d.bias");
        assert_eq!(error_of(&bytes_of(tensors)).to_string(), "tensor `deconv2.conv2d.bias` is missing");
    }

    #[test]
    fn weights_that_are_not_numbers_are_refused() {
        let mut tensors = tiny();
        tensors.insert("in1.bias".into(), Array::new([2], vec![0.0, f32::NAN]).unwrap());
        assert_eq!(error_of(&bytes_of(tensors)).to_string(), "tensor `in1.bias` holds values that are not numbers");
    }

    #[test]
    fn another_network_is_described() {
        let mut tensors = Tensors::new();
        add(&mut tensors, "features.0.weight", &[1]);
        let error = StyleModel::imported(tensors, "x").unwrap_err();
        let expected =
            "it holds another network: expected `conv1.conv2d.weight`, found `features.0.weight` .. (1 tensors)";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_newer_format_and_sizes_out_of_reason_are_refused() {
        let card = ModelCard { format: FORMAT + 1, ..ModelCard::new("x", TINY) };
        let bytes = StyleModel { card, tensors: tiny() }.to_bytes(StoredType::F32).unwrap();
        assert_eq!(error_of(&bytes).to_string(), "it is of format 2, this program knows 1");
        let card = ModelCard::new("x", StyleNetConfig { channels: usize::MAX / 2, blocks: 1 });
        let bytes = StyleModel { card, tensors: tiny() }.to_bytes(StoredType::F32).unwrap();
        assert!(error_of(&bytes).to_string().ends_with("is not a style network"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = bytes_of(tiny());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.safetensors");
        for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = StyleModel::open(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot load style `{}`: ", path.display())), "{error}");
        }
    }
}
