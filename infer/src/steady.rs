//! Painting the frames of a film so that they hold still.
//!
//! A network paints each frame by itself, and strokes change where the film does not: with its noise, with where an edge
//! falls between pixels, with what enters elsewhere in the frame. Here every frame's painting is a patchwork
//! ([`impasto_flow::Patchwork`]) of it and of those before, carried along the film's optical flow wherever that can be trusted,
//! and the statistics that the network normalises by follow slowly. Nothing of this looks ahead: a frame is painted when it
//! arrives.
//!
//! Others mix a frame with the one before (Ruder et al., 2016, in the optimisation; Lai et al., 2018, by a network). Strokes
//! that do not match fade into one another then, which is calm as a blur is: at the same warping error, `trainer
//! evaluate-clip` finds several times the loss of style.

mod cut;
mod detail;

use impasto_common::{Error, Result};
use impasto_engine::Statistics;
use impasto_flow::{FlowFrame, FlowOptions, Patchwork, PatchworkOptions, Pyramid};
use impasto_picture::Picture;

use crate::Stylizer;
use cut::Histogram;

/// How still the frames of a film are held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyOptions {
    /// For how many frames strokes are kept, about, where the film moves, from 1, every frame by itself, to 64. Where it
    /// stands still they are kept as long as it does.
    pub hold: usize,
    /// The weight of the frames before in the statistics that the network normalises by, from 0 to below 1.
    pub statistics: f32,
    /// The change of a pixel's luma since it was painted, in levels of 255, by which it counts as another: trust that it is
    /// the same falls to 1/e.
    pub tolerance: f32,
    /// How carefully flow is computed, searched at the frame's size or half of it.
    pub flow: FlowOptions,
}

impl Default for SteadyOptions {
    fn default() -> Self {
        Self { hold: 3, statistics: 0.5, tolerance: 30.0, flow: FlowOptions::fast() }
    }
}

impl SteadyOptions {
    fn validate(&self) -> Result<()> {
        if !(1..=64).contains(&self.hold) {
            return Err(Error::usage(format!("strokes are held for 1 to 64 frames, not {}", self.hold)));
        }
        if !(0.0..1.0).contains(&self.statistics) {
            let weight = self.statistics;
            return Err(Error::usage(format!("a weight of the statistics of {weight} is not from 0 to below 1")));
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::usage(format!("a tolerance of {} levels is not above 0", self.tolerance)));
        }
        if self.flow.finest > 1 {
            return Err(Error::usage("the flow of a film is searched at full or half size"));
        }
        Ok(())
    }
}

/// Paints frames that arrive one after the other.
///
/// ```no_run
/// use impasto_picture::Picture;
/// use impasto_infer::{Stabilizer, SteadyOptions, Stylizer};
///
/// let mut stabilizer = Stabilizer::new(Stylizer::bundled("starry_night")?, SteadyOptions::default())?;
/// for i in 0..250 {
///     stabilizer.paint(Picture::open(format!("frames/{i:04}.png"))?)?.save(format!("painted/{i:04}.png"))?;
/// }
/// # Ok::<(), impasto_common::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stabilizer {
    stylizer: Stylizer,
    statistics: Statistics,
    patchwork: Patchwork,
    before: Option<Histogram>,
}

impl Stabilizer {
    /// Holds still what `stylizer` paints.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn new(stylizer: Stylizer, options: SteadyOptions) -> Result<Self> {
        options.validate()?;
        let SteadyOptions { hold, statistics, tolerance, flow } = options;
        let patchwork = Patchwork::new(PatchworkOptions { hold, tolerance, flow });
        Ok(Self { stylizer, statistics: Statistics::over_frames(statistics), patchwork, before: None })
    }

    /// Paints the next frame. A cut, or a frame of another size, begins anew.
    ///
    /// # Errors
    ///
    /// As [`Stylizer::stylize`].
    pub fn paint(&mut self, frame: Picture) -> Result<Picture> {
        let picture = self.stylizer.fit(frame);
        let frame = FlowFrame::of(&picture);
        let histogram = Histogram::of(&frame);
        if self.before.replace(histogram.clone()).is_some_and(|before| histogram.is_cut_from(&before)) {
            self.reset();
            self.before = Some(histogram);
        }
        let goes_on = self.patchwork.follow(Pyramid::new(&frame));
        if !goes_on {
            self.statistics.reset();
        }
        let mut picture = match self.stylizer.stylize_frame(picture, &mut self.statistics) {
            Ok(picture) => picture,
            Err(error) => {
                self.reset();
                return Err(error);
            }
        };
        let mut painting = FlowFrame::of(&picture);
        if goes_on {
            painting = detail::restore(&self.patchwork.compose(&painting), &painting);
            painting.write_to(&mut picture);
        }
        self.patchwork.keep(painting);
        Ok(picture)
    }

    /// Forgets all frames: the next is painted as if it were the first.
    pub fn reset(&mut self) {
        self.statistics.reset();
        self.patchwork.reset();
        self.before = None;
    }
}

#[cfg(test)]
mod tests;
