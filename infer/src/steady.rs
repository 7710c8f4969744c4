//! Painting the frames of a film so that they hold still.
//!
//! A network paints each frame by itself, and strokes change where the film does not: with its noise, with where an edge
//! falls between pixels, with what enters elsewhere in the frame. Here every frame's painting is mixed with the one before,
//! moved along the film's optical flow, wherever the flow can be trusted (the temporal consistency of Ruder et al., 2016, as
//! a filter behind the network rather than a term of an optimisation), and the statistics that the network normalises by
//! follow slowly. Nothing of this looks ahead: a frame is painted when it arrives.

mod contrast;
mod cut;
mod mix;

use common::engine::Statistics;
use common::flow::{FlowOptions, Frame, Guide, Pyramid};
use common::picture::Picture;
use common::{Error, Result};

use crate::Stylizer;
use cut::Histogram;

/// How still the frames of a film are held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyOptions {
    /// The share of the painting before in a pixel that is surely the same, from 0, every frame by itself, to below 1. Too
    /// much of it, and strokes that do not match are painted over one another.
    pub strength: f32,
    /// The share of the frame before in a pixel that is surely the same, from 0 to below 1, before it is painted: the film's
    /// noise, which networks turn into strokes, never reaches the network.
    pub denoising: f32,
    /// The weight of the frames before in the statistics that the network normalises by, from 0 to below 1.
    pub statistics: f32,
    /// The change of a pixel's luma along the flow, in levels of 255, by which it counts as another: its share of the painting
    /// before is then 1/e of what it would be.
    pub tolerance: f32,
    /// How carefully flow is computed.
    pub flow: FlowOptions,
}

impl Default for SteadyOptions {
    fn default() -> Self {
        Self { strength: 0.2, denoising: 0.8, statistics: 0.8, tolerance: 12.0, flow: FlowOptions::fast() }
    }
}

impl SteadyOptions {
    fn validate(&self) -> Result<()> {
        let shares =
            [("strength", self.strength), ("denoising", self.denoising), ("weight of the statistics", self.statistics)];
        for (name, share) in shares {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::usage(format!("a {name} of {share} is not from 0 to below 1")));
            }
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::usage(format!("a tolerance of {} levels is not above 0", self.tolerance)));
        }
        Ok(())
    }
}

/// Paints frames that arrive one after the other.
///
/// ```no_run
/// use common::picture::Picture;
/// use infer::{Stabilizer, SteadyOptions, Stylizer};
///
/// let mut stabilizer = Stabilizer::new(Stylizer::bundled("starry_night")?, SteadyOptions::default())?;
/// for i in 0..250 {
///     stabilizer.paint(Picture::open(format!("frames/{i:04}.png"))?)?.save(format!("painted/{i:04}.png"))?;
/// }
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stabilizer {
    stylizer: Stylizer,
    options: SteadyOptions,
    statistics: Statistics,
    before: Option<Before>,
}

/// What is kept of the frame before.
#[derive(Debug, Clone)]
struct Before {
    frame: Frame,
    pyramid: Pyramid,
    histogram: Histogram,
    painting: Frame,
}

impl Stabilizer {
    /// Holds still what `stylizer` paints.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn new(stylizer: Stylizer, options: SteadyOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { stylizer, options, statistics: Statistics::over_frames(options.statistics), before: None })
    }

    /// Paints the next frame. A cut, or a frame of another size, begins anew.
    ///
    /// # Errors
    ///
    /// As [`Stylizer::stylize`].
    pub fn paint(&mut self, frame: Picture) -> Result<Picture> {
        let mut picture = self.stylizer.fit(frame);
        let mut frame = Frame::of(&picture);
        let (mut pyramid, histogram) = (Pyramid::new(&frame), Histogram::of(&frame));
        let guide = self.guide(&pyramid, &histogram);
        match (&guide, &self.before) {
            (Some(guide), Some(before)) if self.options.denoising > 0.0 => {
                mix::mix(&mut frame, &before.frame, guide, self.options.denoising);
                frame.write_to(&mut picture);
                pyramid = Pyramid::new(&frame);
            }
            (Some(_), _) => {}
            (None, _) => self.reset(),
        }
        let mut picture = self.stylizer.stylize_frame(picture, &mut self.statistics)?;
        let mut painting = Frame::of(&picture);
        if let (Some(guide), Some(before)) = (guide, &self.before) {
            mix::mix_paintings(&mut painting, &before.painting, &guide, self.options.strength);
            painting.write_to(&mut picture);
        }
        self.before = Some(Before { frame, pyramid, histogram, painting });
        Ok(picture)
    }

    /// Forgets all frames: the next is painted as if it were the first.
    pub fn reset(&mut self) {
        self.statistics.reset();
        self.before = None;
    }

    /// Where the frame's pixels were in the one before; none if that shows something else.
    fn guide(&self, pyramid: &Pyramid, histogram: &Histogram) -> Option<Guide> {
        let before = self.before.as_ref()?;
        if before.pyramid.size() != pyramid.size() || histogram.is_cut_from(&before.histogram) {
            return None;
        }
        let guide = Guide::between(pyramid, &before.pyramid, &self.options.flow, self.options.tolerance);
        (guide.mean() >= cut::LEAST_IN_COMMON).then_some(guide)
    }
}

#[cfg(test)]
mod tests;
