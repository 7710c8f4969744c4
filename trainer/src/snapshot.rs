//! The state of a training between two steps, and the one file that holds it.
//!
//! A `.safetensors` file with the weights (`weights.NAME`) and both of Adam's moments (`first.NAME`, `second.NAME`); the
//! rest is JSON in its header. Order and crops of the photos follow from the step, so no generator is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use impasto_common::{Error, Result, ResultExt};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adam::{Adam, AdamConfig, Moments};
use crate::config::TrainConfig;
use crate::digest::Digest;
use crate::init::Parameters;
use crate::metrics::Metrics;

/// The version of the file; a reader refuses any other.
pub const FORMAT: u32 = 1;

const HEADER_KEY: &str = "impasto-snapshot";

/// Steps whose metrics are kept to average over.
const RECENT: usize = 100;

/// Everything that changes during a training.
#[derive(Debug)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// What the learning rate is multiplied by; halved by every roll-back.
    pub rate_scale: f64,
    /// The weights.
    pub parameters: Parameters,
    /// The optimiser.
    pub adam: Adam,
    /// Photos that could not be used so far, by name, with the reason.
    pub skipped: BTreeMap<String, String>,
    /// The metrics of the last steps.
    pub recent: VecDeque<Metrics>,
}

/// Everything that must not change during a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The configuration: a [`TrainConfig`].
    pub config: Value,
    /// The style picture.
    pub style: Digest,
    /// The names of the photos trained on.
    pub photos: Digest,
    /// The weights of the loss network.
    pub loss_weights: Digest,
    /// The style whose weights were the first ones.
    pub init_from: Option<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    crate_version: String,
    step: usize,
    rate_scale: f64,
    identity: Identity,
    skipped: BTreeMap<String, String>,
    recent: VecDeque<Metrics>,
}

impl State {
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

    /// Counts a step that is done.
    pub fn advance(&mut self, metrics: Metrics, skipped: BTreeMap<String, String>) {
        self.step += 1;
        self.skipped.extend(skipped);
        self.recent.push_back(metrics);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Whether every weight is a number.
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
        // One key only: the header keeps a hash map, whose order would change the bytes from run to run.
        let metadata = HashMap::from([(HEADER_KEY.to_owned(), header)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).context(|| "cannot write the snapshot")?;
        impasto_files::write_atomic(path, |writer| writer.write_all(&bytes).context(|| "cannot write the weights"))
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    ///
    /// If the file is no snapshot, is damaged, or is of another format.
    pub fn open(path: &Path, device: &Device) -> Result<(Self, Identity)> {
        let opened = std::fs::read(path).map_err(Into::into).and_then(|bytes| Self::from_bytes(&bytes, device));
        opened
            .context(|| format!("cannot resume from `{}`", path.display()))
            .map_err(|error| error.with_hint("start again with `--restart`"))
    }

    fn from_bytes(bytes: &[u8], device: &Device) -> Result<(Self, Identity), Box<dyn std::error::Error + Send + Sync>> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEADER_KEY));
        let header: Value = serde_json::from_str(header.ok_or("it is not a snapshot of a training")?)?;
        if header.get("format") != Some(&FORMAT.into()) {
            return Err("it was written by another version of this program".into());
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

    /// The weights alone, by name.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.as_detached_tensor())).collect()
    }
}

impl Identity {
    /// Checks that a run of `self` may go on from a snapshot of `then`.
    ///
    /// The length may differ: a training can be extended.
    ///
    /// # Errors
    ///
    /// If anything else differs; the first difference is named.
    pub fn continues(&self, then: &Self) -> Result<()> {
        let (then, now) = (then.lasting()?, self.lasting()?);
        match difference(&then, &now, &[]) {
            None => Ok(()),
            Some(difference) => Err(Error::usage(format!("cannot resume: {difference}"))
                .with_hint("take back the change, or start again with `--restart`")),
        }
    }

    /// All of it but the length.
    fn lasting(&self) -> Result<Value> {
        let mut value = serde_json::to_value(self).context(|| "cannot compare configurations")?;
        if let Some(config) = value["config"].as_object_mut() {
            config.remove("length");
            // Not written where there is none; the difference should read as one of numbers.
            config.entry("temporal_weight").or_insert_with(|| 0.0.into());
        }
        Ok(value)
    }
}

/// Describes the first field, by name, in which two JSON values differ.
fn difference(then: &Value, now: &Value, path: &[&str]) -> Option<String> {
    let (Value::Object(fields_then), Value::Object(fields_now)) = (then, now) else {
        return (then != now).then(|| describe(path, then, now));
    };
    let names: BTreeSet<_> = fields_then.keys().chain(fields_now.keys()).collect();
    names.into_iter().find_map(|name| difference(&then[name], &now[name], &[path, &[name]].concat()))
}

fn describe(path: &[&str], then: &Value, now: &Value) -> String {
    match path {
        ["style"] => "the style picture is another one".into(),
        ["photos"] => "photos came, went or were renamed".into(),
        ["loss_weights"] => "the weights of the loss network are others".into(),
        ["init_from", ..] => "the style to start from is another one".into(),
        ["config", fields @ ..] | fields => format!("`{}` was {then} and is {now}", fields.join(".")),
    }
}

fn missing(kind: &str, name: &str) -> Error {
    Error::new(format!("it has no tensor `{kind}.{name}`"))
}

/// The configuration as an [`Identity`] holds it.
///
/// It has been to text and back: the last digit of a number may change on that way, and a run has to recognise its own.
///
/// # Errors
///
/// If it cannot be written as JSON.
pub fn config_value(config: &TrainConfig) -> Result<Value> {
    let value = serde_json::to_string(config).and_then(|text| serde_json::from_str(&text));
    value.context(|| "cannot write the configuration")
}
