//! Converts rows of pixels to lines of levels and back, for painting a picture from the top down.

use image::DynamicImage;
use rayon::prelude::*;

use super::Picture;

/// Levels of 16 bits per level of 8 bits: 65535 / 255.
const SIXTEEN_PER_EIGHT: f32 = 257.0;

/// Rows that a thread converts at a time.
const ROWS: usize = 4;

impl Picture {
    /// Reads rows from `first` on, RGB in `[0, 255]`: `rows[i]` receives red, green and blue of row `first + i`. 16-bit
    /// levels become fractions.
    ///
    /// # Panics
    ///
    /// If the length of a line differs from the picture's width, or the picture has fewer rows.
    pub fn read_rows(&self, first: usize, rows: &mut [[&mut [f32]; 3]]) {
        let level = |level: u16| f32::from(level) / SIXTEEN_PER_EIGHT;
        match &self.image {
            DynamicImage::ImageRgb8(image) => split::<3, _>(image.as_raw(), first, rows, f32::from),
            DynamicImage::ImageRgba8(image) => split::<4, _>(image.as_raw(), first, rows, f32::from),
            DynamicImage::ImageRgb16(image) => split::<3, _>(image.as_raw(), first, rows, level),
            DynamicImage::ImageRgba16(image) => split::<4, _>(image.as_raw(), first, rows, level),
            _ => unreachable!("a picture is one of these four"),
        }
    }

    /// Replaces the colours of the rows from `first` on by `band`, `(rows, 3, width)`, RGB in `[0, 255]`, clamped and
    /// rounded to the nearest level; alpha, profile and depth are kept.
    ///
    /// # Panics
    ///
    /// If the picture has fewer rows.
    pub fn write_rows(&mut self, first: usize, band: &[f32]) {
        let width = self.width() as usize;
        let level = |level: f32| (level * SIXTEEN_PER_EIGHT + 0.5) as u16;
        match &mut self.image {
            DynamicImage::ImageRgb8(image) => join::<3, _>(band, image, first, width, level_of_8_bits),
            DynamicImage::ImageRgba8(image) => join::<4, _>(band, image, first, width, level_of_8_bits),
            DynamicImage::ImageRgb16(image) => join::<3, _>(band, image, first, width, level),
            DynamicImage::ImageRgba16(image) => join::<4, _>(band, image, first, width, level),
            _ => unreachable!("a picture is one of these four"),
        }
    }
}

/// The first three of `CHANNELS` interleaved samples as lines.
fn split<const CHANNELS: usize, T: Copy + Sync>(
    samples: &[T],
    first: usize,
    rows: &mut [[&mut [f32]; 3]],
    level: impl Fn(T) -> f32 + Sync,
) {
    let Some(width) = rows.first().map(|[red, ..]| red.len()) else { return };
    let pixels = samples.as_chunks::<CHANNELS>().0[first * width..].par_chunks_exact(width);
    assert!(pixels.len() >= rows.len(), "the picture has these rows");
    rows.par_iter_mut().with_min_len(ROWS).zip(pixels).for_each(|(lines, pixels)| {
        for (channel, line) in lines.iter_mut().enumerate() {
            assert_eq!(line.len(), width);
            for (out, pixel) in line.iter_mut().zip(pixels) {
                *out = level(pixel[channel]);
            }
        }
    });
}

/// Writes lines to the first three of `CHANNELS` interleaved samples.
fn join<const CHANNELS: usize, T: Send>(
    band: &[f32],
    samples: &mut [T],
    first: usize,
    width: usize,
    level: impl Fn(f32) -> T + Sync,
) {
    let pixels = samples.as_chunks_mut::<CHANNELS>().0[first * width..].par_chunks_exact_mut(width);
    let rows = band.par_chunks_exact(3 * width);
    assert!(pixels.len() >= rows.len(), "the picture has these rows");
    rows.with_min_len(ROWS).zip(pixels).for_each(|(band, pixels)| {
        let (red, rest) = band.split_at(width);
        let (green, blue) = rest.split_at(width);
        for (i, pixel) in pixels.iter_mut().enumerate() {
            pixel[0] = level(red[i]);
            pixel[1] = level(green[i]);
            pixel[2] = level(blue[i]);
        }
    });
}

/// The nearest level. The cast saturates and converts NaN to 0, so this also clamps. Adding a half rounds without a call to
/// the C library.
#[must_use]
pub fn level_of_8_bits(level: f32) -> u8 {
    (level + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, Rgba32FImage, RgbaImage};

    use super::*;

    /// `(rows, 3, width)` of rows from `first` on.
    fn read(picture: &Picture, first: usize, rows: usize) -> Vec<f32> {
        let width = picture.width() as usize;
        let mut band = vec![0.0; rows * 3 * width];
        let mut lines: Vec<_> = band
            .chunks_exact_mut(3 * width)
            .map(|row| {
                let (red, rest) = row.split_at_mut(width);
                let (green, blue) = rest.split_at_mut(width);
                [red, green, blue]
            })
            .collect();
        picture.read_rows(first, &mut lines);
        band
    }

    #[test]
    fn lines_are_red_green_blue_of_each_row() {
        let image = RgbImage::from_raw(2, 2, vec![0, 0, 0, 9, 9, 9, 1, 2, 3, 4, 5, 6]).unwrap();
        let mut picture = Picture::from(image);
        assert_eq!(read(&picture, 1, 1), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        picture.write_rows(0, &[-3.0, 0.4, 0.5, 254.6, 300.0, f32::NAN]);
        assert_eq!(picture.into_rgb8().into_raw(), [0, 1, 255, 0, 255, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn every_16_bit_level_and_the_alpha_come_back() {
        let image =
            image::ImageBuffer::from_fn(256, 256, |x, y| Rgba([(256 * y + x) as u16, y as u16, 65535, x as u16]));
        let picture = Picture::from(DynamicImage::ImageRgba16(image));
        let mut copy = picture.clone();
        copy.write_rows(0, &read(&picture, 0, 256));
        assert_eq!(copy, picture);
    }

    #[test]
    fn new_colours_keep_the_alpha() {
        let mut picture = Picture::from(DynamicImage::from(RgbaImage::from_pixel(3, 2, Rgba([9, 9, 9, 77]))));
        picture.write_rows(0, &[200.0; 18]);
        assert!(picture.into_image().into_rgba8().pixels().all(|&pixel| pixel == Rgba([200, 200, 200, 77])));
    }

    #[test]
    fn floating_point_levels_are_cut_off_outside_zero_to_one() {
        let image = Rgba32FImage::from_pixel(1, 1, Rgba([-1.0, 0.5, 7.0, 1.0]));
        let picture = Picture::from(DynamicImage::from(image));
        assert_eq!(picture.bits(), 16);
        let levels = read(&picture, 0, 1);
        assert!(levels.iter().zip([0.0, 127.5, 255.0]).all(|(level, expected)| (level - expected).abs() < 0.01));
    }

    #[test]
    fn many_rows_are_the_same_as_few() {
        let image = RgbImage::from_fn(7, 50, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
        let mut picture = Picture::from(image.clone());
        let whole = read(&picture, 0, 50);
        for first in 0..50 {
            assert_eq!(read(&picture, first, 1), whole[21 * first..][..21]);
        }
        picture.write_rows(0, &vec![0.0; whole.len()]);
        picture.write_rows(0, &whole);
        assert_eq!(picture.into_rgb8(), image);
    }
}
