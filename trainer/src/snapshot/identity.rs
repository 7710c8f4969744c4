//! The identity of a training, by which a resumed run checks that it continues the same training.

use std::collections::BTreeSet;

use impasto_common::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Length, TrainConfig};
use crate::digest::Digest;

/// Everything about a training that must stay the same for it to be resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The configuration: a [`TrainConfig`].
    pub config: Value,
    /// The style picture.
    pub style: Digest,
    /// The names of the training photos.
    pub photos: Digest,
    /// The sizes of their files; `None` in older snapshots, which do not record them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_sizes: Option<Digest>,
    /// The weights of the loss network.
    pub loss_weights: Digest,
    /// The style whose weights the training started from.
    pub init_from: Option<Digest>,
}

impl Identity {
    /// Checks that a training with this identity may resume a snapshot that was written with the identity `then`.
    ///
    /// The length may differ: a training can be extended.
    ///
    /// # Errors
    ///
    /// If anything else differs; the first difference is named.
    pub fn continues(&self, then: &Self) -> Result<()> {
        // Older snapshots have no sizes. And if the names differ, the sizes differ too, so comparing them adds nothing.
        let with_sizes = then.photo_sizes.is_some() && then.photos == self.photos;
        let (then, now) = (then.lasting(with_sizes)?, self.lasting(with_sizes)?);
        match difference(&then, &now, &[]) {
            None => Ok(()),
            Some(difference) => Err(Error::usage(format!("cannot resume: {difference}"))
                .with_hint("undo the change, or start again with `--restart`")),
        }
    }

    /// How long the training is planned to be; `None` if its configuration does not say it as this version does.
    #[must_use]
    pub fn length(&self) -> Option<Length> {
        serde_json::from_value(self.config["length"].clone()).ok()
    }

    /// All fields except the length of the training; the sizes of the photos only if `with_sizes`.
    fn lasting(&self, with_sizes: bool) -> Result<Value> {
        let mut value = serde_json::to_value(self).context(|| "cannot compare configurations")?;
        if let Some(fields) = value.as_object_mut().filter(|_| !with_sizes) {
            fields.remove("photo_sizes");
        }
        if let Some(config) = value["config"].as_object_mut() {
            config.remove("length");
            // The JSON omits it when it is 0. It is added here so that a difference is reported between two numbers.
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
        ["style"] => "the style picture has changed".into(),
        ["photos"] => "photos were added, removed or renamed".into(),
        ["photo_sizes"] => "photos were replaced by others with the same names".into(),
        ["loss_weights"] => "the weights of the loss network have changed".into(),
        ["init_from", ..] => "the style to start from has changed".into(),
        ["config", fields @ ..] | fields => format!("`{}` was {then} and is now {now}", fields.join(".")),
    }
}

/// The configuration as an [`Identity`] holds it.
///
/// The value is written as text and read back, as a snapshot does. This may change the last digit of a number, and a run must
/// recognise its own snapshot.
///
/// # Errors
///
/// If it cannot be written as JSON.
pub fn config_value(config: &TrainConfig) -> Result<Value> {
    let value = serde_json::to_string(config).and_then(|text| serde_json::from_str(&text));
    value.context(|| "cannot write the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(photo_sizes: Option<&str>) -> Identity {
        let digest = |text: &str| Digest::of(text.as_bytes());
        Identity {
            config: config_value(&TrainConfig::default()).unwrap(),
            style: digest("style"),
            photos: digest("names"),
            photo_sizes: photo_sizes.map(digest),
            loss_weights: digest("weights"),
            init_from: None,
        }
    }

    #[test]
    fn a_photo_of_a_different_size_is_noticed_unless_the_snapshot_predates_the_check() {
        let now = identity(Some("1\n2\n"));
        now.continues(&now).unwrap();
        let error = now.continues(&identity(Some("1\n3\n"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot resume: photos were replaced by others with the same names");
        now.continues(&identity(None)).unwrap();
    }
}
