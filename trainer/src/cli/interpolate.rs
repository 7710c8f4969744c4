//! `trainer interpolate`: mixes two styles.

use std::ffi::OsString;
use std::path::PathBuf;

use impasto_common::Result;
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::weights::StoredType;

use super::card::{self, CardArgs};
use super::{evaluate, say};
use crate::interpolate;
use crate::train::CardText;

/// If two networks are farther apart than this, probably neither was trained from the other: see [`interpolate::distance`].
const FAR: f64 = 0.9;

/// Mix two styles, one of which was trained from the other (`trainer train --init-from`)
///
/// Averages the weights (Wang et al., 2019). The result is a style between the two, without training. For example, a style that
/// was trained further for clips gets back some of the strokes that it lost. `trainer evaluate` and `trainer evaluate-clip`
/// measure the result.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First style: a style-model file or a bundled style
    #[arg(long, value_name = "NAME|FILE")]
    from: String,
    /// Second style: a style-model file or a bundled style. The result takes its objective from this style's card
    #[arg(long, value_name = "NAME|FILE")]
    to: String,
    /// Position between the styles: 0 is --from, 1 is --to; values outside this range extrapolate
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, allow_negative_numbers = true)]
    amount: f64,
    /// The style-model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Number type in the style-model file: `f32`, or `f16` for half the size
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = card::parse_dtype)]
    dtype: StoredType,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    card: CardArgs,
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
                "note: the networks of `{}` and `{}` have little in common (distance {distance:.2}): they were trained \
                 separately, and a mixture may show neither style",
                from.card.name, to.card.name
            ));
        }
        say(&format!("wrote `{}`", args.output.display()));
    }
    Ok(())
}
