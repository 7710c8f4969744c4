//! The weights of the loss network: the file that the user named, or a download with a progress bar.

use std::path::{Path, PathBuf};

use impasto_common::Result;
use impasto_nn::loss_network::Architecture;
use indicatif::{ProgressBar, ProgressStyle};

use crate::loss_weights;

/// `named`, or the cached weights of `architecture`; downloads 0.55 GB if they are not cached.
pub(super) fn loss_weights(named: Option<&Path>, architecture: Architecture, quiet: bool) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let bar = if quiet { ProgressBar::hidden() } else { bar() };
    let path = loss_weights::fetch(architecture, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    path
}

/// A progress bar for the download.
pub(super) fn bar() -> ProgressBar {
    let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style).with_message("downloading the loss network")
}
