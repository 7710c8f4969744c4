//! Random square crops of a photo, as planes of bytes.

use image::RgbImage;
use impasto_common::Result;
use rand::{Rng, RngExt};

use crate::resample::{self, Rectangle};

/// If all channels of a crop span fewer levels than this, the crop counts as having one colour.
///
/// Such a crop must not be trained on. The variance in every instance normalisation would be zero except for rounding. Each
/// normalisation would multiply the gradient by 300, and all of them together would overflow f32.
pub(super) const LEVELS: u8 = 8;

/// How one photo is cropped, in fractions of the possible range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crop {
    zoom: f64,
    left: f64,
    top: f64,
    pub(super) flip: bool,
}

impl Crop {
    pub(super) fn draw(random: &mut impl Rng) -> Self {
        Self { zoom: random.random(), left: random.random(), top: random.random(), flip: random.random() }
    }

    /// A square of the photo. Its side is the photo's short side divided by a factor between 1 and `zoom`.
    fn cut(&self, photo: &RgbImage, size: usize, zoom: f64) -> Result<RgbImage> {
        let (width, height) = photo.dimensions();
        let side = (f64::from(width.min(height)) / (1.0 + self.zoom * (zoom - 1.0))).round() as u32;
        // The fraction is below 1, so the result is always a valid position.
        let place = |fraction: f64, length: u32| (fraction * f64::from(length - side + 1)) as u32;
        let (left, top) = (place(self.left, width), place(self.top, height));
        let square = Rectangle { left, top, width: side, height: side };
        resample::resize(photo, square, size as u32, size as u32)
    }
}

/// Whether all channels span fewer than [`LEVELS`] levels.
fn is_flat(crop: &RgbImage) -> bool {
    (0..3).all(|channel| {
        let levels = || crop.pixels().map(|pixel| pixel.0[channel]);
        levels().max().unwrap_or(0) - levels().min().unwrap_or(0) < LEVELS
    })
}

/// Appends the three planes of a crop, row by row; `flip` mirrors it left to right.
pub(super) fn append_planes(pixels: &mut Vec<u8>, crop: &RgbImage, flip: bool) {
    for channel in 0..3 {
        for row in crop.rows() {
            let values = row.map(|pixel| pixel.0[channel]);
            if flip { pixels.extend(values.rev()) } else { pixels.extend(values) }
        }
    }
}

/// The crops of a photo that are tried, in order.
pub(super) struct CropTries<'a> {
    pub(super) crops: &'a [Crop],
    pub(super) size: usize,
    pub(super) zoom: f64,
}

impl CropTries<'_> {
    /// The first crop that has more than one colour.
    pub(super) fn contrasting(&self, photo: &RgbImage) -> Result<Option<RgbImage>> {
        for crop in self.crops {
            let cut = crop.cut(photo, self.size, self.zoom)?;
            if !is_flat(&cut) {
                return Ok(Some(cut));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn crops_are_squares_inside_the_photo_down_to_the_zoom() {
        let photo = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, y as u8, 0]));
        let mut corners = Vec::new();
        for sample in 0..200 {
            let crop = Crop::draw(&mut generator(3, Purpose::Crop, sample)).cut(&photo, 30, 1.2).unwrap();
            assert_eq!(crop.dimensions(), (30, 30));
            let (first, last) = (crop.get_pixel(0, 0), crop.get_pixel(29, 29));
            let (width, height) = (last[0] - first[0], last[1] - first[1]);
            assert!((24..=30).contains(&width) && width.abs_diff(height) <= 1, "{width}x{height}");
            corners.push(first[0]);
        }
        assert!(corners.contains(&0) && corners.iter().any(|&left| left >= 10));
    }

    #[test]
    fn planes_follow_each_other_and_a_flip_turns_rows_round() {
        let crop = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8, 10 + x as u8, 20 + x as u8]));
        let planes = |flip| {
            let mut pixels = Vec::new();
            append_planes(&mut pixels, &crop, flip);
            pixels
        };
        assert_eq!(planes(false), [0, 1, 10, 11, 20, 21]);
        assert_eq!(planes(true), [1, 0, 11, 10, 21, 20]);
    }
}
