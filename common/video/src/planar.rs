//! Pictures as planes of luma and chroma, the layout of almost every clip.

use image::RgbImage;
use rayon::prelude::*;

use super::Color;
use impasto_kernels::ycc::{self, Coefficients};

/// Lines that a thread converts at a time; a multiple of two.
const LINES: usize = 32;

/// The number of chroma samples per pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChromaSubsampling {
    /// One sample of each for every two by two pixels: 4:2:0.
    Both,
    /// One sample of each for every two pixels of a line: 4:2:2.
    Horizontal,
    /// One sample of each for every pixel: 4:4:4.
    None,
    /// No chroma: grey.
    Grey,
}

impl ChromaSubsampling {
    /// The width and height of a plane of chroma.
    fn chroma_size(self, (width, height): (usize, usize)) -> (usize, usize) {
        match self {
            Self::Both => (width.div_ceil(2), height.div_ceil(2)),
            Self::Horizontal => (width.div_ceil(2), height),
            Self::None => (width, height),
            Self::Grey => (0, 0),
        }
    }

    /// The bytes of a picture of `width` by `height` pixels: luma, Cb, Cr.
    #[must_use]
    pub fn bytes(self, width: u32, height: u32) -> usize {
        let size = (width as usize, height as usize);
        let chroma = self.chroma_size(size);
        size.0 * size.1 + 2 * chroma.0 * chroma.1
    }
}

/// RGB from the planes of luma, Cb and Cr, one after another in `planes`.
///
/// # Panics
///
/// If there are fewer bytes than [`ChromaSubsampling::bytes`].
#[must_use]
pub fn planar_to_rgb(
    planes: &[u8],
    (width, height): (u32, u32),
    subsampling: ChromaSubsampling,
    color: &Color,
) -> RgbImage {
    let coefficients = Coefficients::new(color.matrix.weights(), color.full_range);
    let mut image = RgbImage::new(width, height);
    let size = (width as usize, height as usize);
    let (luma, chroma) = planes.split_at(size.0 * size.1);
    let chroma_size = subsampling.chroma_size(size);
    let (cb, cr) = chroma.split_at(chroma_size.0 * chroma_size.1);
    let reader = ChromaReader { planes: [cb, cr], size: chroma_size, subsampling };
    image.par_chunks_mut(3 * size.0 * LINES).enumerate().for_each(|(block, pixels)| {
        let mut lines = Default::default();
        let mut chroma = [vec![0; size.0], vec![0; size.0]];
        let mut halves = Vec::new();
        for (y, pixels) in (block * LINES..).zip(pixels.chunks_exact_mut(3 * size.0)) {
            reader.read(y, &mut chroma, &mut halves);
            let line = &luma[y * size.0..][..size.0];
            ycc::to_rgb(&coefficients, line, [&chroma[0], &chroma[1]], pixels, &mut lines);
        }
    });
    image
}

/// Planes of luma, Cb and Cr, one after another. Cb and Cr have half the width and height, rounded up.
#[must_use]
pub fn rgb_to_planar(image: &RgbImage, color: &Color) -> Vec<u8> {
    let coefficients = Coefficients::new(color.matrix.weights(), color.full_range);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut planes = vec![0; ChromaSubsampling::Both.bytes(image.width(), image.height())];
    let (luma, chroma) = planes.split_at_mut(width * height);
    let half = width.div_ceil(2);
    let (cb, cr) = chroma.split_at_mut(half * height.div_ceil(2));
    let blocks = luma.par_chunks_mut(LINES * width).zip(cb.par_chunks_mut(LINES / 2 * half));
    let blocks = blocks.zip(cr.par_chunks_mut(LINES / 2 * half)).zip(image.par_chunks(3 * LINES * width));
    blocks.for_each(|(((luma, cb), cr), pixels)| {
        for (luma, pixels) in luma.chunks_exact_mut(width).zip(pixels.chunks_exact(3 * width)) {
            ycc::to_luma(&coefficients, pixels, luma);
        }
        let mut sums = Default::default();
        for ((cb, cr), pair) in cb.chunks_exact_mut(half).zip(cr.chunks_exact_mut(half)).zip(pixels.chunks(6 * width)) {
            let top = &pair[..3 * width];
            let bottom = pair.get(3 * width..).filter(|line| !line.is_empty()).unwrap_or(top);
            ycc::to_halved_chroma(&coefficients, [top, bottom], [cb, cr], &mut sums);
        }
    });
    planes
}

/// Interpolates chroma to lines of full width, with levels times eight.
struct ChromaReader<'a> {
    planes: [&'a [u8]; 2],
    size: (usize, usize),
    subsampling: ChromaSubsampling,
}

impl ChromaReader<'_> {
    fn read(&self, y: usize, lines: &mut [Vec<i16>; 2], halves: &mut Vec<i16>) {
        for (plane, line) in self.planes.iter().zip(lines) {
            let row = |i: usize| &plane[i.min(self.size.1 - 1) * self.size.0..][..self.size.0];
            match self.subsampling {
                ChromaSubsampling::Both => {
                    let far = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
                    ycc::double_chroma(row(y / 2), row(far), line, halves);
                }
                ChromaSubsampling::Horizontal => ycc::double_chroma(row(y), row(y), line, halves),
                ChromaSubsampling::None => {
                    line.iter_mut().zip(row(y)).for_each(|(out, &level)| *out = 8 * i16::from(level));
                }
                ChromaSubsampling::Grey => line.fill(8 * 128),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn slow_ramps_of_any_size_come_back_within_two_levels() {
        for (width, height) in [(1, 1), (2, 2), (3, 5), (64, 70), (33, 1), (1, 9), (40, 65)] {
            let image = RgbImage::from_fn(width, height, |x, y| Rgb([(x + y) as u8, 90 + x as u8, 200 - y as u8]));
            for full_range in [false, true] {
                let color = Color { full_range, ..Color::guess(height) };
                let planes = rgb_to_planar(&image, &color);
                assert_eq!(planes.len(), ChromaSubsampling::Both.bytes(width, height));
                let back = planar_to_rgb(&planes, (width, height), ChromaSubsampling::Both, &color);
                let off = back.iter().zip(image.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                assert!(off <= 2, "{width}x{height}: {off}");
            }
        }
    }

    #[test]
    fn chroma_is_read_at_every_subsampling() {
        let color = Color::guess(576);
        let luma = [81; 12];
        for (subsampling, chroma) in [
            (ChromaSubsampling::Both, 4),
            (ChromaSubsampling::Horizontal, 6),
            (ChromaSubsampling::None, 12),
            (ChromaSubsampling::Grey, 0),
        ] {
            let planes = [&luma[..], &vec![90; chroma], &vec![240; chroma]].concat();
            assert_eq!(planes.len(), subsampling.bytes(4, 3));
            let pixel = planar_to_rgb(&planes, (4, 3), subsampling, &color).get_pixel(3, 2).0;
            // BT.601's red, and its luma as grey.
            let expected = if subsampling == ChromaSubsampling::Grey { [76; 3] } else { [254, 0, 0] };
            assert!(pixel.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{subsampling:?}: {pixel:?}");
        }
    }
}
