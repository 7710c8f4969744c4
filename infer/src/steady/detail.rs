//! Restores the finest detail of a painting where pieces of earlier paintings have moved.
//!
//! Subpixel sampling and enlarging lose some of the detail of one and two pixels, and where pieces overlap, detail fades.
//! In each square of a frame, the detail of moved pieces is made as strong as in the new painting: a style's textures are
//! characterised by the strength of their features (Gatys et al., 2015).

use impasto_flow::FlowFrame;
use rayon::prelude::*;

use super::Composed;

/// Side of the squares in which detail is measured, pixels.
const BLOCK: usize = 32;
/// Added to sums of squares, in squared levels for each pixel. Detail below it counts as none.
const NONE: f32 = 0.5;
/// The measured increase of a painting's detail per share of the detail that is added to the painting. It is below 1
/// because the detail also has lower frequencies, which count as surroundings when it is measured again. Measured: 0.61 in
/// three paintings by `starry_night`.
const RESPONSE: f32 = 0.62;
/// The range of the change: from half as strong to two and a half times.
const CHANGE: (f32, f32) = (-0.5, 1.5);

/// Makes the detail of pieces that have moved as strong as in the frame's own painting.
pub(super) fn restore(composed: &Composed, own: &FlowFrame) -> FlowFrame {
    let (height, width) = own.size();
    let (rows, columns) = (height.div_ceil(BLOCK), width.div_ceil(BLOCK));
    let mut gains = vec![0.0; rows * columns];
    gains.par_chunks_exact_mut(columns.max(1)).enumerate().for_each_init(
        || [Detail::new(width), Detail::new(width)],
        |[there, wanted], (row, gains)| {
            let mut sums = vec![[0.0f32; 3]; columns];
            for y in row * BLOCK..((row + 1) * BLOCK).min(height) {
                let (there, wanted) = (there.of(&composed.painting, y), wanted.of(own, y));
                let moved = &composed.moved[y * width..][..width];
                for (x, ((there, wanted), moved)) in there.iter().zip(wanted).zip(moved).enumerate() {
                    let sums = &mut sums[x / BLOCK];
                    sums[0] += moved * there[3] * there[3];
                    sums[1] += moved * wanted[3] * wanted[3];
                    sums[2] += moved;
                }
            }
            for (gain, [there, wanted, count]) in gains.iter_mut().zip(sums) {
                let none = NONE * (count + 1.0);
                let ratio = ((wanted + none) / (there + none)).sqrt();
                *gain = ((ratio - 1.0) / RESPONSE).clamp(CHANGE.0, CHANGE.1);
            }
        },
    );
    let mut pixels = vec![[0.0; 4]; height * width];
    pixels.par_chunks_exact_mut(width.max(1)).enumerate().with_min_len(BLOCK).for_each_init(
        || (Detail::new(width), vec![0.0; columns]),
        |(detail, line), (y, out)| {
            let (above, below, down) = between(y, rows);
            for (i, gain) in line.iter_mut().enumerate() {
                let (above, below) = (gains[above * columns + i], gains[below * columns + i]);
                *gain = above + down * (below - above);
            }
            let detail = detail.of(&composed.painting, y);
            let painting = &composed.painting.pixels()[y * width..][..width];
            let moved = &composed.moved[y * width..][..width];
            for (x, (out, ((painting, detail), moved))) in
                out.iter_mut().zip(painting.iter().zip(detail).zip(moved)).enumerate()
            {
                let (left, right, across) = between(x, columns);
                let gain = moved * (line[left] + across * (line[right] - line[left]));
                *out = std::array::from_fn(|c| (painting[c] + gain * detail[c]).clamp(0.0, 255.0));
            }
        },
    );
    FlowFrame::from_pixels((height, width), pixels)
}

/// The two squares whose centres lie on either side of a pixel, and its distance from the first centre, in squares.
fn between(at: usize, blocks: usize) -> (usize, usize, f32) {
    let position = ((at as f32 + 0.5) / BLOCK as f32 - 0.5).clamp(0.0, (blocks - 1) as f32);
    let first = position as usize;
    (first, (first + 1).min(blocks - 1), position - first as f32)
}

/// A row minus its surroundings: a high-pass filter. The surroundings are the frame blurred by the binomial filter of order
/// 2 in both directions.
struct Detail {
    /// The mean of three rows, with one more pixel at each end.
    blurred: Vec<[f32; 4]>,
    row: Vec<[f32; 4]>,
}

impl Detail {
    fn new(width: usize) -> Self {
        Self { blurred: vec![[0.0; 4]; width + 2], row: vec![[0.0; 4]; width] }
    }

    fn of(&mut self, frame: &FlowFrame, y: usize) -> &[[f32; 4]] {
        let (height, width) = frame.size();
        let row = |y: usize| &frame.pixels()[y * width..][..width];
        let (above, own, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
        for (mean, ((above, own), below)) in self.blurred[1..].iter_mut().zip(above.iter().zip(own).zip(below)) {
            *mean = std::array::from_fn(|c| 0.25 * (above[c] + below[c]) + 0.5 * own[c]);
        }
        self.blurred[0] = self.blurred[1];
        self.blurred[width + 1] = self.blurred[width];
        for (x, (detail, own)) in self.row.iter_mut().zip(own).enumerate() {
            let [left, middle, right] = [0, 1, 2].map(|i| &self.blurred[x + i]);
            *detail = std::array::from_fn(|c| own[c] - 0.25 * (left[c] + right[c]) - 0.5 * middle[c]);
        }
        &self.row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (70, 90);

    /// Fine strokes of a contrast, around a colour.
    fn strokes(contrast: f32) -> FlowFrame {
        let level = |at: usize| if (at % SIZE.1 + at / SIZE.1) % 5 < 2 { 1.5 * contrast } else { -contrast };
        let pixel = |at: usize| [100.0, 120.0, 140.0, 118.0].map(|mean| mean + level(at));
        FlowFrame::from_pixels(SIZE, (0..SIZE.0 * SIZE.1).map(pixel).collect())
    }

    fn variance(frame: &FlowFrame) -> f32 {
        let luma = || frame.pixels().iter().map(|pixel| pixel[3]);
        let mean = luma().sum::<f32>() / frame.pixels().len() as f32;
        luma().map(|level| (level - mean).powi(2)).sum::<f32>() / frame.pixels().len() as f32
    }

    #[test]
    fn pieces_that_moved_get_the_detail_of_the_new_painting() {
        let own = strokes(20.0);
        for contrast in [15.0, 18.0, 23.0] {
            let composed = Composed { painting: strokes(contrast), moved: vec![1.0; SIZE.0 * SIZE.1] };
            let restored = restore(&composed, &own);
            let (off, before) =
                [&restored, &composed.painting].map(|frame| (variance(frame) / variance(&own) - 1.0).abs()).into();
            assert!(off < 0.5 * before, "{contrast}: {off}, {before} before");
        }
    }

    #[test]
    fn pieces_that_did_not_move_or_have_no_detail_are_kept() {
        let composed = Composed { painting: strokes(15.0), moved: vec![0.0; SIZE.0 * SIZE.1] };
        assert_eq!(restore(&composed, &strokes(20.0)), composed.painting);
        let flat = Composed { painting: strokes(0.0), moved: vec![1.0; SIZE.0 * SIZE.1] };
        assert_eq!(restore(&flat, &strokes(20.0)), flat.painting);
    }
}
