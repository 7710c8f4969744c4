//! Measures how many crops per second the loader makes on one core, from the photos in a folder:
//! `cargo bench --workspace --bench loader -- FOLDER`.
//!
//! Measured in processor time, so that other work on the machine changes little: first with every photo read from its file,
//! then from the cache of decoded photos. The rate of a GPU divided by this is the number of loader threads it needs.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use impasto_common::{Error, Result};
use impasto_trainer::loader::{Loader, LoaderConfig};
use impasto_trainer::peers::Share;
use impasto_trainer::photos::{self, Photos};

const BATCH: usize = 16;
const SIZE: usize = 256;
const CROPS: usize = 640;

fn main() -> Result<()> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let Some(folder) = folder else {
        // `cargo bench` and `cargo test` run every bench, without a folder.
        println!("nothing to do: no folder of photos was named");
        return Ok(());
    };
    println!("from files   {:7.1} crops of {SIZE}x{SIZE} a second on one core", rate(&folder, 0)?);
    println!("from memory  {:7.1}", rate(&folder, 8 << 30)?);
    Ok(())
}

/// Crops per second of processor time, after one pass over the photos if there is a cache.
fn rate(folder: &Path, cache_bytes: usize) -> Result<f64> {
    let mut paths = photos::find(folder, 0)?.training;
    if cache_bytes > 0 {
        paths.truncate(CROPS / 2);
    }
    let first = if cache_bytes > 0 { paths.len().div_ceil(BATCH) } else { 0 };
    let photos = Arc::new(Photos::new(folder, paths, SIZE, 1.15, cache_bytes));
    let config = LoaderConfig {
        batch: BATCH,
        share: Share::WHOLE,
        size: SIZE,
        largest_size: SIZE,
        zoom: 1.15,
        seed: 0,
        threads: 1,
    };
    let mut loader = Loader::start(photos, config, 0)?;
    for _ in 0..first {
        loader.take()?;
    }
    let before = processor_seconds()?;
    for _ in 0..CROPS / BATCH {
        loader.take()?;
    }
    Ok(CROPS as f64 / (processor_seconds()? - before))
}

/// Processor time of all threads so far, in steps of 10 ms.
fn processor_seconds() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/stat").map_err(|error| {
        Error::new("cannot read `/proc/self/stat`").with_source(error).with_hint("this bench needs Linux")
    })?;
    // After the name, which may contain spaces, user and system time are the 12th and 13th field, in ticks of 10 ms.
    let fields = status.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
}
