//! The contrast of strokes, kept while paintings are mixed.
//!
//! The mean of two strokes that do not match is paler than either: a mixture loses contrast, and in many frames most of it.
//! Here the deviations from the local mean are scaled to the variance that the painting had before it was mixed, as Heitz and
//! Neyret (2018, "High-Performance By-Example Noise using a Histogram-Preserving Blending Operator", section 3) do with
//! textures.

use common::flow::Frame;
use rayon::prelude::*;

/// Side of the squares in which contrast is measured, pixels. Larger ones leave the finest strokes pale, which match the least.
const BLOCK: usize = 4;
/// No more contrast than this is given back: that of two unlike strokes mixed half and half.
const MOST: f32 = 1.45;
/// A variance, squared levels, too small to be strokes.
const FLAT: f32 = 4.0;

/// Mean colours and variance of luma in squares of a frame.
#[derive(Debug)]
pub(super) struct Blocks {
    columns: usize,
    /// Red, green, blue, luma, and the variance of luma.
    blocks: Vec<[f32; 5]>,
}

impl Blocks {
    pub(super) fn of(frame: &Frame) -> Self {
        let (height, width) = frame.size();
        let (rows, columns) = (height.div_ceil(BLOCK), width.div_ceil(BLOCK));
        let mut blocks = vec![[0.0; 5]; rows * columns];
        blocks.par_chunks_mut(columns.max(1)).zip(frame.pixels().par_chunks((BLOCK * width).max(1))).for_each(
            |(blocks, pixels)| {
                for line in pixels.chunks_exact(width) {
                    for (sums, pixels) in blocks.iter_mut().zip(line.chunks(BLOCK)) {
                        for pixel in pixels {
                            for (sum, level) in sums.iter_mut().zip(pixel) {
                                *sum += level;
                            }
                            sums[4] += pixel[3] * pixel[3];
                        }
                    }
                }
                let lines = pixels.len() / width;
                for (i, sums) in blocks.iter_mut().enumerate() {
                    let per = 1.0 / (lines * BLOCK.min(width - i * BLOCK)) as f32;
                    *sums = sums.map(|sum| sum * per);
                    sums[4] = (sums[4] - sums[3] * sums[3]).max(0.0);
                }
            },
        );
        Self { columns, blocks }
    }

    /// Gives `frame`, whose blocks these are, the contrast of `own`.
    pub(super) fn restore(mut self, frame: &mut Frame, own: &Self) {
        for (mixed, own) in self.blocks.iter_mut().zip(&own.blocks) {
            mixed[4] = ((own[4] + FLAT) / (mixed[4] + FLAT)).sqrt().clamp(1.0, MOST) - 1.0;
        }
        let width = frame.size().1.max(1);
        let rows = self.blocks.len() / self.columns.max(1);
        frame.pixels_mut().par_chunks_exact_mut(width).enumerate().for_each_init(
            || vec![[0.0; 5]; self.columns],
            |line, (y, pixels)| {
                let (above, below, down) = between(y, rows);
                for (i, out) in line.iter_mut().enumerate() {
                    *out = blend(&self.blocks[above * self.columns + i], &self.blocks[below * self.columns + i], down);
                }
                for (x, pixel) in pixels.iter_mut().enumerate() {
                    let (left, right, across) = between(x, self.columns);
                    let around = blend(&line[left], &line[right], across);
                    for (level, mean) in pixel.iter_mut().zip(around) {
                        *level = (*level + around[4] * (*level - mean)).clamp(0.0, 255.0);
                    }
                }
            },
        );
    }
}

/// The blocks whose centres lie on both sides of a pixel, and how far it lies behind the first.
fn between(at: usize, blocks: usize) -> (usize, usize, f32) {
    let position = ((at as f32 + 0.5) / BLOCK as f32 - 0.5).clamp(0.0, (blocks - 1) as f32);
    let first = position as usize;
    (first, (first + 1).min(blocks - 1), position - first as f32)
}

fn blend(a: &[f32; 5], b: &[f32; 5], share: f32) -> [f32; 5] {
    std::array::from_fn(|i| a[i] + share * (b[i] - a[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes, three pixels wide, around a colour.
    fn stripes(contrast: f32, phase: usize) -> Frame {
        let pixel = |i: usize| {
            let up = ((i % 45 + phase) / 3).is_multiple_of(2);
            [100.0, 120.0, 140.0, 118.0].map(|level| level + if up { contrast } else { -contrast })
        };
        Frame::from_pixels((37, 45), (0..37 * 45).map(pixel).collect())
    }

    fn variance(frame: &Frame) -> f32 {
        let luma = frame.pixels().iter().map(|pixel| pixel[3]);
        let mean = luma.clone().sum::<f32>() / luma.len() as f32;
        luma.map(|level| (level - mean) * (level - mean)).sum::<f32>() / frame.pixels().len() as f32
    }

    #[test]
    fn paler_strokes_get_their_contrast_back_and_keep_their_colour() {
        let (own, mut mixed) = (stripes(40.0, 0), stripes(30.0, 0));
        Blocks::of(&mixed).restore(&mut mixed, &Blocks::of(&own));
        assert!((variance(&mixed) / variance(&own) - 1.0).abs() < 0.05, "{} of {}", variance(&mixed), variance(&own));
        let mean =
            |frame: &Frame| frame.pixels().iter().map(|pixel| pixel[0]).sum::<f32>() / frame.pixels().len() as f32;
        assert!((mean(&mixed) - mean(&own)).abs() < 1.0);
    }

    #[test]
    fn what_has_its_contrast_and_what_is_flat_stay() {
        let own = stripes(40.0, 0);
        for frame in [stripes(40.0, 2), stripes(60.0, 0)] {
            let mut same = frame.clone();
            Blocks::of(&same).restore(&mut same, &Blocks::of(&own));
            let off = same.pixels().iter().zip(frame.pixels()).map(|(a, b)| (a[3] - b[3]).abs()).fold(0.0, f32::max);
            assert!(off < 6.0, "{off}");
        }
        let mut flat = stripes(0.0, 0);
        Blocks::of(&flat).restore(&mut flat, &Blocks::of(&own));
        assert!(variance(&flat) < 1e-3);
    }
}
