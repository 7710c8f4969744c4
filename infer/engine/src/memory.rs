//! What is kept of a picture's layers, and how many rows are computed at a time, within a bound on memory.

use std::sync::OnceLock;

use super::store::{Pool, Store};
use impasto_common::network::StyleNetConfig;
use impasto_error::{Error, Result};
use impasto_kernels::winograd::{NINE_BORDER, ROWS_TOGETHER};

/// Bytes of a float.
const FLOAT: u64 = 4;

/// Floats of the painting's parts that are computed at a time where nothing forces fewer: they stay in the last cache.
const OUTPUT_FLOATS: usize = 1 << 21;

/// Rows of the first layer that are computed at a time where nothing forces fewer.
const INPUT_ROWS: usize = 256;

/// Rows of a quarter of the size that are computed at a time if rows above them are computed again, at most.
const BAND: usize = 16;

/// What the machine's memory is shared with: [`default_memory`] takes one part of this many.
const SHARE: u64 = 2;

/// Bytes if the system does not tell how many are free.
const UNKNOWN: u64 = 2 << 30;

/// The memory that painting may use if nobody says otherwise: half of what the system says is free, in bytes.
///
/// It is asked once: what an engine keeps for the next picture must not count as taken.
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

/// How the layers of one resolution are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory.
    Whole,
    /// In a file.
    File,
    /// Not at all: computed again.
    Window,
}

/// Height and width of every layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) picture: (usize, usize),
    /// Behind each layer of the encoder.
    pub(super) down: [(usize, usize); 3],
    /// Behind each layer of the decoder but the last.
    pub(super) up: [(usize, usize); 2],
}

impl Sizes {
    fn new(picture: (usize, usize)) -> Self {
        let half = |(height, width): (usize, usize)| (height.div_ceil(2), width.div_ceil(2));
        let double = |(height, width)| (2 * height, 2 * width);
        let second = half(picture);
        let third = half(second);
        Self { picture, down: [picture, second, third], up: [double(third), double(double(third))] }
    }
}

/// How a picture of one size is painted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// The layers of full, of half and of a quarter of the size.
    pub(super) first: Place,
    pub(super) second: Place,
    pub(super) trunk: Place,
    /// Rows at a time behind each layer: three of the encoder, the last of which the blocks share, two of the decoder, the
    /// painting.
    pub(super) bands: [usize; 6],
    sizes: Sizes,
    /// Floats of the largest layer of full and of half the size.
    largest: [usize; 2],
}

impl Plan {
    /// The fastest plan that stays below `memory` bytes.
    pub(super) fn new(config: &StyleNetConfig, picture: (usize, usize), memory: u64) -> Result<Self> {
        let candidates = [
            (Place::Whole, Place::Whole, Place::Whole),
            (Place::Window, Place::Whole, Place::Whole),
            (Place::Window, Place::Window, Place::Whole),
            (Place::Window, Place::Window, Place::File),
        ];
        let bands = [BAND, BAND / 2, BAND / 4];
        let plans = candidates.into_iter().flat_map(|(first, second, trunk)| {
            let bands = bands.into_iter().take(if trunk == Place::Whole { 1 } else { bands.len() });
            bands.map(move |band| Self::with(config, picture, [first, second, trunk], band))
        });
        let mut least = u64::MAX;
        for plan in plans {
            let bytes = plan.bytes(config);
            if bytes <= memory {
                return Ok(plan);
            }
            least = least.min(bytes);
        }
        let (height, width) = picture;
        let (megabytes, needed) = (memory >> 20, (least >> 20) + 1);
        Err(Error::usage(format!("{megabytes} MiB of memory do not suffice for a picture of {width}x{height} pixels"))
            .with_hint(format!("it takes at least {needed} MiB")))
    }

    pub(super) fn with(config: &StyleNetConfig, picture: (usize, usize), places: [Place; 3], band: usize) -> Self {
        let [first, second, trunk] = places;
        let sizes = Sizes::new(picture);
        let c1 = config.channels;
        let floats = |(height, width): (usize, usize), channels: usize| height * width * channels;
        let bordered = (sizes.up[1].0, sizes.up[1].1 + 2 * NINE_BORDER);
        let largest = [floats(bordered, c1), floats(sizes.up[0], 2 * c1)];
        // A layer that is kept, made from one that is, needs no bands.
        let rows = |place: Place, below: Place, height: usize, band: usize| {
            if place == Place::Whole && below == Place::Whole { height.next_multiple_of(ROWS_TOGETHER) } else { band }
        };
        let output_rows = (OUTPUT_FLOATS / (27 * picture.1)).clamp(16, 512).next_multiple_of(ROWS_TOGETHER);
        let bands = [
            if first == Place::Whole { INPUT_ROWS } else { 4 * band },
            rows(second, first, sizes.down[1].0, 2 * band),
            rows(trunk, second, sizes.down[2].0, band),
            rows(second, trunk, sizes.up[0].0, 2 * band),
            rows(first, second, sizes.up[1].0, 4 * band),
            if first == Place::Whole { output_rows } else { 4 * band },
        ];
        Self { first, second, trunk, bands, sizes, largest }
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Bytes that a picture takes, layers and rows at hand, generously.
    fn bytes(&self, config: &StyleNetConfig) -> u64 {
        let (_, width) = self.sizes.up[1];
        let (c1, width) = (config.channels, width + 2 * NINE_BORDER);
        let trunk = self.sizes.down[2].0 * self.sizes.down[2].1 * 4 * c1;
        let kept = |place, floats: usize| if place == Place::Whole { floats } else { 0 };
        // The buffers of the larger layers serve the trunk too, which needs three.
        let large = [kept(self.first, self.largest[0]), kept(self.second, self.largest[1])];
        let trunks = 3 - large.iter().filter(|&&floats| floats > 0).count();
        let layers = large.iter().sum::<usize>() + trunks * kept(self.trunk, trunk);
        // Rows at hand, in floats of one line of one channel at full size.
        let band = self.bands[0].div_ceil(4);
        let window = |place, rows: usize| if place == Place::Whole { 0 } else { rows };
        let encoding = 3 * (4 * band + 16)
            + c1 * (window(self.first, 4 * band + 8)
                + window(self.second, 2 * band + 8)
                + window(self.trunk, 3 * band));
        let output = self.bands[5];
        let decoding = 27 * (output + 12)
            + c1 * (window(self.first, output + 16)
                + window(self.second, output / 2 + 12)
                + window(self.trunk, output / 4 + 8));
        // Windows grow at first, and leave what they grew out of in the pool.
        let windows = 2 * (encoding + decoding) * width;
        (layers + windows) as u64 * FLOAT
    }

    /// A place for a layer.
    pub(super) fn store(
        &self,
        place: Place,
        channels: usize,
        size: (usize, usize),
        border: usize,
        pool: &mut Pool,
    ) -> Result<Store> {
        let floats = size.0 * (size.1 + 2 * border) * channels;
        // The layers of the encoder and of the decoder share buffers.
        let shared = self.largest.into_iter().filter(|&largest| floats <= largest && 4 * floats > 3 * largest).min();
        Ok(match place {
            Place::Whole => Store::whole(channels, size, border, pool.take(shared.unwrap_or(floats))),
            Place::File => Store::file(channels, size, border)?,
            Place::Window => Store::window(channels, size, border),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::Preset;

    #[test]
    fn less_memory_keeps_less() {
        let plan = |memory| {
            Plan::new(&Preset::L.into(), (3000, 4000), memory).map(|plan| (plan.first, plan.second, plan.trunk))
        };
        assert_eq!(plan(4 << 30).unwrap(), (Place::Whole, Place::Whole, Place::Whole));
        assert_eq!(plan(2 << 30).unwrap(), (Place::Window, Place::Whole, Place::Whole));
        assert_eq!(plan(256 << 20).unwrap(), (Place::Window, Place::Window, Place::File));
        let error = plan(1 << 20).unwrap_err();
        assert!(error.to_string().starts_with("1 MiB of memory do not suffice for a picture of 4000x3000"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.ends_with("MiB")));
    }

    #[test]
    fn a_hundred_megapixels_fit_a_gibibyte() {
        for preset in Preset::ALL {
            Plan::new(&preset.into(), (8660, 11547), 600 << 20).unwrap();
        }
    }
}
