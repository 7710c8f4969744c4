//! The interface for painting the frames of a clip.

use impasto_common::Result;
use impasto_picture::Picture;

use crate::{Painted, Stabilizer};

/// Paints the frames of a clip one after another, and may remember earlier ones.
///
/// Any closure from picture to painting is a painter without memory.
pub trait FramePainter: Send {
    /// Paints a frame. All paintings have the size of the first one.
    ///
    /// # Errors
    ///
    /// If the frame cannot be painted; the clip ends there.
    fn paint(&mut self, frame: Picture) -> Result<Painted>;

    /// Takes the next frame, or `None` after the last one, and returns the next painting if it is ready: the first paintings
    /// may be delayed by some frames. After the last frame every call returns a painting, until none is left.
    ///
    /// # Errors
    ///
    /// As [`Self::paint`].
    fn push(&mut self, frame: Option<Picture>) -> Result<Option<Painted>> {
        frame.map(|frame| self.paint(frame)).transpose()
    }

    /// Announces that the next frame does not follow the last one: a new clip begins, or an interrupted one continues.
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
