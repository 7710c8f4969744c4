//! Marks that a network leaves on its paintings and no painter does: a frame along the borders, and a pattern on the network's
//! own grid.
//!
//! Both are differences that would vanish in the mean over many pictures. The frame comes from the loss network, which pads
//! with zeros and takes the edge of a crop for the edge of the painting. The grid comes from strides: a network that halves
//! the picture twice paints each of four neighbouring pixels in its own way (Odena et al., 2016, "Deconvolution and
//! Checkerboard Artifacts").

use std::f64::consts::TAU;
use std::ops::Range;

use image::imageops::{flip_horizontal, flip_vertical};
use image::{Rgb, RgbImage};
use serde::Serialize;

/// The width of the outermost part of a side, pixels: as wide as a frame is about.
const OUTER: u32 = 12;
/// The width of the part beside it that it is compared with, pixels.
const INNER: u32 = 48;
/// The side of the tiles whose spectra are taken, pixels. A fixed side makes pictures of different sizes comparable: a
/// regular pattern stands out more in a larger tile.
const TILE: usize = 64;
/// The frequencies that are compared, in periods per tile: a period of 4 pixels, and its neighbours.
const FREQUENCIES: [usize; 3] = [TILE / 4 - 1, TILE / 4, TILE / 4 + 1];
/// Luma of red, green and blue (ITU-R BT.601).
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// How much the border of a painting differs from what is beside it, by side, in levels of 255.
///
/// For each side: the mean colour of the outermost 12 pixels minus that of the next 48, averaged over paintings of photos and
/// their flips; then the Euclidean length of this difference of red, green and blue. What the photos show cancels out over
/// photos and flips. A painting without a frame has a few levels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrameIndex {
    /// The upper side.
    pub top: f64,
    /// The lower side.
    pub bottom: f64,
    /// The left side.
    pub left: f64,
    /// The right side.
    pub right: f64,
}

/// How much a pattern with a period of 4 pixels stands out in paintings; 1 is not at all.
///
/// The spectral power of the luma at a period of 4 pixels, divided by the mean power at the frequencies beside it (15 and 17
/// periods in 64 pixels), summed over all lines of the 64x64 tiles of a painting, and averaged over paintings. Photos and
/// real paintings have about 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GridIndex {
    /// Along the columns: stripes that lie.
    pub down: f64,
    /// Along the rows: stripes that stand.
    pub across: f64,
}

/// Sums the marks of paintings of one size.
#[derive(Debug, Default)]
pub(crate) struct MarkMeter {
    paintings: usize,
    /// The sums of the differences of top, bottom, left and right.
    frame: [[f64; 3]; 4],
    /// Paintings with any detail, and the sums of their ratios down and across.
    detailed: usize,
    grid: [f64; 2],
}

/// A photo and its three flips.
pub(crate) fn flips(photo: &RgbImage) -> [RgbImage; 4] {
    let upside_down = flip_vertical(photo);
    [photo.clone(), flip_horizontal(photo), flip_horizontal(&upside_down), upside_down]
}

impl MarkMeter {
    /// Adds a painting. One with a side below 64 pixels is too small to count.
    pub(crate) fn add(&mut self, painting: &RgbImage) {
        let (width, height) = painting.dimensions();
        if width.min(height) < TILE as u32 {
            return;
        }
        self.paintings += 1;
        let down = |rows| mean(painting, rows, 0..width);
        let across = |columns| mean(painting, 0..height, columns);
        let (near, far) = (0..OUTER, OUTER..OUTER + INNER);
        let last = |side: u32, part: &Range<u32>| side - part.end..side - part.start;
        let pairs = [
            (down(near.clone()), down(far.clone())),
            (down(last(height, &near)), down(last(height, &far))),
            (across(near.clone()), across(far.clone())),
            (across(last(width, &near)), across(last(width, &far))),
        ];
        for (sum, (near, far)) in self.frame.iter_mut().zip(pairs) {
            (0..3).for_each(|colour| sum[colour] += near[colour] - far[colour]);
        }
        let luma: Vec<f64> = painting.pixels().map(|&pixel| luma(pixel)).collect();
        let (height, width) = (height as usize, width as usize);
        let ratios = [(width, 1), (1, width)].map(|steps| period_of_four(&luma, (height, width), steps));
        if let [Some(down), Some(across)] = ratios {
            self.detailed += 1;
            self.grid[0] += down;
            self.grid[1] += across;
        }
    }

    /// The frame of the paintings so far; `None` if there was none that is large enough.
    pub(crate) fn frame(&self) -> Option<FrameIndex> {
        let length = |sum: [f64; 3]| sum.iter().map(|sum| (sum / self.paintings as f64).powi(2)).sum::<f64>().sqrt();
        let [top, bottom, left, right] = self.frame.map(length);
        (self.paintings > 0).then_some(FrameIndex { top, bottom, left, right })
    }

    /// The grid of the paintings so far; `None` if there was none that is large enough and not flat.
    pub(crate) fn grid(&self) -> Option<GridIndex> {
        let [down, across] = self.grid.map(|sum| sum / self.detailed as f64);
        (self.detailed > 0).then_some(GridIndex { down, across })
    }
}

/// The mean colour of these rows and columns.
fn mean(painting: &RgbImage, rows: Range<u32>, columns: Range<u32>) -> [f64; 3] {
    let pixels = f64::from(rows.end - rows.start) * f64::from(columns.end - columns.start);
    let mut sum = [0; 3];
    for pixel in rows.flat_map(|y| columns.clone().map(move |x| painting.get_pixel(x, y))) {
        sum.iter_mut().zip(pixel.0).for_each(|(sum, level)| *sum += u64::from(level));
    }
    sum.map(|sum| sum as f64 / pixels)
}

fn luma(pixel: Rgb<u8>) -> f64 {
    pixel.0.into_iter().zip(LUMA).map(|(level, weight)| weight * f64::from(level)).sum()
}

/// The power at a period of 4 pixels, divided by the mean power at the frequencies beside it; `None` if there is none.
///
/// `along` is the distance from one value of a line to the next, `beside` that from one line to the next.
fn period_of_four(luma: &[f64], (height, width): (usize, usize), (along, beside): (usize, usize)) -> Option<f64> {
    let waves = FREQUENCIES.map(wave);
    let mut power = [0.0; FREQUENCIES.len()];
    for tile in (0..height / TILE).flat_map(|y| (0..width / TILE).map(move |x| TILE * (y * width + x))) {
        for line in 0..TILE {
            for (power, wave) in power.iter_mut().zip(&waves) {
                let (mut cosine, mut sine) = (0.0, 0.0);
                for (place, &(c, s)) in wave.iter().enumerate() {
                    let value = luma[tile + line * beside + place * along];
                    cosine += c * value;
                    sine += s * value;
                }
                *power += cosine * cosine + sine * sine;
            }
        }
    }
    let beside = f64::midpoint(power[0], power[2]);
    // Rounding leaves some power in flat lines.
    (beside > 1e-6).then(|| power[1] / beside)
}

/// Cosine and sine of a frequency, in periods per tile.
fn wave(frequency: usize) -> [(f64, f64); TILE] {
    std::array::from_fn(|place| {
        let angle = TAU * (frequency * place % TILE) as f64 / TILE as f64;
        (angle.cos(), angle.sin())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marks of a painting of 160x96 pixels with these levels at `(y, x)`.
    fn marks(level: impl Fn(u32, u32) -> [u8; 3]) -> MarkMeter {
        let mut meter = MarkMeter::default();
        meter.add(&RgbImage::from_fn(160, 96, |x, y| Rgb(level(y, x))));
        meter
    }

    #[test]
    fn a_dark_band_along_one_side_is_the_frame_of_this_side() {
        // 30 levels of red and 40 of green are 50 levels.
        let frame = marks(|y, _| if y >= 96 - 12 { [170, 60, 9] } else { [200, 100, 9] }).frame().unwrap();
        assert!((frame.bottom - 50.0).abs() < 1e-6 && frame.top.abs() < 1e-6, "{frame:?}");
        assert!(frame.left.abs() < 1e-6 && frame.right.abs() < 1e-6, "{frame:?}");
        let frame = marks(|_, x| if x < 12 { [8; 3] } else { [5; 3] }).frame().unwrap();
        assert!((frame.left - 27f64.sqrt()).abs() < 1e-6 && frame.right.abs() < 1e-6, "{frame:?}");
    }

    #[test]
    fn what_a_photo_shows_cancels_out_over_its_flips() {
        let photo = RgbImage::from_fn(160, 96, |x, y| Rgb([x as u8, 2 * y as u8, 7]));
        let mut meter = MarkMeter::default();
        for flip in flips(&photo) {
            meter.add(&flip);
        }
        let frame = meter.frame().unwrap();
        assert!([frame.top, frame.bottom, frame.left, frame.right].iter().all(|side| *side < 1e-6), "{frame:?}");
    }

    #[test]
    fn stripes_every_four_rows_stand_out_down_and_not_across() {
        let start = crate::optimize::noise(160, 96, 1, 0);
        let grey = |y: u32, x: u32| start.get_pixel(x, y).0[0] / 4;
        let grid = marks(|y, x| [grey(y, x); 3]).grid().unwrap();
        assert!((0.85..1.15).contains(&grid.down) && (0.85..1.15).contains(&grid.across), "{grid:?}");
        let grid = marks(|y, x| [grey(y, x) + if y % 4 == 0 { 20 } else { 0 }; 3]).grid().unwrap();
        assert!(grid.down > 3.0 && (0.85..1.15).contains(&grid.across), "{grid:?}");
    }

    #[test]
    fn a_painting_that_is_too_small_or_flat_has_no_index() {
        let mut meter = MarkMeter::default();
        meter.add(&RgbImage::new(63, 70));
        assert_eq!((meter.frame(), meter.grid()), (None, None));
        let flat = marks(|_, _| [77; 3]);
        assert!(flat.frame().is_some() && flat.grid().is_none());
    }
}
