//! `trainer interpolate`.

use std::ffi::OsString;
use std::path::PathBuf;

use impasto_common::Result;
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::weights::StoredType;

use super::card::{self, Card};
use super::{evaluate, say};
use crate::interpolate;
use crate::train::CardText;

/// Networks farther apart than this were hardly trained one from the other: see [`interpolate::distance`].
const FAR: f64 = 0.9;

/// Mix two styles of which one was trained from the other (`trainer train --init-from`)
///
/// Weight by weight (Wang et al., 2019): a style between the two, without training. So a style gets back strokes that it lost when it
/// was trained on for clips, or half of another painting's. `trainer evaluate` and `evaluate-clip` tell what is won and lost.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The style to start from: a file, or the name of a bundled one
    #[arg(long, value_name = "NAME|FILE")]
    from: String,
    /// The style to go towards, a file or a bundled one; the result is judged as this one is
    #[arg(long, value_name = "NAME|FILE")]
    to: String,
    /// How far to go: 0 is --from, 1 is --to; less or more goes on beyond
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, allow_negative_numbers = true)]
    amount: f64,
    /// The style-model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Numbers in the style-model file: `f32`, or `f16` for half the size
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = card::parse_dtype)]
    dtype: StoredType,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    card: Card,
}

pub(super) fn run(args: &Args, words: &[OsString]) -> Result<()> {
    let (from, to) = (evaluate::open(&args.from)?, evaluate::open(&args.to)?);
    let StyleModel { card, tensors } = interpolate::between(&from, &to, args.amount)?;
    let CardText { name, source, licence, command } = args.card.text(&args.output, words);
    let card = ModelCard {
        name,
        source: source.or(card.source),
        licence: licence.or(card.licence),
        command,
        crate_version: env!("CARGO_PKG_VERSION").into(),
        ..card
    };
    StyleModel { card, tensors }.save(&args.output, args.dtype)?;
    if !args.quiet {
        let distance = interpolate::distance(&from, &to)?;
        if distance > FAR {
            say(&format!(
                "note: the networks of `{}` and `{}` have little in common (distance {distance:.2}): they were trained apart, and \
                 what lies between may paint neither",
                from.card.name, to.card.name
            ));
        }
        say(&format!("wrote `{}`", args.output.display()));
    }
    Ok(())
}
