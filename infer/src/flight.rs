//! Frames of a clip under way on a card: while one is painted, the next is on its way there, and the last on its way back.

use std::collections::VecDeque;

use impasto_common::Result;
use impasto_engine::Statistics;
use impasto_picture::Picture;

use crate::Stylizer;
use crate::stylizer::Painting;
use crate::video::FramePainter;

/// Frames that are begun before the first is waited for.
const AHEAD: usize = 3;

/// Paints frames by themselves, several at a time where a card paints them.
///
/// What the processor paints is painted when its turn comes, so paintings are in the order of their frames.
pub struct Flight<'a> {
    stylizer: &'a Stylizer,
    under_way: VecDeque<Painting>,
}

impl<'a> Flight<'a> {
    /// A painter of frames that has none yet.
    #[must_use]
    pub fn new(stylizer: &'a Stylizer) -> Self {
        Self { stylizer, under_way: VecDeque::new() }
    }
}

impl FramePainter for Flight<'_> {
    fn paint(&mut self, frame: Picture) -> Result<Picture> {
        self.stylizer.stylize_owned(frame)
    }

    fn push(&mut self, frame: Option<Picture>) -> Result<Option<Picture>> {
        let is_over = frame.is_none();
        if let Some(frame) = frame {
            self.under_way.push_back(self.stylizer.begin(frame, &Statistics::own())?);
        }
        // Only a card paints meanwhile.
        let waits = self.under_way.iter().all(|painting| matches!(painting, Painting::OnCard(..)));
        if !is_over && waits && self.under_way.len() < AHEAD {
            return Ok(None);
        }
        self.under_way.pop_front().map(|painting| self.stylizer.land(painting, &mut Statistics::own())).transpose()
    }

    fn reset(&mut self) {
        self.under_way.clear();
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
    fn the_processor_paints_each_frame_when_it_comes() {
        let stylizer = Subject::preset(Preset::Xs).unwrap().stylizer(DeviceChoice::Cpu, None).unwrap();
        let mut flight = Flight::new(&stylizer);
        for i in 0..3 {
            let frame = Picture::from(RgbImage::from_fn(9, 7, |x, y| Rgb([(40 * i + 9 * x) as u8, y as u8, 7])));
            let expected = stylizer.stylize(&frame).unwrap();
            assert_eq!(flight.push(Some(frame)).unwrap(), Some(expected));
        }
        assert_eq!(flight.push(None).unwrap(), None);
    }
}
