//! Keeps several frames of a clip in flight: the GPU paints one while the next is copied to it and the previous one is
//! copied back.

use std::collections::VecDeque;

use impasto_common::Result;
use impasto_engine::Statistics;
use impasto_picture::Picture;

use crate::stylizer::BegunPainting;
use crate::video::FramePainter;
use crate::{Painted, Stylizer};

/// Frames that are begun before the first one is waited for.
const MAX_AHEAD: usize = 3;

/// Paints each frame by itself. On a GPU, several frames are in flight at a time.
///
/// A frame that the CPU paints is painted when its turn comes, so paintings are returned in the order of their frames.
pub struct PipelinedPainter<'a> {
    stylizer: &'a Stylizer,
    in_flight: VecDeque<BegunPainting>,
}

impl<'a> PipelinedPainter<'a> {
    /// A painter without a frame yet.
    #[must_use]
    pub fn new(stylizer: &'a Stylizer) -> Self {
        Self { stylizer, in_flight: VecDeque::new() }
    }
}

impl FramePainter for PipelinedPainter<'_> {
    fn paint(&mut self, frame: Picture) -> Result<Painted> {
        self.stylizer.stylize_owned(frame)
    }

    fn push(&mut self, frame: Option<Picture>) -> Result<Option<Painted>> {
        let is_over = frame.is_none();
        if let Some(frame) = frame {
            self.in_flight.push_back(self.stylizer.begin(frame, &Statistics::own())?);
        }
        // Only a GPU paints in the background.
        let waits = self.in_flight.iter().all(|painting| matches!(painting, BegunPainting::OnGpu(..)));
        if !is_over && waits && self.in_flight.len() < MAX_AHEAD {
            return Ok(None);
        }
        self.in_flight.pop_front().map(|painting| self.stylizer.finish(painting, &mut Statistics::own())).transpose()
    }

    fn reset(&mut self) {
        self.in_flight.clear();
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use impasto_common::device::DeviceChoice;
    use impasto_common::network::Preset;

    use super::*;
    use crate::bench::Subject;

    #[test]
    fn the_cpu_paints_each_frame_when_it_arrives() {
        let stylizer = Subject::preset(Preset::Xs).unwrap().stylizer(DeviceChoice::Cpu, None).unwrap();
        let mut painter = PipelinedPainter::new(&stylizer);
        for i in 0..3 {
            let frame = Picture::from(RgbImage::from_fn(9, 7, |x, y| Rgb([(40 * i + 9 * x) as u8, y as u8, 7])));
            let expected = stylizer.stylize(&frame).unwrap();
            assert_eq!(painter.push(Some(frame)).unwrap(), Some(expected));
        }
        assert_eq!(painter.push(None).unwrap(), None);
    }
}
