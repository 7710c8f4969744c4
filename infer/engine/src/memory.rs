//! Plans which layer results are kept, and how many rows are computed at a time, within a bound on memory.
//!
//! A plan has a [`Place`] for each level of resolution. Results of the finest levels may be recomputed instead of kept.
//! Complete results (see [`super::schedule`]) and those of the coarsest level are always kept, in files if necessary.
//! Recomputing rows is cheap where results halve on the way down and double on the way up. For a network with many
//! consecutive layers of one size a plan is still correct, but slow if memory is short.

mod buffers;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::schedule::{LayerSchedule, Schedule};
use super::store::{Pool, Store};
use impasto_common::network::Network;
use impasto_error::{Error, Result};
use impasto_kernels::winograd::{NINE_BORDER, ROWS_TOGETHER};

/// Bytes of a float.
const FLOAT: u64 = 4;

/// Floats of the last layer's result that are computed at a time if memory allows: they stay in the last-level cache.
const OUTPUT_FLOATS: usize = 1 << 21;

/// Rows of the first layer that are computed at a time if memory allows.
const INPUT_ROWS: usize = 256;

/// The most rows of the coarsest level that are computed at a time if rows of finer levels are recomputed.
const BAND: usize = 16;

/// [`default_memory`] takes one part in this many of the free memory.
const SHARE: u64 = 2;

/// Default in bytes if the system does not report free memory.
const UNKNOWN: u64 = 2 << 30;

/// The default memory limit of painting, in bytes: half of what the system reports as free.
///
/// The system is asked once, so that memory an engine keeps for the next picture does not count as used.
#[must_use]
pub fn default_memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| available().unwrap_or(UNKNOWN) / SHARE)
}

/// `MemAvailable` of Linux, see proc(5); elsewhere unknown.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// How the results of one level are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory.
    Whole,
    /// In a file.
    File,
    /// Not kept: recomputed.
    Window,
}

/// How a picture of one size is painted.
#[derive(Debug, Clone)]
pub(super) struct MemoryPlan {
    /// Rows of each layer's result that are computed at a time; for the last layer, rows of the painting.
    pub(super) bands: Vec<usize>,
    picture: (usize, usize),
    results: Vec<StoredResult>,
    /// The coarsest level, and the layers after the last complete result.
    coarsest: usize,
    last_chain: usize,
    /// Floats of the largest result of each level but the coarsest.
    largest: Vec<usize>,
}

/// A layer's result as it is stored.
#[derive(Debug, Clone, Copy)]
struct StoredResult {
    layer: LayerSchedule,
    size: (usize, usize),
    place: Place,
}

impl StoredResult {
    fn plane(&self) -> usize {
        self.size.1 + 2 * self.layer.border
    }

    fn floats(&self) -> usize {
        self.size.0 * self.plane() * self.layer.channels
    }
}

impl MemoryPlan {
    /// The fastest plan that stays below `memory` bytes.
    ///
    /// # Errors
    ///
    /// If there is none (the error gives the memory of the smallest plan), or as [`Network::sizes`].
    pub(super) fn new(network: &Network, schedule: &Schedule, picture: (usize, usize), memory: u64) -> Result<Self> {
        let mut least = u64::MAX;
        for (places, band) in candidates(schedule.coarsest) {
            let plan = Self::with(network, schedule, picture, &places, band)?;
            let bytes = plan.bytes();
            if bytes <= memory {
                return Ok(plan);
            }
            least = least.min(bytes);
        }
        let (height, width) = picture;
        let (megabytes, needed) = (memory >> 20, (least >> 20) + 1);
        Err(Error::usage(format!("{megabytes} MiB of memory are not enough for a picture of {width}x{height} pixels"))
            .with_hint(format!("painting it needs at least {needed} MiB")))
    }

    /// The plan with these places by level, finest level first, and `band` rows of the coarsest level at a time.
    ///
    /// # Errors
    ///
    /// As [`Network::sizes`].
    pub(super) fn with(
        network: &Network,
        schedule: &Schedule,
        picture: (usize, usize),
        places: &[Place],
        band: usize,
    ) -> Result<Self> {
        let sizes = network.sizes(picture)?;
        let (coarsest, last) = (schedule.coarsest, schedule.last());
        let result = |(index, &layer): (usize, &LayerSchedule)| {
            // Of the last result, only the part that the painting shows.
            let (size, place) = if index == last {
                let reach = layer.reach();
                let columns = if reach > 0 { picture.1 + reach } else { sizes[index].1 };
                ((picture.0 + reach, columns), Place::Window)
            } else {
                let place = places[layer.level];
                (sizes[index], if layer.complete && place == Place::Window { places[coarsest] } else { place })
            };
            StoredResult { layer, size, place }
        };
        let results: Vec<_> = schedule.layers.iter().enumerate().map(result).collect();
        let of_level = |level: usize| results[..last].iter().filter(move |result| result.layer.level == level);
        let largest = (0..coarsest).map(|level| of_level(level).map(StoredResult::floats).max().unwrap_or(0)).collect();
        let bands = bands(&results, picture, places[0], |level| band << (coarsest - level));
        let last_chain = schedule.last_chain();
        Ok(Self { bands, picture, results, coarsest, last_chain, largest })
    }

    /// Height and width of the picture.
    pub(super) fn picture(&self) -> (usize, usize) {
        self.picture
    }

    /// An upper estimate of the bytes that a picture takes: kept results and working rows.
    fn bytes(&self) -> u64 {
        let last = self.results.len() - 1;
        let width = self.results[..last].iter().filter(|result| result.layer.level == 0).map(StoredResult::plane).max();
        let width = width.unwrap_or(self.picture.1).max(self.picture.1 + 2 * NINE_BORDER);
        // Working rows: this many for each level, on the way down and on the way up.
        let input = 4 * self.bands[0].div_ceil(4);
        let output = self.bands[last];
        let mut down = 3 * (input + 16) * width;
        let mut up = self.results[last].layer.channels * (output + 12) * width;
        for (index, result) in self.results[..last].iter().enumerate() {
            let LayerSchedule { level, channels, .. } = result.layer;
            let line = (channels * width) >> level;
            match (result.place, index < self.last_chain) {
                (Place::Window, true) => down += ((input >> level) + 8) * line,
                (Place::Window, false) => up += ((output >> level) + 16usize.saturating_sub(4 * level).max(8)) * line,
                _ => {}
            }
        }
        // A file's rows: three results in a residual block, one on the way up.
        let in_files = self.results[..last].iter().filter(|result| result.place == Place::File);
        let line = in_files.map(|result| (result.layer.channels * width) >> result.layer.level).max().unwrap_or(0);
        down += 3 * (input >> self.coarsest) * line;
        up += ((output >> self.coarsest) + 8) * line;
        // Windows grow at first, and leave their smaller buffers in the pool.
        let windows = 2 * (down + up);
        (self.whole_floats() + windows) as u64 * FLOAT
    }

    /// A place for the result of layer `index`.
    ///
    /// # Errors
    ///
    /// If there is no room for a file.
    pub(super) fn store(&self, index: usize, pool: &mut Pool) -> Result<Store> {
        let result = &self.results[index];
        let StoredResult { layer: LayerSchedule { channels, border, .. }, size, place } = *result;
        Ok(match place {
            Place::Whole => Store::whole(channels, size, border, pool.take(self.buffer_floats(result))),
            Place::File => Store::file(channels, size, border)?,
            Place::Window => Store::window(channels, size, border),
        })
    }
}

/// Candidates of places and rows of the coarsest level at a time, fastest first: more and more of the finest levels is
/// recomputed; in the last ones, kept results are in files.
fn candidates(coarsest: usize) -> impl Iterator<Item = (Vec<Place>, usize)> {
    let places = move |windows: usize, rest: Place| {
        (0..=coarsest).map(|level| if level < windows { Place::Window } else { rest }).collect::<Vec<_>>()
    };
    let whole = (0..=coarsest).map(move |windows| (places(windows, Place::Whole), BAND));
    let files = [BAND, BAND / 2, BAND / 4].into_iter().map(move |band| (places(coarsest, Place::File), band));
    whole.chain(files)
}

/// Rows at a time of each layer's result. `few` gives the rows of a level if rows are recomputed.
fn bands(results: &[StoredResult], picture: (usize, usize), finest: Place, few: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut bands: Vec<usize> = Vec::with_capacity(results.len());
    let (last, others) = (&results[results.len() - 1], &results[..results.len() - 1]);
    for (index, result) in others.iter().enumerate() {
        let few = few(result.layer.level);
        let below = index.checked_sub(1).map(|below| others[below].place);
        bands.push(match below {
            None if result.place == Place::Whole => INPUT_ROWS,
            // Results of one size share the buffers of the first.
            Some(_) if result.layer.keeps_size => bands[index - 1],
            // A kept result computed from a kept result needs no bands.
            Some(Place::Whole) if result.place == Place::Whole => result.size.0.next_multiple_of(ROWS_TOGETHER),
            _ => few,
        });
    }
    let rows = OUTPUT_FLOATS / (last.layer.channels * picture.1);
    let many = rows.clamp(16, 512).next_multiple_of(ROWS_TOGETHER);
    bands.push(if finest == Place::Whole { many } else { few(0) });
    bands
}
