//! The state of a training between two steps, and the file that holds it.
//!
//! A `.safetensors` file with the weights (`weights.NAME`) and both of Adam's moments (`first.NAME`, `second.NAME`); the
//! rest is JSON in its header, with a checksum of the whole file. The order and crops of the photos follow from the step, so no
//! random generator is stored.

mod checksum;
mod identity;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use impasto_common::{Error, Result, ResultExt};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::identity::{Identity, config_value};
use crate::adam::{Adam, AdamConfig, Moments};
use crate::init::Parameters;
use crate::metrics::Metrics;
use crate::run_folder::RunFiles;

/// The version of the file. Version 1, which has no checksum, is read as well.
pub const FORMAT: u32 = 2;

const HEADER_KEY: &str = "impasto-snapshot";

/// The error for a file whose checksum does not match its bytes.
const DAMAGED: &str = "the snapshot is damaged: its checksum does not match";

/// The number of steps whose metrics are kept for averaging.
const RECENT: usize = 100;

/// Everything that changes during a training.
#[derive(Debug)]
pub struct TrainingState {
    /// Number of steps done.
    pub step: usize,
    /// Factor of the learning rate. Every roll-back halves it.
    pub rate_scale: f64,
    /// The weights.
    pub parameters: Parameters,
    /// The optimiser.
    pub adam: Adam,
    /// Photos that could not be used so far: name and reason.
    pub skipped: BTreeMap<String, String>,
    /// The metrics of the last steps.
    pub recent: VecDeque<Metrics>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// Placed before any user-supplied text, because the checksum is found by this field's name.
    #[serde(default)]
    checksum: String,
    crate_version: String,
    step: usize,
    rate_scale: f64,
    identity: Identity,
    skipped: BTreeMap<String, String>,
    recent: VecDeque<Metrics>,
}

impl TrainingState {
    /// The state before the first step.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn new(parameters: Parameters) -> Result<Self> {
        let adam = Adam::new(AdamConfig::default(), &parameters)?;
        let (skipped, recent) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { step: 0, rate_scale: 1.0, parameters, adam, skipped, recent })
    }

    /// Records a completed step.
    pub fn advance(&mut self, metrics: Metrics, skipped: BTreeMap<String, String>) {
        self.step += 1;
        self.skipped.extend(skipped);
        self.recent.push_back(metrics);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Whether all weights are finite.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        for parameter in self.parameters.values() {
            if !parameter.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the snapshot atomically. The same state gives the same bytes.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: &Path, identity: &Identity) -> Result<()> {
        let header = Header {
            format: FORMAT,
            checksum: checksum::BLANK.into(),
            crate_version: env!("CARGO_PKG_VERSION").into(),
            step: self.step,
            rate_scale: self.rate_scale,
            identity: identity.clone(),
            skipped: self.skipped.clone(),
            recent: self.recent.clone(),
        };
        let header = serde_json::to_string(&header).context(|| "cannot write the snapshot's header")?;
        let mut tensors = Vec::new();
        for (name, parameter) in &self.parameters {
            let moments = self.adam.moments.get(name).ok_or_else(|| missing("first", name))?;
            tensors.push((format!("weights.{name}"), parameter.as_tensor()));
            tensors.push((format!("first.{name}"), &moments.first));
            tensors.push((format!("second.{name}"), &moments.second));
        }
        // Only one key, because safetensors uses a hash map: with more keys, their order would change from run to run.
        let metadata = HashMap::from([(HEADER_KEY.to_owned(), header)]);
        let mut bytes = safetensors::serialize(tensors, Some(metadata)).context(|| "cannot write the snapshot")?;
        checksum::seal(&mut bytes)?;
        impasto_files::write_atomic(path, |writer| writer.write_all(&bytes).context(|| "cannot write the weights"))
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    ///
    /// If the file is not a snapshot, is damaged, or has another format.
    pub fn open(path: &Path, device: &Device) -> Result<(Self, Identity)> {
        let opened = std::fs::read(path).map_err(Into::into).and_then(|bytes| Self::from_bytes(&bytes, device));
        opened
            .context(|| format!("cannot resume from `{}`", path.display()))
            .map_err(|error| error.with_hint("start again with `--restart`"))
    }

    /// Reads the later snapshot of a run folder; `None` if there is no snapshot.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read. If the other one can be read, the hint names it.
    pub fn latest(files: &RunFiles, device: &Device) -> Result<Option<(Self, Identity)>> {
        let paths = [files.snapshot(), files.interrupted()].into_iter().filter(|path| path.exists());
        let (mut read, mut unreadable) = (Vec::new(), None);
        for path in paths {
            match Self::open(&path, device) {
                Ok((state, identity)) => read.push((path, state, identity)),
                Err(error) => unreadable = Some((path, error)),
            }
        }
        match (unreadable, read.first()) {
            (Some((path, error)), Some((other, state, _))) => {
                let (path, other) = (path.display(), other.display());
                Err(error.with_hint(format!(
                    "`{other}`, from step {}, is intact: delete `{path}`, and `--resume` continues from there",
                    state.step
                )))
            }
            (Some((_, error)), None) => Err(error),
            (None, _) => Ok(read
                .into_iter()
                .max_by_key(|(_, state, _)| state.step)
                .map(|(_, state, identity)| (state, identity))),
        }
    }

    fn from_bytes(bytes: &[u8], device: &Device) -> Result<(Self, Identity), Box<dyn std::error::Error + Send + Sync>> {
        let checksum = checksum::holds(bytes);
        if checksum == Some(false) {
            return Err(DAMAGED.into());
        }
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEADER_KEY));
        let header: Value = serde_json::from_str(header.ok_or("it is not a snapshot of a training")?)?;
        match header.get("format").and_then(Value::as_u64) {
            Some(2) if checksum.is_none() => return Err(DAMAGED.into()),
            Some(1 | 2) => {}
            _ => return Err("it was written by another version of this program".into()),
        }
        let Header { step, rate_scale, identity, skipped, recent, .. } = serde_json::from_value(header)?;
        let mut tensors = candle_core::safetensors::load_buffer(bytes, device)?;
        let mut take = |kind: &str, name: &str| tensors.remove(&format!("{kind}.{name}")).ok_or(missing(kind, name));
        let names: Vec<_> =
            metadata.tensors().into_keys().filter_map(|name| Some(name.strip_prefix("weights.")?.to_owned())).collect();
        let mut parameters = Parameters::new();
        let mut moments = BTreeMap::new();
        for name in names {
            parameters.insert(name.clone(), Var::from_tensor(&take("weights", &name)?)?);
            let both = Moments { first: take("first", &name)?, second: take("second", &name)? };
            moments.insert(name, both);
        }
        let adam = Adam { config: AdamConfig::default(), steps: step, moments };
        Ok((Self { step, rate_scale, parameters, adam, skipped, recent }, identity))
    }

    /// Only the weights, by name.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.as_detached_tensor())).collect()
    }
}

fn missing(kind: &str, name: &str) -> Error {
    Error::new(format!("it has no tensor `{kind}.{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;
    use crate::digest::Digest;

    fn identity() -> Identity {
        let digest = Digest::of(b"any");
        let config = config_value(&TrainConfig::default()).unwrap();
        let (style, photos, loss_weights) = (digest.clone(), digest.clone(), digest.clone());
        Identity { config, style, photos, photo_sizes: Some(digest), loss_weights, init_from: None }
    }

    fn state(step: usize) -> TrainingState {
        let weight = Var::new(&[0.5f32, -1.25, 3.0], &Device::Cpu).unwrap();
        let mut state = TrainingState::new(Parameters::from([("conv.weight".to_owned(), weight)])).unwrap();
        state.step = step;
        state.skipped.insert(r#"a","checksum":"b.jpg"#.into(), "too small".into());
        state
    }

    fn weights(state: &TrainingState) -> Vec<f32> {
        state.parameters["conv.weight"].to_vec1().unwrap()
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.safetensors");
        state(7).save(&path, &identity()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            assert!(TrainingState::from_bytes(&bytes, &Device::Cpu).is_err(), "byte {place}");
        }
        let cut = &whole[..whole.len() - 1];
        let error = TrainingState::from_bytes(cut, &Device::Cpu).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot is damaged: its checksum does not match");
        let (back, then) = TrainingState::open(&path, &Device::Cpu).unwrap();
        assert_eq!((back.step, weights(&back), then), (7, weights(&state(7)), identity()));
    }

    #[test]
    fn a_snapshot_from_before_there_were_checksums_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.safetensors");
        state(7).save(&path, &identity()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut header: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()[HEADER_KEY]).unwrap();
        header["format"] = 1.into();
        header.as_object_mut().unwrap().remove("checksum");
        header["identity"].as_object_mut().unwrap().remove("photo_sizes");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let metadata = HashMap::from([(HEADER_KEY.to_owned(), header.to_string())]);
        std::fs::write(&path, safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap()).unwrap();
        let (back, then) = TrainingState::open(&path, &Device::Cpu).unwrap();
        assert_eq!((back.step, weights(&back), then.photo_sizes), (7, weights(&state(7)), None));
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_that_names_the_one_to_use() {
        let folder = tempfile::tempdir().unwrap();
        let files = RunFiles::new(folder.path());
        assert!(TrainingState::latest(&files, &Device::Cpu).unwrap().is_none());
        state(6).save(&files.snapshot(), &identity()).unwrap();
        state(8).save(&files.interrupted(), &identity()).unwrap();
        assert_eq!(TrainingState::latest(&files, &Device::Cpu).unwrap().unwrap().0.step, 8);
        let mut bytes = std::fs::read(files.interrupted()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(files.interrupted(), bytes).unwrap();
        let error = TrainingState::latest(&files, &Device::Cpu).unwrap_err();
        let (damaged, sound) = (files.interrupted(), files.snapshot());
        let text = format!("cannot resume from `{}`: {DAMAGED}", damaged.display());
        assert_eq!(error.to_string(), text);
        let hint = format!("`{}`, from step 6, is intact: delete `{}`, and", sound.display(), damaged.display());
        assert!(error.hint().unwrap().starts_with(&hint), "{:?}", error.hint());
        std::fs::remove_file(sound).unwrap();
        let error = TrainingState::latest(&files, &Device::Cpu).unwrap_err();
        assert_eq!(error.hint(), Some("start again with `--restart`"));
    }
}
