//! The contrast of strokes and their finest detail, kept while paintings are mixed.
//!
//! The mean of two strokes that do not match is paler than either, and softer: a mixture loses contrast, and in many frames most of
//! it. Here the deviations from the local mean are scaled to the variance that the painting had before it was mixed, as Heitz
//! and Neyret (2018, "High-Performance By-Example Noise using a Histogram-Preserving Blending Operator", section 3) do with
//! textures; and once more those from the mean of the nearest pixels, of which a mixture keeps the least, and which the first
//! layers of a loss network judge most strictly.

use common::flow::Frame;
use rayon::prelude::*;

/// Side of the squares in which contrast is measured, pixels. Larger ones leave the finest strokes pale, which match the least.
const BLOCK: usize = 4;
/// No more contrast than this is given back: that of two unlike strokes mixed half and half.
const MOST: f32 = 1.45;
/// A variance, squared levels, too small to be strokes.
const FLAT: f32 = 4.0;

/// Mean colours and variances of luma in squares of a frame.
#[derive(Debug)]
pub(super) struct Blocks {
    columns: usize,
    blocks: Vec<Block>,
}

/// One square of a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// Red, green, blue, luma.
    mean: [f32; 4],
    /// Of luma about its mean; after [`Blocks::compare`], how much of the deviation is to be added.
    variance: f32,
    /// The same about the mean of the nearest pixels.
    detail: f32,
}

impl Blocks {
    pub(super) fn of(frame: &Frame) -> Self {
        let (height, width) = frame.size();
        let (rows, columns) = (height.div_ceil(BLOCK), width.div_ceil(BLOCK));
        let mut blocks = vec![Block::default(); rows * columns];
        blocks.par_chunks_mut(columns.max(1)).enumerate().for_each_init(
            || vec![0.0; width],
            |sums, (row, blocks)| {
                let lines = row * BLOCK..height.min((row + 1) * BLOCK);
                for y in lines.clone() {
                    let around = Lines::about(frame, y);
                    around.sum(sums);
                    for (x, pixel) in around.middle.iter().enumerate() {
                        let block = &mut blocks[x / BLOCK];
                        for (sum, level) in block.mean.iter_mut().zip(pixel) {
                            *sum += level;
                        }
                        block.variance += pixel[3] * pixel[3];
                        block.detail += (pixel[3] - soft(sums, x)).powi(2);
                    }
                }
                for (i, block) in blocks.iter_mut().enumerate() {
                    let per = 1.0 / (lines.len() * BLOCK.min(width - i * BLOCK)) as f32;
                    block.mean = block.mean.map(|sum| sum * per);
                    block.variance = (block.variance * per - block.mean[3] * block.mean[3]).max(0.0);
                    block.detail *= per;
                }
            },
        );
        Self { columns, blocks }
    }

    /// Replaces variances by what is to be added of the deviations, so that they become those of `own`.
    fn compare(&mut self, own: &Self) {
        let gain = |own: f32, mixed: f32| ((own + FLAT) / (mixed + FLAT)).sqrt().clamp(1.0, MOST);
        for (mixed, own) in self.blocks.iter_mut().zip(&own.blocks) {
            let contrast = gain(own.variance, mixed.variance);
            // What the contrast brings back of the detail need not be brought back again.
            let detail = gain(own.detail, mixed.detail) - contrast;
            (mixed.variance, mixed.detail) = (contrast - 1.0, detail.max(0.0));
        }
    }

    /// The frame, whose blocks these are, with the contrast of `own`.
    pub(super) fn restored(mut self, frame: &Frame, own: &Self) -> Frame {
        self.compare(own);
        let width = frame.size().1.max(1);
        let rows = self.blocks.len() / self.columns.max(1);
        let mut restored = vec![[0.0; 4]; frame.pixels().len()];
        restored.par_chunks_exact_mut(width).enumerate().for_each_init(
            || (vec![Block::default(); self.columns], vec![0.0; width]),
            |(blocks, sums), (y, restored)| {
                let (above, below, down) = between(y, rows);
                for (i, out) in blocks.iter_mut().enumerate() {
                    *out = self.blocks[above * self.columns + i].blend(&self.blocks[below * self.columns + i], down);
                }
                let around = Lines::about(frame, y);
                around.sum(sums);
                for (x, (restored, pixel)) in restored.iter_mut().zip(around.middle).enumerate() {
                    let (left, right, across) = between(x, self.columns);
                    let block = blocks[left].blend(&blocks[right], across);
                    let detail = block.detail * (pixel[3] - soft(sums, x));
                    for ((out, level), mean) in restored.iter_mut().zip(pixel).zip(block.mean) {
                        *out = (level + block.variance * (level - mean) + detail).clamp(0.0, 255.0);
                    }
                }
            },
        );
        Frame::from_pixels(frame.size(), restored)
    }
}

impl Block {
    fn blend(&self, other: &Self, share: f32) -> Self {
        let blend = |a: f32, b: f32| a + share * (b - a);
        Self {
            mean: std::array::from_fn(|i| blend(self.mean[i], other.mean[i])),
            variance: blend(self.variance, other.variance),
            detail: blend(self.detail, other.detail),
        }
    }
}

/// A line of a frame with those above and below; beyond an edge lies the edge's own.
struct Lines<'a> {
    above: &'a [[f32; 4]],
    middle: &'a [[f32; 4]],
    below: &'a [[f32; 4]],
}

impl<'a> Lines<'a> {
    fn about(frame: &'a Frame, y: usize) -> Self {
        let (height, width) = frame.size();
        let line = |y: usize| &frame.pixels()[y * width..][..width];
        Self { above: line(y.saturating_sub(1)), middle: line(y), below: line((y + 1).min(height - 1)) }
    }

    /// Luma, one part of each of the outer lines and two of the middle one.
    fn sum(&self, sums: &mut [f32]) {
        for (((sum, above), middle), below) in sums.iter_mut().zip(self.above).zip(self.middle).zip(self.below) {
            *sum = above[3] + 2.0 * middle[3] + below[3];
        }
    }
}

/// The mean luma about a pixel, of weights 1, 2, 1 both ways, from sums over three lines.
fn soft(sums: &[f32], x: usize) -> f32 {
    (sums[x.saturating_sub(1)] + 2.0 * sums[x] + sums[(x + 1).min(sums.len() - 1)]) / 16.0
}

/// The blocks whose centres lie on both sides of a pixel, and how far it lies behind the first.
fn between(at: usize, blocks: usize) -> (usize, usize, f32) {
    let position = ((at as f32 + 0.5) / BLOCK as f32 - 0.5).clamp(0.0, (blocks - 1) as f32);
    let first = position as usize;
    (first, (first + 1).min(blocks - 1), position - first as f32)
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
        let (own, mixed) = (stripes(40.0, 0), stripes(30.0, 0));
        let mixed = Blocks::of(&mixed).restored(&mixed, &Blocks::of(&own));
        assert!((variance(&mixed) / variance(&own) - 1.0).abs() < 0.05, "{} of {}", variance(&mixed), variance(&own));
        let mean =
            |frame: &Frame| frame.pixels().iter().map(|pixel| pixel[0]).sum::<f32>() / frame.pixels().len() as f32;
        assert!((mean(&mixed) - mean(&own)).abs() < 1.0);
    }

    #[test]
    fn soft_strokes_get_their_finest_detail_back() {
        // Stripes of four pixels that carry a grain of single ones; the mixture has lost half of the grain.
        let strokes = |grain: f32| {
            let pixel = |i: usize| {
                let (x, y) = (i % 48, i / 48);
                let stroke = if (x / 4).is_multiple_of(2) { 30.0 } else { -30.0 };
                let grain = if (x + y).is_multiple_of(2) { grain } else { -grain };
                [100.0, 120.0, 140.0, 118.0].map(|level| level + stroke + grain)
            };
            Frame::from_pixels((40, 48), (0..40 * 48).map(pixel).collect())
        };
        let (own, mixed) = (strokes(12.0), strokes(6.0));
        let restored = Blocks::of(&mixed).restored(&mixed, &Blocks::of(&own));
        let grain = |frame: &Frame| {
            let step = |x: usize| frame.pixels()[20 * 48 + x + 1][3] - frame.pixels()[20 * 48 + x][3];
            (step(21) - step(22)).abs() / 4.0
        };
        assert!((grain(&own) - 12.0).abs() < 1e-3 && (grain(&mixed) - 6.0).abs() < 1e-3);
        assert!(grain(&restored) > 8.0 && grain(&restored) < 12.0, "{}", grain(&restored));
    }

    #[test]
    fn what_has_its_contrast_and_what_is_flat_stay() {
        let own = stripes(40.0, 0);
        for frame in [stripes(40.0, 2), stripes(60.0, 0)] {
            let same = Blocks::of(&frame).restored(&frame, &Blocks::of(&own));
            let off = same.pixels().iter().zip(frame.pixels()).map(|(a, b)| (a[3] - b[3]).abs()).fold(0.0, f32::max);
            assert!(off < 6.0, "{off}");
        }
        let flat = stripes(0.0, 0);
        let flat = Blocks::of(&flat).restored(&flat, &Blocks::of(&own));
        assert!(variance(&flat) < 1e-3);
    }
}
