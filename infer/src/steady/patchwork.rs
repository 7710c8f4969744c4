//! Composes the painting of a frame as a patchwork of earlier paintings, warped along the film's motion.
//!
//! A network that paints each frame separately changes its strokes from frame to frame even where the film only moves: it
//! subsamples, so a picture shifted by one pixel is a different input. Mixing such paintings blurs them. Here every pixel
//! is *taken* from one painting, and keeps it while the film shows the same thing there, as an animator keeps a painted cel
//! (Hertzmann and Perlin, 2000, "Painterly Rendering for Video and Interaction", paint over only what changes). Strokes
//! stay whole, and few of them change at a time.
//!
//! A pixel is resampled from its painting only once, however many frames ago that was painted. A pixel that has not moved
//! at all is copied without resampling, and stays as long as it does not move. Other pixels are replaced
//!
//! - where the film no longer shows what it did when they were painted, according to the forward-backward flow and the
//!   film's own levels,
//! - in turn, tile by tile, so that errors of the flow do not add up,
//! - in the frame's border, where a network produces artefacts that do not belong to the film's content.

mod line;
mod memory;
#[cfg(test)]
mod tests;
mod tiles;

use std::collections::VecDeque;

use impasto_common::Result;
use impasto_flow::{Flow, FlowFrame, LumaPlane, Pyramid};
use impasto_kernels::flow::{Pixels, add_sharp_row};
use rayon::prelude::*;

use super::motion::{Motion, smoothed};
use super::{ROWS, SteadyOptions};
use line::Line;

/// Width of the frame's border that is always new, pixels: two steps of a network that subsamples by four.
const BORDER: usize = 8;
/// A pixel that is trusted less than this, from 0 to 1, is replaced.
const LEAST_TRUST: f32 = 0.3;
/// A frame whose pixels are trusted less than this on average belongs to another scene.
const LEAST_IN_COMMON: f32 = 0.15;

/// An earlier painting that pieces are taken from.
#[derive(Debug, Clone)]
struct KeptPainting {
    painting: FlowFrame,
    /// The film's luma at the time each of its pixels was painted.
    painted_at: LumaPlane,
    /// The flow from the present frame to this painting, on the level on which flow is searched.
    flow: Flow,
}

/// Composes paintings from pieces of earlier ones. For each frame of a film, call [`Self::follow`], [`Self::compose`], and
/// [`Self::keep`].
#[derive(Debug, Clone)]
pub struct Patchwork {
    options: SteadyOptions,
    /// Earlier paintings, the latest first.
    kept: VecDeque<KeptPainting>,
    before: Option<Pyramid>,
    /// How many frames ago each pixel, on the level that flow is searched on, was painted. 0 is new.
    ages: Vec<u8>,
    /// The film's luma at the time each pixel was painted.
    painted_at: Option<LumaPlane>,
    turns: tiles::Turns,
    frames: usize,
}

/// A frame's patchwork.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The painting.
    pub painting: FlowFrame,
    /// For each pixel, row by row, the share that comes from another position in an earlier painting.
    pub moved: Vec<f32>,
}

impl Patchwork {
    /// A patchwork without a frame yet. [`SteadyOptions::statistics`] does not matter here.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn new(options: SteadyOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self::empty(options))
    }

    fn empty(options: SteadyOptions) -> Self {
        let turns = tiles::Turns::default();
        Self { options, kept: VecDeque::new(), before: None, ages: Vec::new(), painted_at: None, turns, frames: 0 }
    }

    /// Forgets all frames.
    pub fn reset(&mut self) {
        *self = Self::empty(self.options);
    }

    /// Takes in the next frame of the film and decides which pixels of the earlier paintings stay. Returns whether the frame
    /// continues the one before. If that has another size or shows another scene, or there is none, all pixels are new.
    ///
    /// # Panics
    ///
    /// If the painting of the frame before was not kept.
    pub fn follow(&mut self, frame: Pyramid) -> bool {
        let level = self.options.flow.finest_level(&frame);
        let luma = &frame.levels()[level];
        let before = self.before.take().filter(|before| before.size() == frame.size());
        let goes_on =
            before.is_some_and(|before| self.carry(Motion::between(&frame, &before, &self.options.flow), luma, level));
        if !goes_on {
            let (height, width) = luma.size();
            self.kept.clear();
            self.ages = vec![0; height * width];
            self.painted_at = Some(luma.clone());
            self.turns = tiles::Turns::new(luma.size(), self.options.hold);
        }
        self.before = Some(frame);
        self.frames += 1;
        goes_on
    }

    /// Updates the flows of the paintings to a new frame. False if the frame shows another scene.
    fn carry(&mut self, motion: Motion, luma: &LumaPlane, level: usize) -> bool {
        self.kept.par_iter_mut().for_each(|kept| kept.flow = motion.flow.then(&kept.flow));
        let ages = self.moved_along(&motion.flow);
        let painted_at = self.painted_at(&ages, luma);
        let trust = trust(&motion.returns, luma, &painted_at, self.options.tolerance);
        if trust.iter().sum::<f32>() < LEAST_IN_COMMON * trust.len() as f32 {
            return false;
        }
        self.ages = self.decide(ages, &trust, luma.size(), BORDER >> level);
        let width = luma.size().1;
        self.painted_at = Some(LumaPlane::new(luma.size(), |y, line| {
            let [now, then] = [luma, &painted_at].map(|plane| plane.row(y));
            let ages = &self.ages[y * width..][..width];
            for (level, (age, (now, then))) in line.iter_mut().zip(ages.iter().zip(now.iter().zip(then))) {
                *level = if *age == 0 { *now } else { *then };
            }
        }));
        true
    }

    /// The greatest age.
    fn oldest(&self) -> usize {
        2 * (self.options.hold - 1)
    }

    /// The painting of this many frames ago, at least 1.
    fn kept(&self, age: u8) -> &KeptPainting {
        &self.kept[usize::from(age) - 1]
    }

    /// The age of each pixel's content. Content that has not moved at all is also in the latest painting, and is taken from
    /// there.
    fn moved_along(&self, flow: &Flow) -> Vec<u8> {
        let width = flow.size().1;
        let mut ages = vec![0; self.ages.len()];
        ages.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, line)| {
            for (x, age) in line.iter_mut().enumerate() {
                let at = y * width + x;
                let (row, column) = flow.target(y, x);
                let from = (row.round() as usize) * width + column.round() as usize;
                // The ages so far are those at the frame before.
                *age = (self.ages[from] + 1).min(self.kept.len() as u8);
                if self.kept(*age).flow.is_still(at) && flow.is_still(at) {
                    *age = 1;
                }
            }
        });
        ages
    }

    /// The film's luma at the time each pixel's content was painted.
    fn painted_at(&self, ages: &[u8], luma: &LumaPlane) -> LumaPlane {
        let width = luma.size().1;
        LumaPlane::new(luma.size(), |y, line| {
            for (x, level) in line.iter_mut().enumerate() {
                let KeptPainting { painted_at, flow, .. } = self.kept(ages[y * width + x]);
                let (row, column) = flow.target(y, x);
                *level = painted_at.at(row, column);
            }
        })
    }

    /// The ages of the pixels that stay; 0 elsewhere.
    fn decide(&self, mut ages: Vec<u8>, trust: &[f32], (height, width): (usize, usize), border: usize) -> Vec<u8> {
        let (turn, oldest) = (self.frames % self.options.hold, self.oldest());
        ages.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, ages)| {
            let outside = y < border || y + border >= height;
            for (x, age) in ages.iter_mut().enumerate() {
                let at = y * width + x;
                let in_turn = self.turns.at(at) == turn && !self.kept(*age).flow.is_still(at);
                let in_border = outside || x < border || x + border >= width;
                if trust[at] < LEAST_TRUST || in_turn || in_border || usize::from(*age) > oldest {
                    *age = 0;
                }
            }
        });
        ages
    }

    /// The patchwork of the frame that was taken in last, whose own painting is `painting`.
    ///
    /// # Panics
    ///
    /// If it has another size, or no frame was taken in.
    #[must_use]
    pub fn compose(&self, painting: &FlowFrame) -> Composed {
        let (height, width) = painting.size();
        let frame = self.before.as_ref().expect("a frame was taken in");
        assert_eq!(frame.size(), (height, width), "a painting has the size of its frame");
        let level = self.options.flow.finest_level(frame);
        let (rows, columns) = frame.levels()[level].size();
        let (mut pixels, mut moved) = (vec![[0.0; 4]; height * width], vec![0.0; height * width]);
        let lines = pixels.par_chunks_exact_mut(width).zip(moved.par_chunks_exact_mut(width));
        lines.with_min_len(ROWS).enumerate().for_each_init(
            || Line::new(width, columns),
            |line, (y, (out, moved))| {
                let (near, far) = match level {
                    0 => (y, y),
                    _ if y % 2 == 0 => (y / 2, (y / 2).saturating_sub(1)),
                    _ => (y / 2, (y / 2 + 1).min(rows - 1)),
                };
                let [near_ages, far_ages] = [near, far].map(|row| &self.ages[row * columns..][..columns]);
                let present = near_ages.iter().chain(far_ages).fold(0u128, |all, age| all | 1 << age);
                for age in (0..128).filter(|age| present >> age & 1 == 1) {
                    line.weigh(level, [near_ages, far_ages], |at_age, _| at_age == age);
                    if age == 0 {
                        let own = &painting.pixels()[y * width..][..width];
                        out.iter_mut().zip(own).zip(&line.weights).for_each(|((out, own), weight)| {
                            for (out, own) in out.iter_mut().zip(own) {
                                *out += weight * own;
                            }
                        });
                        continue;
                    }
                    let KeptPainting { painting, flow, .. } = self.kept(age);
                    line.point(level, flow, [near, far]);
                    let Line { x, y: down, weights, .. } = &*line;
                    add_sharp_row(pixels_of(painting), y, [x, down], weights, out);
                    line.weigh(level, [near_ages, far_ages], |at_age, (row, x)| {
                        at_age == age && !flow.is_still([near, far][row] * columns + x)
                    });
                    moved.iter_mut().zip(&line.weights).for_each(|(moved, weight)| *moved += weight);
                }
            },
        );
        Composed { painting: FlowFrame::from_pixels((height, width), pixels), moved }
    }

    /// Keeps the painting that is shown for the frame taken in last. Later frames take pieces from it.
    ///
    /// # Panics
    ///
    /// If no frame was taken in since the last was kept.
    pub fn keep(&mut self, painting: FlowFrame) {
        let painted_at = self.painted_at.take().expect("a frame was taken in");
        let flow = Flow::still(painted_at.size());
        self.kept.truncate(self.oldest().saturating_sub(1));
        self.kept.push_front(KeptPainting { painting, painted_at, flow });
    }
}

/// A frame in the form that the kernels take.
fn pixels_of(frame: &FlowFrame) -> Pixels<'_> {
    let (height, width) = frame.size();
    Pixels { data: frame.pixels(), height, width }
}

/// The confidence, from 0 to 1, that each pixel still shows what it showed when it was painted.
fn trust(returns: &[f32], luma: &LumaPlane, painted_at: &LumaPlane, tolerance: f32) -> Vec<f32> {
    let (height, width) = luma.size();
    let mut changes = vec![0.0; returns.len()];
    changes.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, changes)| {
        let [now, then] = [luma, painted_at].map(|plane| plane.row(y));
        for (change, (now, then)) in changes.iter_mut().zip(now.iter().zip(then)) {
            *change = (now - then) * (now - then);
        }
    });
    // Uses the mean over some pixels: a change of a single pixel is noise.
    let changes = smoothed(&changes, (height, width));
    let per = -1.0 / (tolerance * tolerance);
    let trust: Vec<f32> =
        returns.iter().zip(&changes).map(|(returns, change)| returns * (change * per).exp()).collect();
    // Holes of a few pixels in a piece would only add edges.
    smoothed(&smoothed(&trust, (height, width)), (height, width))
}
