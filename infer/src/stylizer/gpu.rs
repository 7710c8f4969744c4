//! Asynchronous painting: a GPU paints pictures while the CPU reads and writes others.

use impasto_common::Result;
use impasto_common::network::Network;
use impasto_engine::{Begun, Blend, Outcome, PixelFrame, RefusedFrame, Statistics, Ticket};
use impasto_picture::{Blank, Picture};

use super::{Painted, StylizeOptions, Stylizer, surroundings};

/// A picture whose painting has begun.
pub(crate) enum BegunPainting {
    /// There was nothing to paint.
    Done(Box<Picture>),
    /// A GPU is painting it.
    OnGpu(Ticket, Blank),
    /// The CPU will paint it, with a notice for the user if the GPU should have.
    ForCpu(Box<Picture>, Option<String>),
}

impl Stylizer {
    /// Begins to paint a picture on the GPU. Without a GPU, the work is done in [`Self::finish`].
    pub(crate) fn begin(&self, picture: Picture, statistics: &Statistics) -> Result<BegunPainting> {
        let picture = self.fit(picture);
        if self.options.strength == 0.0 {
            return Ok(BegunPainting::Done(Box::new(picture)));
        }
        let for_cpu = |picture| Ok(BegunPainting::ForCpu(picture, None));
        let picture = picture.with_bled_colors();
        if self.engine.gpu().is_none() {
            return for_cpu(Box::new(picture));
        }
        // Pictures of 16 bits, and those too small for the network, go to the GPU as levels.
        let (blank, bytes) = match picture.into_bytes() {
            Ok((blank, bytes)) if blank.size().0.min(blank.size().1) >= Network::MIN_SIZE => (blank, bytes),
            Ok((blank, bytes)) => return for_cpu(Box::new(blank.fill(bytes)?)),
            Err(picture) => return for_cpu(picture),
        };
        let frame = self.surrounded(bytes, &blank);
        let StylizeOptions { strength, keep_colors, .. } = self.options;
        Ok(match self.engine.begin(frame, Blend { strength, keep_colors }, statistics)? {
            Begun::Ticket(ticket) => BegunPainting::OnGpu(ticket, blank),
            Begun::Refused(refused) => {
                let (picture, note) = self.refused(refused, blank)?;
                BegunPainting::ForCpu(Box::new(picture), note)
            }
        })
    }

    /// Finishes a painting that was begun.
    pub(crate) fn finish(&self, painting: BegunPainting, statistics: &mut Statistics) -> Result<Painted> {
        match painting {
            BegunPainting::Done(picture) => Ok(Painted::from(*picture)),
            BegunPainting::ForCpu(picture, note) => self.paint_noted(*picture, note, statistics),
            BegunPainting::OnGpu(ticket, blank) => match self.engine.finish(ticket, statistics)? {
                Outcome::Painted(frame, note) => {
                    let bytes = self.cropped(frame, &blank);
                    Ok(Painted { picture: blank.fill(bytes)?, notes: note.into_iter().collect() })
                }
                Outcome::Refused(refused) => {
                    let (picture, note) = self.refused(refused, blank)?;
                    self.paint_noted(picture, note, statistics)
                }
            },
        }
    }

    /// Paints a picture for which there may already be a notice.
    fn paint_noted(&self, picture: Picture, note: Option<String>, statistics: &mut Statistics) -> Result<Painted> {
        let (picture, another) = self.paint_rows(picture, statistics)?;
        Ok(Painted { picture, notes: note.into_iter().chain(another).collect() })
    }

    /// The picture that a GPU refused, and the notice about it.
    fn refused(&self, refused: RefusedFrame, blank: Blank) -> Result<(Picture, Option<String>)> {
        let bytes = self.cropped(refused.frame, &blank);
        Ok((blank.fill(bytes)?, refused.note))
    }

    /// A picture's bytes with the surroundings that the style is painted with.
    fn surrounded(&self, bytes: Vec<u8>, blank: &Blank) -> PixelFrame {
        let (margin, channels, (height, width)) = (self.margin(), blank.channels(), blank.size());
        if margin == 0 {
            return PixelFrame { bytes, channels, size: (height, width) };
        }
        let bytes = surroundings::surround(&bytes, (height, width), channels, margin);
        PixelFrame { bytes, channels, size: (height + 2 * margin, width + 2 * margin) }
    }

    /// The bytes of a frame without the surroundings of [`Self::surrounded`].
    fn cropped(&self, frame: PixelFrame, blank: &Blank) -> Vec<u8> {
        let margin = self.margin();
        if margin == 0 { frame.bytes } else { surroundings::crop(&frame.bytes, blank.size(), blank.channels(), margin) }
    }
}
