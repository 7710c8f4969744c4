//! How still the frames of a film are held.

use impasto_common::{Error, Result};
use impasto_flow::FlowOptions;

/// How still the frames of a film are held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyOptions {
    /// For about how many frames strokes are kept where the film moves, from 1 (every frame by itself) to 64. Strokes that
    /// move from one tile to another are kept shorter or longer, for less than twice as many frames. Where the film stands
    /// still, strokes are kept as long as it does.
    pub hold: usize,
    /// The weight of earlier frames in the statistics of the network's normalisations, from 0 to below 1.
    pub statistics: f32,
    /// The change of a pixel's luma since it was painted, in levels of 255, at which the confidence that it still shows the
    /// same thing falls to 1/e.
    pub tolerance: f32,
    /// Settings of the optical flow; [`FlowOptions::finest`] must be 0 or 1.
    pub flow: FlowOptions,
}

impl Default for SteadyOptions {
    fn default() -> Self {
        Self { hold: 3, statistics: 0.5, tolerance: 30.0, flow: FlowOptions::fast() }
    }
}

impl SteadyOptions {
    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=64).contains(&self.hold) {
            return Err(Error::usage(format!("strokes can be kept for 1 to 64 frames, not for {}", self.hold)));
        }
        if !(0.0..1.0).contains(&self.statistics) {
            let weight = self.statistics;
            return Err(Error::usage(format!(
                "the weight of earlier statistics must be at least 0 and below 1, not {weight}"
            )));
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::usage(format!(
                "the tolerance must be a number of levels above 0, not {}",
                self.tolerance
            )));
        }
        if self.flow.finest > 1 {
            return Err(Error::usage("optical flow can be computed only at full or half size"));
        }
        Ok(())
    }
}
