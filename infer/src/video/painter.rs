//! What paints the frames of a clip.

use common::Result;
use common::picture::Picture;

use crate::Stabilizer;

/// Paints the frames of a clip one after another, and may remember the ones before.
///
/// Any closure from picture to painting is one that remembers nothing.
pub trait FramePainter: Send {
    /// Paints a frame. The painting's size is that of the first one.
    ///
    /// # Errors
    ///
    /// If the frame cannot be painted; the clip ends there.
    fn paint(&mut self, frame: Picture) -> Result<Picture>;

    /// The next frame does not follow the last one: a new clip, or an interrupted one that goes on.
    fn reset(&mut self) {}
}

impl FramePainter for Stabilizer {
    fn paint(&mut self, frame: Picture) -> Result<Picture> {
        Self::paint(self, frame)
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}

impl<F: FnMut(Picture) -> Result<Picture> + Send> FramePainter for F {
    fn paint(&mut self, frame: Picture) -> Result<Picture> {
        self(frame)
    }
}
