//! A film's paintings as a patchwork of earlier ones, carried along the film's motion.
//!
//! Every frame of a film is painted anew, and a network's strokes are others in every painting even where the film only
//! moves: it subsamples, and a movement by one pixel is another picture to it. Mixing such paintings blurs them. Here every
//! pixel is *taken* from one painting, and stays with it while the film shows the same thing there, as an animator keeps a
//! painted cel (Hertzmann and Perlin, 2000, "Painterly Rendering for Video and Interaction", paint over only what changes).
//! Strokes stay whole, and change in few places at a time.
//!
//! What is kept comes from its painting in one step, however many frames ago that was: it is sampled but once. Where nothing
//! has moved it is not sampled at all, and stays for good. Else it is replaced
//!
//! - where the film shows something else than when it was painted: by the flow there and back, and by the film's own levels,
//! - in turn, tile by tile, so that whatever flow gets wrong does not add up,
//! - in the frame's border, which a network paints in its own way and which belongs to no thing in the film.

mod tiles;

use std::collections::VecDeque;

use rayon::prelude::*;

use super::motion::{Motion, smoothed};
use super::plane::{Plane, ROWS};
use super::{Flow, FlowFrame, FlowOptions, Pyramid};
use impasto_kernels::flow::{add_sharp_row, double_row};

/// Pixels of the frame's border that are always new: two steps of a network that subsamples by four.
const BORDER: usize = 8;
/// What is trusted less than this, from 0 to 1, is replaced.
const LEAST_TRUST: f32 = 0.3;
/// A frame of which less than this, on average, is trusted belongs to another scene.
const LEAST_IN_COMMON: f32 = 0.15;

/// How a patchwork is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchworkOptions {
    /// How many frames a piece that moves is kept, from 1, which is not at all, to 64. About: what moves from one tile to
    /// another is replaced earlier or later, after less than twice as many frames.
    pub hold: usize,
    /// The change of a pixel's luma since it was painted, in levels of 255, by which trust in it falls to 1/e.
    pub tolerance: f32,
    /// How carefully flow is computed: [`FlowOptions::finest`] is 0 or 1.
    pub flow: FlowOptions,
}

/// A painting that pieces are taken from.
#[derive(Debug, Clone)]
struct Source {
    painting: FlowFrame,
    /// The film's luma when each pixel of it was painted.
    painted_at: Plane,
    /// From the present frame to this one, on the level that flow is searched on.
    flow: Flow,
}

/// Pieces of paintings.
#[derive(Debug, Clone)]
pub struct Patchwork {
    options: PatchworkOptions,
    /// The latest first.
    sources: VecDeque<Source>,
    before: Option<Pyramid>,
    /// By how many frames the painting is older that each pixel, on the level of flow, is taken from. 0 is new.
    ages: Vec<u8>,
    /// The film's luma when each pixel was painted.
    painted_at: Option<Plane>,
    turns: tiles::Turns,
    frames: usize,
}

/// A frame's patchwork.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The painting.
    pub painting: FlowFrame,
    /// The share of each pixel, row by row, that has come from elsewhere in an earlier painting.
    pub moved: Vec<f32>,
}

impl Patchwork {
    /// Without a frame yet.
    ///
    /// # Panics
    ///
    /// If an option is out of its range.
    #[must_use]
    pub fn new(options: PatchworkOptions) -> Self {
        assert!((1..=64).contains(&options.hold) && options.tolerance > 0.0 && options.flow.finest <= 1, "{options:?}");
        let turns = tiles::Turns::default();
        Self { options, sources: VecDeque::new(), before: None, ages: Vec::new(), painted_at: None, turns, frames: 0 }
    }

    /// Forgets all frames.
    pub fn reset(&mut self) {
        *self = Self::new(self.options);
    }

    /// Takes in the next frame of the film and decides what of the earlier paintings stays. Says whether the frame goes on from
    /// the one before: if there is none of its size, or it shows something else, all is new.
    ///
    /// # Panics
    ///
    /// If the painting of the frame before was not kept.
    pub fn follow(&mut self, frame: Pyramid) -> bool {
        let level = self.options.flow.finest.min(frame.levels().len() - 1);
        let luma = &frame.levels()[level];
        let before = self.before.take().filter(|before| before.size() == frame.size());
        let goes_on =
            before.is_some_and(|before| self.carry(Motion::between(&frame, &before, &self.options.flow), luma, level));
        if !goes_on {
            let (height, width) = luma.size();
            self.sources.clear();
            self.ages = vec![0; height * width];
            self.painted_at = Some(luma.clone());
            self.turns = tiles::Turns::new(luma.size(), self.options.hold);
        }
        self.before = Some(frame);
        self.frames += 1;
        goes_on
    }

    /// Carries the paintings along to a frame; not if it shows something else.
    fn carry(&mut self, motion: Motion, luma: &Plane, level: usize) -> bool {
        self.sources.par_iter_mut().for_each(|source| source.flow = motion.flow.then(&source.flow));
        let ages = self.moved_along(&motion.flow);
        let painted_at = self.painted_at(&ages, luma);
        let trust = trust(&motion.home, luma, &painted_at, self.options.tolerance);
        if trust.iter().sum::<f32>() < LEAST_IN_COMMON * trust.len() as f32 {
            return false;
        }
        self.ages = self.decide(ages, &trust, luma.size(), BORDER >> level);
        let width = luma.size().1;
        self.painted_at = Some(Plane::new(luma.size(), |y, line| {
            let [now, then] = [luma, &painted_at].map(|plane| &plane.view().row(y as isize, 0)[..width]);
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

    /// The source of an age of at least 1.
    fn source(&self, age: u8) -> &Source {
        &self.sources[usize::from(age) - 1]
    }

    /// The ages of what each pixel shows now. What has not moved at all is in the latest painting too, and is taken from there.
    fn moved_along(&self, flow: &Flow) -> Vec<u8> {
        let width = flow.width;
        let mut ages = vec![0; self.ages.len()];
        ages.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, line)| {
            for (x, age) in line.iter_mut().enumerate() {
                let at = y * width + x;
                let (column, row) = flow.inside(x as f32 + flow.x[at], y as f32 + flow.y[at]);
                let from = (row.round() as usize) * width + column.round() as usize;
                // The paintings' own ages are those at the frame before.
                *age = (self.ages[from] + 1).min(self.sources.len() as u8);
                if self.source(*age).flow.is_still(at) && flow.is_still(at) {
                    *age = 1;
                }
            }
        });
        ages
    }

    /// The film's luma when what each pixel shows was painted.
    fn painted_at(&self, ages: &[u8], luma: &Plane) -> Plane {
        let width = luma.size().1;
        Plane::new(luma.size(), |y, line| {
            for (x, level) in line.iter_mut().enumerate() {
                let at = y * width + x;
                let Source { painted_at, flow, .. } = self.source(ages[at]);
                let (column, row) = flow.inside(x as f32 + flow.x[at], y as f32 + flow.y[at]);
                *level = painted_at.at(row, column);
            }
        })
    }

    /// The ages of what stays; 0 elsewhere.
    fn decide(&self, mut ages: Vec<u8>, trust: &[f32], (height, width): (usize, usize), border: usize) -> Vec<u8> {
        let (turn, oldest) = (self.frames % self.options.hold, self.oldest());
        ages.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, ages)| {
            let outside = y < border || y + border >= height;
            for (x, age) in ages.iter_mut().enumerate() {
                let at = y * width + x;
                let in_turn = self.turns.at(at) == turn && !self.source(*age).flow.is_still(at);
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
        let level = self.options.flow.finest.min(frame.levels().len() - 1);
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
                    let Source { painting, flow, .. } = self.source(age);
                    line.point(level, flow, [near, far]);
                    let Line { x, y: down, weights, .. } = &*line;
                    add_sharp_row(painting.view(), y, [x, down], weights, out);
                    line.weigh(level, [near_ages, far_ages], |at_age, (row, x)| {
                        at_age == age && !flow.is_still([near, far][row] * columns + x)
                    });
                    moved.iter_mut().zip(&line.weights).for_each(|(moved, weight)| *moved += weight);
                }
            },
        );
        Composed { painting: FlowFrame::from_pixels((height, width), pixels), moved }
    }

    /// Keeps the painting that is shown of the frame taken in last: the next frames' pieces come from it.
    ///
    /// # Panics
    ///
    /// If no frame was taken in since the last was kept.
    pub fn keep(&mut self, painting: FlowFrame) {
        let painted_at = self.painted_at.take().expect("a frame was taken in");
        let flow = Flow::still(painted_at.size());
        self.sources.truncate(self.oldest().saturating_sub(1));
        self.sources.push_front(Source { painting, painted_at, flow });
    }
}

/// One row's weights and flow at full size.
struct Line {
    weights: Vec<f32>,
    x: Vec<f32>,
    y: Vec<f32>,
    /// Two rows of the level that flow is searched on.
    masks: [Vec<f32>; 2],
    scratch: Vec<f32>,
}

impl Line {
    fn new(width: usize, columns: usize) -> Self {
        let full = || vec![0.0; width];
        let masks = [vec![0.0; columns], vec![0.0; columns]];
        Self { weights: full(), x: full(), y: full(), masks, scratch: vec![0.0; columns + 2] }
    }

    /// Sets the weights to 1 where `chosen` says so of an age, the row of the two and the column, with soft edges.
    fn weigh(&mut self, level: usize, ages: [&[u8]; 2], chosen: impl Fn(u8, (usize, usize)) -> bool) {
        for (row, (mask, ages)) in self.masks.iter_mut().zip(ages).enumerate() {
            for (x, (mask, &age)) in mask.iter_mut().zip(ages).enumerate() {
                *mask = if chosen(age, (row, x)) { 1.0 } else { 0.0 };
            }
        }
        let [near, far] = &self.masks;
        enlarge(level, [near, far], 1.0, &mut self.scratch, &mut self.weights);
    }

    /// Sets the flow.
    fn point(&mut self, level: usize, flow: &Flow, rows: [usize; 2]) {
        let scale = (1 << level) as f32;
        for (plane, out) in [(&flow.x, &mut self.x), (&flow.y, &mut self.y)] {
            enlarge(level, rows.map(|row| &plane[row * flow.width..][..flow.width]), scale, &mut self.scratch, out);
        }
    }
}

/// A row of the frame from the nearest two of the level that flow is searched on.
fn enlarge(level: usize, [near, far]: [&[f32]; 2], scale: f32, scratch: &mut [f32], out: &mut [f32]) {
    if level == 0 { out.copy_from_slice(near) } else { double_row(near, far, scale, scratch, out) }
}

/// How far each pixel is what it was when it was painted.
fn trust(home: &[f32], luma: &Plane, painted_at: &Plane, tolerance: f32) -> Vec<f32> {
    let (height, width) = luma.size();
    let mut changes = vec![0.0; home.len()];
    changes.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, changes)| {
        let [now, then] = [luma, painted_at].map(|plane| &plane.view().row(y as isize, 0)[..width]);
        for (change, (now, then)) in changes.iter_mut().zip(now.iter().zip(then)) {
            *change = (now - then) * (now - then);
        }
    });
    // Changes count as means over some pixels: single ones are noise.
    let changes = smoothed(&changes, (height, width));
    let per = -1.0 / (tolerance * tolerance);
    let trust: Vec<f32> = home.iter().zip(&changes).map(|(home, change)| home * (change * per).exp()).collect();
    // Holes of few pixels in a piece would only make more edges.
    smoothed(&smoothed(&trust, (height, width)), (height, width))
}

#[cfg(test)]
mod tests;
