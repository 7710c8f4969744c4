//! Painting the frames of a film so that they hold still.
//!
//! A network paints each frame by itself, and its strokes change even where the film does not: because of noise, subpixel
//! positions of edges, or changes elsewhere in the frame. Here every frame is shown as a patchwork ([`Patchwork`]) of its
//! own painting and earlier paintings. These are warped along the film's optical flow wherever the flow can be trusted. The
//! statistics of the network's normalisations also change slowly. A frame is painted when it arrives; later frames are not
//! used.
//!
//! Other methods mix a frame with the previous one (Ruder et al., 2016, in the optimisation; Lai et al., 2018, by a
//! network). Strokes that do not match then fade into one another, which is stable in the way that blur is: at the same
//! warping error, `trainer evaluate-clip` finds several times the style loss.

mod cut;
mod detail;
mod memory;
mod motion;
mod options;
mod patchwork;
#[cfg(test)]
mod tests;
use std::io::{Read, Write};

use impasto_common::{Result, ResultExt};
use impasto_engine::Statistics;
use impasto_flow::{FlowFrame, Pyramid};
use impasto_picture::Picture;

use crate::{Painted, Stylizer};
use cut::Histogram;
use memory::{MemoryReader, MemoryWriter};

pub use options::SteadyOptions;
pub use patchwork::{Composed, Patchwork};

/// Rows that a thread takes at a time.
const ROWS: usize = 16;

/// Paints frames that arrive one after the other.
///
/// ```no_run
/// use impasto_picture::Picture;
/// use impasto_infer::{Stabilizer, SteadyOptions, Stylizer};
///
/// let mut stabilizer = Stabilizer::new(Stylizer::bundled("starry_night")?, SteadyOptions::default())?;
/// for i in 0..250 {
///     let painted = stabilizer.paint(Picture::open(format!("frames/{i:04}.png"))?)?;
///     painted.picture.save(format!("painted/{i:04}.png"))?;
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
    /// Holds the paintings of `stylizer` still.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn new(stylizer: Stylizer, options: SteadyOptions) -> Result<Self> {
        let patchwork = Patchwork::new(options)?;
        Ok(Self { stylizer, statistics: Statistics::over_frames(options.statistics), patchwork, before: None })
    }

    /// Paints the next frame. After a cut, or a change of size, nothing is taken from earlier frames.
    ///
    /// # Errors
    ///
    /// As [`Stylizer::stylize`].
    pub fn paint(&mut self, frame: Picture) -> Result<Painted> {
        let picture = self.stylizer.fit(frame);
        let frame = FlowFrame::of(&picture);
        let histogram = Histogram::of(&frame);
        if self.before.replace(histogram.clone()).is_some_and(|before| histogram.is_cut_from(&before)) {
            self.reset();
            self.before = Some(histogram);
        }
        let continues = self.patchwork.follow(Pyramid::new(&frame));
        if !continues {
            self.statistics.reset();
        }
        let mut painted = match self.stylizer.stylize_frame(picture, &mut self.statistics) {
            Ok(painted) => painted,
            Err(error) => {
                self.reset();
                return Err(error);
            }
        };
        let mut painting = FlowFrame::of(&painted.picture);
        if continues {
            painting = detail::restore(&self.patchwork.compose(&painting), &painting);
            painting.write_to(&mut painted.picture);
        }
        self.patchwork.keep(painting);
        Ok(painted)
    }

    /// Forgets all frames: the next one is painted as if it were the first.
    pub fn reset(&mut self) {
        self.statistics.reset();
        self.patchwork.reset();
        self.before = None;
    }

    /// Writes everything about earlier frames that the next paintings depend on: about 19 bytes for each pixel of each painting
    /// that is kept.
    ///
    /// # Errors
    ///
    /// If `writer` fails.
    pub fn save(&self, writer: &mut dyn Write) -> Result<()> {
        let mut writer = MemoryWriter(writer);
        let mut save = || {
            writer.statistics(self.statistics.layers())?;
            writer.floats(self.before.as_ref().map_or(&[][..], Histogram::shares))?;
            self.patchwork.save(&mut writer)
        };
        save().context(|| "cannot write the stabiliser's memory")
    }

    /// Continues where a stabiliser with the same style and options was when it wrote [`Self::save`].
    ///
    /// # Errors
    ///
    /// If `reader` fails or holds something else. All frames are then forgotten.
    pub fn restore(&mut self, reader: &mut dyn Read) -> Result<()> {
        self.reset();
        let mut reader = MemoryReader(reader);
        let mut restore = || {
            self.statistics.replace(reader.statistics()?);
            self.before = Histogram::from_shares(&reader.floats()?);
            self.patchwork.restore(&mut reader)?;
            reader.end()
        };
        let restored = restore();
        if restored.is_err() {
            self.reset();
        }
        restored.context(|| "cannot read the stabiliser's memory")
    }
}
