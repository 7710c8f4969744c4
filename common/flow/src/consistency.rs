//! Forward-backward consistency: a flow is trusted where the backward flow returns to the start (Sundaram et al., 2010;
//! Ruder et al., 2016, section 4).

use rayon::prelude::*;

use super::Flow;
use super::plane::{ROWS, interpolated};

/// When a pixel counts as trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is visible in both frames: `|w + w'|^2 <= 0.01 (|w|^2 + |w'|^2) + 0.5`, with the flow `w` and the backward flow
    /// `w'` at the target of `w`. A pixel that leaves the frame is not trusted.
    Seen,
    /// In addition, it is not on a motion boundary: `|grad u|^2 + |grad v|^2 <= 0.01 |w|^2 + 0.002`.
    SeenInside,
}

impl Flow {
    /// Whether each pixel, row by row, can be trusted; `back` is the flow in the other direction.
    ///
    /// # Panics
    ///
    /// If the flows differ in size.
    #[must_use]
    pub fn agrees(&self, back: &Self, trust: Trust) -> Vec<bool> {
        assert_eq!(self.size(), back.size(), "the flow back has the same size");
        let mut mask = vec![false; self.x.len()];
        mask.par_chunks_exact_mut(self.width).with_min_len(ROWS).enumerate().for_each(|(y, mask)| {
            for (x, trusted) in mask.iter_mut().enumerate() {
                *trusted = self.disagreement(back, y, x) <= 1.0 && (trust == Trust::Seen || !self.is_boundary(y, x));
            }
        });
        mask
    }

    /// The squared distance by which the backward flow misses a pixel, as a multiple of what [`Trust::Seen`] allows;
    /// infinite where the flow leaves the frame. `back` is the backward flow.
    #[must_use]
    pub fn disagreement(&self, back: &Self, row: usize, column: usize) -> f32 {
        let at = row * self.width + column;
        let (u, v) = (self.x[at], self.y[at]);
        let (x, y) = (column as f32 + u, row as f32 + v);
        // NaN coordinates end here too.
        if !(x >= 0.0 && y >= 0.0 && x <= (self.width - 1) as f32 && y <= (self.height - 1) as f32) {
            return f32::INFINITY;
        }
        let (back_u, back_v) = back.at(y, x);
        let square = |a: f32, b: f32| a * a + b * b;
        square(u + back_u, v + back_v) / (0.01 * (square(u, v) + square(back_u, back_v)) + 0.5)
    }

    /// The flow at a position inside the frame, bilinearly interpolated.
    pub(super) fn at(&self, y: f32, x: f32) -> (f32, f32) {
        let (top, left) = (y as usize, x as usize);
        let (down, right) = (y - top as f32, x - left as f32);
        let (below, behind) = ((top + 1).min(self.height - 1), (left + 1).min(self.width - 1));
        let mix = |plane: &[f32]| {
            let line = |row: usize| [left, behind].map(|column| plane[row * self.width + column]);
            interpolated([line(top), line(below)], (down, right))
        };
        (mix(&self.x), mix(&self.y))
    }

    fn is_boundary(&self, row: usize, column: usize) -> bool {
        let (above, below) = (row.saturating_sub(1), (row + 1).min(self.height - 1));
        let (left, right) = (column.saturating_sub(1), (column + 1).min(self.width - 1));
        let slope = |plane: &[f32]| {
            let at = |row: usize, column: usize| plane[row * self.width + column];
            let across = (at(row, right) - at(row, left)) / (right - left).max(1) as f32;
            let down = (at(below, column) - at(above, column)) / (below - above).max(1) as f32;
            across * across + down * down
        };
        let at = row * self.width + column;
        let (u, v) = (self.x[at], self.y[at]);
        slope(&self.x) + slope(&self.y) > 0.01 * (u * u + v * v) + 0.002
    }
}
