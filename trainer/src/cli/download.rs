//! The weights of the loss network: the file that was named, or a download with a progress bar.

use std::path::{Path, PathBuf};

use impasto_common::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::loss_weights;
use impasto_nn::loss_network::Architecture;

/// `named`, or the cached weights of `architecture`, fetched if need be.
pub(super) fn loss_weights(named: Option<&Path>, architecture: Architecture, quiet: bool) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
    bar.set_style(style());
    bar.set_message(format!("downloading {architecture}"));
    let path = loss_weights::fetch(architecture, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    path
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
