//! `infer styles` and `infer info`: what style-model files say about themselves.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::network::Preset;
use impasto_common::styles::{BUNDLED, BundledStyle};
use impasto_common::{Result, ResultExt};
use impasto_error::escaped;
use serde::Serialize;

use super::output::{print, to_json};
use super::stylize::find_model;
use super::talk;

/// List the bundled styles
#[derive(Debug, clap::Args)]
pub(super) struct StylesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show what a style-model file says about itself
#[derive(Debug, clap::Args)]
pub(super) struct InfoArgs {
    /// Style-model file or bundled style
    #[arg(value_name = "FILE|NAME")]
    style: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A style model's card, and counts from the file.
#[derive(Debug, Serialize)]
struct Description {
    #[serde(flatten)]
    card: ModelCard,
    preset: Option<Preset>,
    parameters: usize,
    bytes: u64,
}

impl Description {
    fn new(model: StyleModel, bytes: u64) -> Self {
        let parameters = model.tensors.values().map(|array| array.values().len()).sum();
        Self { preset: model.card.network.preset(), card: model.card, parameters, bytes }
    }

    fn bundled(style: &BundledStyle) -> Result<Self> {
        Ok(Self::new(style.model()?, style.bytes.len() as u64))
    }

    fn lines(&self) -> String {
        let card = &self.card;
        let preset = self.preset.map_or_else(|| "custom".to_owned(), |preset| preset.to_string());
        let network = card.network;
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<12}{}", format!("{label}:"), escaped(value));
        };
        line("name", &card.name);
        card.source.as_deref().inspect(|source| line("source", source));
        card.licence.as_deref().inspect(|licence| line("licence", licence));
        line("preset", &format!("{preset} ({} channels, {} residual blocks)", network.channels, network.blocks));
        line("parameters", &self.parameters.to_string());
        line("bytes", &self.bytes.to_string());
        line("steps", &card.steps.to_string());
        card.objective.as_ref().inspect(|objective| line("objective", &objective.to_string()));
        card.training.as_ref().inspect(|training| line("training", &training.to_string()));
        card.command.as_deref().inspect(|command| line("command", command));
        line("format", &format!("{} (written by version {})", card.format, card.crate_version));
        text
    }
}

/// Lists the bundled styles.
pub(super) fn styles(args: &StylesArgs) -> Result<ExitCode> {
    let styles: Vec<_> = BUNDLED.iter().map(Description::bundled).collect::<Result<_>>()?;
    if args.json {
        print(&to_json(&styles)?)?;
    } else if styles.is_empty() {
        talk::note("this program has no bundled style; use `--style FILE` with a style-model file");
    } else {
        let texts: Vec<_> = styles.iter().map(Description::lines).collect();
        print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows one style.
pub(super) fn info(args: &InfoArgs) -> Result<ExitCode> {
    let model = find_model(&args.style)?;
    let description = Description::new(model, size_of(&args.style)?);
    print(&if args.json { to_json(&description)? } else { description.lines() })?;
    Ok(ExitCode::SUCCESS)
}

fn size_of(style: &Path) -> Result<u64> {
    match style.to_str().and_then(BundledStyle::named) {
        Some(bundled) => Ok(bundled.bytes.len() as u64),
        None => Ok(fs::metadata(style).context(|| format!("cannot read `{}`", style.display()))?.len()),
    }
}
