//! What paints the frames of a clip.

use impasto_common::Result;
use impasto_picture::Picture;

use crate::{Painted, Stabilizer};

/// Paints the frames of a clip one after another, and may remember the ones before.
///
/// Any closure from picture to painting is a painter that remembers nothing.
pub trait FramePainter: Send {
    /// Paints a frame. The painting's size is that of the first one.
    ///
    /// # Errors
    ///
    /// If the frame cannot be painted; the clip ends there.
    fn paint(&mut self, frame: Picture) -> Result<Painted>;

    /// Takes the next frame, none after the last one, and gives the next painting, if it is there: the first paintings may
    /// wait until some more frames are under way. Without another frame every call gives one, until there is none left.
    ///
    /// # Errors
    ///
    /// As [`Self::paint`].
    fn push(&mut self, frame: Option<Picture>) -> Result<Option<Painted>> {
        frame.map(|frame| self.paint(frame)).transpose()
    }

    /// The next frame does not follow the last one: a new clip, or an interrupted one that goes on.
    fn reset(&mut self) {}
}

impl FramePainter for Stabilizer {
    fn paint(&mut self, frame: Picture) -> Result<Painted> {
        Self::paint(self, frame)
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}

impl<F: FnMut(Picture) -> Result<Picture> + Send> FramePainter for F {
    fn paint(&mut self, frame: Picture) -> Result<Painted> {
        self(frame).map(Painted::from)
    }
}
