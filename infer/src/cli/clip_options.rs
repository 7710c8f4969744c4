//! How the clips of a run are painted.

use impasto_common::Result;

use crate::video::{FramePainter, RenderOptions};
use crate::{PipelinedPainter, Stabilizer, SteadyOptions, Stylizer};

/// How clips are painted.
#[derive(Debug, Clone)]
pub(super) struct ClipOptions {
    pub(super) render: RenderOptions,
    /// The size of the frames on standard input, if they are RGB bytes without a header.
    pub(super) raw: Option<(u32, u32)>,
    /// How frames are stabilised; `None` if they are not.
    pub(super) steady: Option<SteadyOptions>,
}

impl ClipOptions {
    /// The painter for the frames of one clip.
    pub(super) fn painter<'a>(&self, stylizer: &'a Stylizer) -> Result<Box<dyn FramePainter + 'a>> {
        Ok(match self.steady {
            Some(steady) => Box::new(Stabilizer::new(stylizer.clone(), steady)?),
            None => Box::new(PipelinedPainter::new(stylizer)),
        })
    }
}
