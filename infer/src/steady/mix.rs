//! Frames and paintings mixed with those before.

use common::flow::{Frame, Guide, Sampling};
use rayon::prelude::*;

use super::contrast::Blocks;

/// Rows that a thread takes at a time.
const ROWS: usize = 16;

/// Replaces `frame` by its mixture with the one `before`, moved along the flow: `strength` of that where the guide is sure.
pub(super) fn mix(frame: &mut Frame, before: &Frame, guide: &Guide, strength: f32) {
    let width = frame.size().1.max(1);
    // Sampled by a spline: what is interpolated linearly in every frame goes soft.
    let moved = before.along(&guide.flow, Sampling::Cubic);
    let rows = frame.pixels_mut().par_chunks_exact_mut(width).with_min_len(ROWS);
    let moved = moved.pixels().par_chunks_exact(width);
    rows.zip(moved).zip(guide.confidence.par_chunks_exact(width)).for_each(|((frame, moved), confidence)| {
        for ((new, old), &confidence) in frame.iter_mut().zip(moved).zip(confidence) {
            let share = strength * confidence;
            for (new, old) in new.iter_mut().zip(old) {
                // The spline overshoots at edges; unclamped, that would grow from frame to frame.
                *new += share * (old.clamp(0.0, 255.0) - *new);
            }
        }
    });
}

/// The same for paintings, which keep their contrast: strokes that do not match do not fade into one another.
pub(super) fn mix_paintings(painting: &mut Frame, before: &Frame, guide: &Guide, strength: f32) {
    let own = Blocks::of(painting);
    mix(painting, before, guide, strength);
    Blocks::of(painting).restore(painting, &own);
}
