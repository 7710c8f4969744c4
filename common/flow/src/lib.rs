//! Dense optical flow between two frames, on the CPU: the position of every pixel of one frame in the other.
//!
//! This is DIS (Kroeger et al., 2016, "Fast Optical Flow using Dense Inverse Search"). From coarse to fine, patches search
//! for their match by inverse composition, their displacements are averaged into a field, and a variational step smooths it.
//! Only luma is used. Work is split by rows, so any number of threads gives the same bytes.
//!
//! The flows in both directions together show which pixels can be trusted: see [`Flow::agrees`].

#![forbid(unsafe_code)]

mod consistency;
mod frame;
mod plane;
mod refine;
mod search;
#[cfg(test)]
mod tests;

use plane::ROWS;
use rayon::prelude::*;

pub use consistency::Trust;
pub use frame::FlowFrame;
pub use plane::{LumaPlane, Pyramid};

/// Accuracy settings of the optical flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOptions {
    /// The finest level that is searched: 0 is the frame itself, 1 half its size, and so on.
    pub finest: usize,
    /// The largest number of search iterations of a patch on each level.
    pub steps: usize,
    /// How often the variational step linearises and sets up its system on each level.
    pub refinements: usize,
    /// Relaxation iterations for each system.
    pub relaxations: usize,
}

impl FlowOptions {
    /// Options for live painting: searches at half the size.
    #[must_use]
    pub fn fast() -> Self {
        Self { finest: 1, steps: 8, refinements: 2, relaxations: 6 }
    }

    /// Options for measurements: searches at full size.
    #[must_use]
    pub fn fine() -> Self {
        Self { finest: 0, steps: 16, refinements: 5, relaxations: 10 }
    }

    /// The finest level that is searched in a pyramid: [`Self::finest`], or the coarsest level of a smaller one.
    #[must_use]
    pub fn finest_level(&self, pyramid: &Pyramid) -> usize {
        self.finest.min(pyramid.levels().len() - 1)
    }
}

/// The displacement of every pixel of one frame to its position in another.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    height: usize,
    width: usize,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Flow {
    /// The flow between two frames of one size. Where a frame shows no texture, the flow is that of the surroundings.
    ///
    /// # Panics
    ///
    /// If the frames differ in size.
    #[must_use]
    pub fn between(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> Self {
        let mut flow = Self::at_finest_level(from, to, options);
        for level in (0..options.finest_level(from)).rev() {
            flow = flow.doubled(from.levels()[level].size());
        }
        flow
    }

    /// The flow on the finest level that is searched, in pixels of that level: see [`FlowOptions::finest_level`].
    ///
    /// # Panics
    ///
    /// If the frames differ in size.
    #[must_use]
    pub fn at_finest_level(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> Self {
        assert_eq!(from.size(), to.size(), "flow is between frames of one size");
        let finest = options.finest_level(from);
        let mut flow: Option<Self> = None;
        for level in (finest..from.levels().len()).rev() {
            let (from, to) = (&from.levels()[level], &to.levels()[level]);
            let start = flow.take();
            let found = search::search(from, to, start.as_ref(), options.steps);
            flow = Some(refine::refine(from, to, found, options));
        }
        flow.unwrap_or_else(|| Self::still(from.size()))
    }

    /// No movement.
    #[must_use]
    pub fn still((height, width): (usize, usize)) -> Self {
        Self { height, width, x: vec![0.0; height * width], y: vec![0.0; height * width] }
    }

    /// The flow of these movements: `x` pixels to the right and `y` pixels down, row by row.
    ///
    /// # Panics
    ///
    /// If there are not `height * width` of each.
    #[must_use]
    pub fn from_planes((height, width): (usize, usize), x: Vec<f32>, y: Vec<f32>) -> Self {
        assert_eq!((x.len(), y.len()), (height * width, height * width), "a flow has height times width pixels");
        Self { height, width, x, y }
    }

    /// Height and width.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Pixels to the right, row by row.
    #[must_use]
    pub fn x(&self) -> &[f32] {
        &self.x
    }

    /// Pixels down, row by row.
    #[must_use]
    pub fn y(&self) -> &[f32] {
        &self.y
    }

    /// Whether a pixel, counted row by row, does not move at all.
    #[must_use]
    pub fn is_still(&self, pixel: usize) -> bool {
        self.x[pixel] == 0.0 && self.y[pixel] == 0.0
    }

    /// The position `(y, x)` that the flow leads to from a pixel, clamped to the frame.
    #[must_use]
    pub fn target(&self, row: usize, column: usize) -> (f32, f32) {
        let at = row * self.width + column;
        let inside = |position: f32, size: usize| position.clamp(0.0, (size - 1) as f32);
        (inside(row as f32 + self.y[at], self.height), inside(column as f32 + self.x[at], self.width))
    }

    /// The composition of this flow and `next`: `next` is sampled at the targets of this flow. Positions outside the frame
    /// are clamped to its border.
    ///
    /// # Panics
    ///
    /// If the flows differ in size.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        assert_eq!(self.size(), next.size(), "a flow goes on in frames of its size");
        let mut out = Self::still(self.size());
        let rows = out.x.par_chunks_exact_mut(self.width).zip(out.y.par_chunks_exact_mut(self.width));
        rows.with_min_len(ROWS).enumerate().for_each(|(y, (out_x, out_y))| {
            for (x, (out_x, out_y)) in out_x.iter_mut().zip(out_y).enumerate() {
                let at = y * self.width + x;
                let (row, column) = self.target(y, x);
                let (on_x, on_y) = next.at(row, column);
                (*out_x, *out_y) = (self.x[at] + on_x, self.y[at] + on_y);
            }
        });
        out
    }
}
