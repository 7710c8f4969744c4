//! The weights of the loss network, with a progress bar if they are downloaded.

use std::path::Path;

use impasto_common::Result;
use impasto_nn::loss_network::Architecture;
use indicatif::{ProgressBar, ProgressStyle};

use crate::loss_weights::LossWeights;
use crate::objective::ObjectiveConfig;

/// The weights of `architecture` for `objective`: those of [`LossWeights::find`].
pub(super) fn loss_weights(
    named: Option<&Path>,
    architecture: Architecture,
    objective: &ObjectiveConfig,
    quiet: bool,
) -> Result<LossWeights> {
    let bar = if quiet { ProgressBar::hidden() } else { bar() };
    let found = LossWeights::find(named, architecture, &objective.layers(), |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    found
}

/// A progress bar for the download.
pub(super) fn bar() -> ProgressBar {
    let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style).with_message("downloading the loss network")
}
