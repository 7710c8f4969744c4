//! Plans which layer results are kept, and how many rows are computed at a time, within a bound on memory.
//!
//! A plan has a [`Place`] for each level of resolution. Results of the finest levels may be recomputed instead of kept.
//! Complete results (see [`super::schedule`]) and those of the coarsest level are always kept, in files if necessary.
//! Recomputing rows is cheap where results halve on the way down and double on the way up. For a network with many
//! consecutive layers of one size a plan is still correct, but slow if memory is short.

mod available;
mod buffers;
#[cfg(test)]
mod tests;

pub use available::{ARENAS_VARIABLE, address_space_is_limited, default_memory};

use super::Rows;
use super::schedule::{LayerSchedule, Schedule};
use super::store::{Pool, Store};
use impasto_common::network::{COLOURS, Network};
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

/// What the reader of a picture says of itself: see [`Rows`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsFacts {
    /// [`Rows::own_size`].
    pub(super) own_size: (usize, usize),
    /// [`Rows::own_bytes`].
    pub(super) own_bytes: u64,
}

impl RowsFacts {
    pub(super) fn of(rows: &dyn Rows) -> Self {
        Self { own_size: rows.own_size(), own_bytes: rows.own_bytes() }
    }
}

/// How a picture of one size is painted.
#[derive(Debug, Clone)]
pub(super) struct MemoryPlan {
    /// Rows of each layer's result that are computed at a time; for the last layer, rows of the painting.
    pub(super) bands: Vec<usize>,
    picture: (usize, usize),
    results: Vec<StoredResult>,
    /// The layers after the last complete result.
    last_chain: usize,
    /// Floats of the largest result of each level but the coarsest.
    largest: Vec<usize>,
    /// Whether all kernels write their results where they are stored.
    specialized: bool,
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
    /// If there is none (the error gives the memory that painting `rows` needs, and their own size), or as
    /// [`Network::sizes`].
    pub(super) fn new(
        network: &Network,
        schedule: &Schedule,
        picture: (usize, usize),
        rows: RowsFacts,
        memory: u64,
    ) -> Result<Self> {
        let mut least = u64::MAX;
        for (places, band) in candidates(schedule.coarsest) {
            let plan = Self::with(network, schedule, picture, &places, band)?;
            let bytes = plan.bytes() + rows.own_bytes;
            if bytes <= memory {
                return Ok(plan);
            }
            least = least.min(bytes);
        }
        Err(too_little(memory, least, rows.own_size))
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
        let last_chain = schedule.last_chain();
        let few = |index: usize, level: usize| {
            // On the way down rows are computed for the coarsest level, which computes several together.
            let band = if index < last_chain { band.max(ROWS_TOGETHER) } else { band };
            (band << (coarsest - level)).max(ROWS_TOGETHER)
        };
        let bands = bands(&results, picture, places[0], few);
        let specialized = schedule.layers.iter().all(LayerSchedule::is_specialized);
        Ok(Self { bands, picture, results, last_chain, largest, specialized })
    }

    /// Height and width of the picture.
    pub(super) fn picture(&self) -> (usize, usize) {
        self.picture
    }

    /// Whether there is so little memory that buffers are freed as soon as they are not needed.
    pub(super) fn is_frugal(&self) -> bool {
        self.results.iter().any(|result| result.place == Place::File)
    }

    /// An upper estimate of the bytes that a picture takes: kept results and working rows.
    pub(super) fn bytes(&self) -> u64 {
        let last = self.results.len() - 1;
        let width = self.results[..last].iter().filter(|result| result.layer.level == 0).map(StoredResult::plane).max();
        let width = width.unwrap_or(self.picture.1).max(self.picture.1 + 2 * NINE_BORDER);
        // Working rows: this many for each level, on the way down and on the way up, and a band of the painting.
        let mut down = COLOURS * (self.input_rows() + 16) * width;
        let mut up = (self.results[last].layer.channels * (self.bands[last] + 12) + COLOURS * self.bands[last]) * width;
        let mut line_in_files = 0;
        for (index, result) in self.results[..last].iter().enumerate() {
            let line = (result.layer.channels * width) >> result.layer.level;
            match result.place {
                Place::Whole => {}
                Place::File => line_in_files = line_in_files.max(line),
                Place::Window if index < self.last_chain => down += self.window_rows(index) * line,
                Place::Window => up += self.window_rows(index) * line,
            }
        }
        // A file's rows: three results in a residual block, one on the way up.
        down += 3 * self.file_rows() * line_in_files;
        up += (self.file_rows() + 8) * line_in_files;
        let windows = if self.is_frugal() { down.max(up) } else { down + up };
        // Other kernels write into a buffer first.
        let windows = if self.specialized { windows } else { 2 * windows };
        (self.whole_floats() + windows) as u64 * FLOAT
    }

    /// Rows of the picture that are read at a time.
    fn input_rows(&self) -> usize {
        self.bands[0].next_multiple_of(ROWS_TOGETHER)
    }

    /// The most rows of layer `index` that a window holds at a time.
    fn window_rows(&self, index: usize) -> usize {
        let (level, last) = (self.results[index].layer.level, self.results.len() - 1);
        if index < self.last_chain {
            (self.input_rows() >> level) + 8
        } else {
            (self.bands[last] >> level) + 16usize.saturating_sub(4 * level).max(8)
        }
    }

    /// The most rows of a result in a file that are computed at a time.
    fn file_rows(&self) -> usize {
        let in_files = self.results.iter().zip(&self.bands).filter(|(result, _)| result.place == Place::File);
        in_files.map(|(_, &rows)| rows).max().unwrap_or(0)
    }

    /// A place for rows of the picture, with `border` columns on both sides.
    pub(super) fn picture_store(&self, border: usize, pool: &mut Pool) -> Store {
        let (height, width) = self.picture;
        let rows = (self.input_rows() + 16).min(height);
        Store::window_in(COLOURS, self.picture, border, pool.take(rows * COLOURS * (width + 2 * border)))
    }

    /// A place for the result of layer `index`.
    ///
    /// # Errors
    ///
    /// If there is no room for a file.
    pub(super) fn store(&self, index: usize, pool: &mut Pool) -> Result<Store> {
        let result = &self.results[index];
        let StoredResult { layer: LayerSchedule { channels, border, .. }, size, place } = *result;
        // A window that grew would need the old buffer and the new one at once.
        let mut rows_of = |rows: usize| pool.take(rows.min(size.0) * result.plane() * channels);
        Ok(match place {
            Place::Whole => Store::whole(channels, size, border, pool.take(self.buffer_floats(result))),
            Place::File => Store::file(channels, size, border, rows_of(self.bands[index]))?,
            Place::Window if index + 1 == self.results.len() => {
                Store::window_in(channels, size, border, rows_of(self.bands[index] + 12))
            }
            Place::Window => Store::window_in(channels, size, border, rows_of(self.window_rows(index))),
        })
    }
}

/// The error for a picture of this height and width whose smallest plan needs more than what is allowed.
fn too_little(allowed: u64, needed: u64, (height, width): (usize, usize)) -> Error {
    let (kibibytes, mebibytes) = (allowed >> 10, allowed >> 20);
    let allowed = if mebibytes == 0 { format!("{kibibytes} KiB") } else { format!("{mebibytes} MiB") };
    let needed = needed.div_ceil(1 << 20);
    Error::usage(format!("{allowed} of memory are not enough for a picture of {width}x{height} pixels"))
        .with_hint(format!("painting it needs at least {needed} MiB"))
}

/// Candidates of places and rows of the coarsest level at a time, fastest first: more and more of the finest levels is
/// recomputed; in the last ones, kept results are in files.
fn candidates(coarsest: usize) -> impl Iterator<Item = (Vec<Place>, usize)> {
    let places = move |windows: usize, rest: Place| {
        (0..=coarsest).map(|level| if level < windows { Place::Window } else { rest }).collect::<Vec<_>>()
    };
    let whole = (0..=coarsest).map(move |windows| (places(windows, Place::Whole), BAND));
    let files = [BAND, BAND / 2, BAND / 4, BAND / 8, BAND / 16]
        .into_iter()
        .map(move |band| (places(coarsest, Place::File), band));
    whole.chain(files)
}

/// Rows at a time of each layer's result. `few` gives the rows of a layer of this index and level if rows are recomputed.
fn bands(
    results: &[StoredResult],
    picture: (usize, usize),
    finest: Place,
    few: impl Fn(usize, usize) -> usize,
) -> Vec<usize> {
    let mut bands: Vec<usize> = Vec::with_capacity(results.len());
    let (last, others) = (&results[results.len() - 1], &results[..results.len() - 1]);
    for (index, result) in others.iter().enumerate() {
        let few = few(index, result.layer.level);
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
    bands.push(if finest == Place::Whole { many } else { few(results.len() - 1, 0) });
    bands
}
