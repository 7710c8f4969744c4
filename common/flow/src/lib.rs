//! Dense optical flow between two frames, on the CPU: where every pixel of one lies in the other.
//!
//! This is DIS (Kroeger et al., 2016, "Fast Optical Flow using Dense Inverse Search"): from coarse to fine, patches search
//! for themselves by inverse composition, their displacements are averaged into a field, and a variational step smooths it.
//! It sees luma alone. Work is cut by rows: the same bytes on any number of threads.
//!
//! Flow and its opposite tell what can be trusted: see [`Flow::agrees`]. What is painted along a film is kept in a
//! [`Patchwork`].

#![forbid(unsafe_code)]

mod consistency;
mod frame;
mod motion;
mod patchwork;
mod plane;
mod refine;
mod search;
#[cfg(test)]
mod tests;

pub use consistency::Trust;
pub use frame::FlowFrame;
pub use patchwork::{Composed, Patchwork, PatchworkOptions};
pub use plane::Pyramid;

/// How carefully flow is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOptions {
    /// The finest level that is searched: 0 is the frame itself, 1 half its size, and so on.
    pub finest: usize,
    /// Steps that a patch makes at most on each level.
    pub steps: usize,
    /// How often the variational step sets up its system on each level.
    pub refinements: usize,
    /// How often each system is relaxed.
    pub relaxations: usize,
}

impl FlowOptions {
    /// For painting while frames arrive: searched at half the size.
    #[must_use]
    pub fn fast() -> Self {
        Self { finest: 1, steps: 8, refinements: 2, relaxations: 6 }
    }

    /// For measuring: searched at full size.
    #[must_use]
    pub fn fine() -> Self {
        Self { finest: 0, steps: 16, refinements: 5, relaxations: 10 }
    }
}

/// Where every pixel of one frame lies in another.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    height: usize,
    width: usize,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Flow {
    /// The flow between two frames of one size. Where a frame shows nothing to hold on to, it is what is around.
    ///
    /// # Panics
    ///
    /// If the frames differ in size.
    #[must_use]
    pub fn between(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> Self {
        let finest = options.finest.min(from.levels().len() - 1);
        let mut flow = Self::at_finest(from, to, options);
        for level in (0..finest).rev() {
            flow = flow.doubled(from.levels()[level].size());
        }
        flow
    }

    /// The flow on the finest level that is searched.
    fn at_finest(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> Self {
        assert_eq!(from.size(), to.size(), "flow is between frames of one size");
        let finest = options.finest.min(from.levels().len() - 1);
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
}
