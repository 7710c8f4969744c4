//! Pictures that a card paints while the processor reads and writes others.

use impasto_common::Result;
use impasto_common::network::Network;
use impasto_engine::{Begun, Blend, Outcome, PixelFrame, Statistics, Ticket};
use impasto_picture::{Blank, Picture};

use super::{StylizeOptions, Stylizer, extended};

/// A picture whose painting has begun.
pub(crate) enum Painting {
    /// There was nothing to paint.
    Done(Box<Picture>),
    /// It is under way: see [`Stylizer::finish`].
    OnCard(Ticket, Blank),
    /// It is for [`Stylizer::paint_here`].
    ForHost(Box<Picture>),
}

impl Stylizer {
    /// Begins to paint a picture if a card paints it; nothing is done yet if none does.
    pub(crate) fn begin(&self, picture: Picture, statistics: &Statistics) -> Result<Painting> {
        let picture = self.fit(picture);
        if self.options.strength == 0.0 {
            return Ok(Painting::Done(Box::new(picture)));
        }
        if self.engine.gpu_name().is_none() {
            return Ok(Painting::ForHost(Box::new(picture)));
        }
        // Pictures of 16 bits, and those too small for the network, go to the card as levels.
        let (blank, bytes) = match picture.into_bytes() {
            Ok((blank, bytes)) if blank.size().0.min(blank.size().1) >= Network::MIN_SIZE => (blank, bytes),
            Ok((blank, bytes)) => return Ok(Painting::ForHost(Box::new(blank.fill(bytes)?))),
            Err(picture) => return Ok(Painting::ForHost(picture)),
        };
        let frame = self.extended(bytes, &blank);
        let StylizeOptions { strength, keep_colors, .. } = self.options;
        Ok(match self.engine.begin(frame, Blend { strength, keep_colors }, statistics)? {
            Begun::Ticket(ticket) => Painting::OnCard(ticket, blank),
            Begun::Refused(frame) => {
                let bytes = self.cropped(frame, &blank);
                Painting::ForHost(Box::new(blank.fill(bytes)?))
            }
        })
    }

    /// Ends what was begun.
    pub(crate) fn land(&self, painting: Painting, statistics: &mut Statistics) -> Result<Picture> {
        match painting {
            Painting::Done(picture) => Ok(*picture),
            Painting::OnCard(ticket, blank) => self.finish(ticket, blank, statistics),
            Painting::ForHost(picture) => self.paint_here(*picture, statistics),
        }
    }

    /// Waits for a picture that a card paints.
    fn finish(&self, ticket: Ticket, blank: Blank, statistics: &mut Statistics) -> Result<Picture> {
        match self.engine.finish(ticket, statistics)? {
            Outcome::Painted(frame) => {
                let bytes = self.cropped(frame, &blank);
                blank.fill(bytes)
            }
            Outcome::Refused(frame) => {
                let bytes = self.cropped(frame, &blank);
                self.paint_here(blank.fill(bytes)?, statistics)
            }
        }
    }

    /// A picture's bytes with the margin that the style is painted with.
    fn extended(&self, bytes: Vec<u8>, blank: &Blank) -> PixelFrame {
        let (margin, channels, (height, width)) = (self.margin(), blank.channels(), blank.size());
        if margin == 0 {
            return PixelFrame { bytes, channels, size: (height, width) };
        }
        let bytes = extended::extend(&bytes, (height, width), channels, margin);
        PixelFrame { bytes, channels, size: (height + 2 * margin, width + 2 * margin) }
    }

    /// Those of [`Self::extended`] without the margin.
    fn cropped(&self, frame: PixelFrame, blank: &Blank) -> Vec<u8> {
        let margin = self.margin();
        if margin == 0 { frame.bytes } else { extended::crop(&frame.bytes, blank.size(), blank.channels(), margin) }
    }
}
