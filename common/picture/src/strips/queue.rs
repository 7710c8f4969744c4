//! Passes strips to an encoder, which runs in its own thread.

use std::sync::mpsc::Receiver;

use super::info::PictureInfo;
use super::samples::Samples;
use crate::{Picture, PictureFormat};
use impasto_error::{Error, Result};

/// The encoder's end of the channel. It returns as many rows at a time as the encoder requests.
pub(super) struct StripQueue {
    receiver: Receiver<Option<Picture>>,
    format: PictureFormat,
    bits: u8,
    row_samples: usize,
    missing: u32,
    /// The latest strip.
    rest: Samples,
    /// How many of its samples were already returned.
    taken: usize,
}

impl StripQueue {
    pub(super) fn new(receiver: Receiver<Option<Picture>>, format: PictureFormat, stored: &PictureInfo) -> Self {
        Self {
            receiver,
            format,
            bits: stored.bits,
            row_samples: stored.row_samples(),
            missing: stored.height,
            rest: Samples::with_capacity(stored.bits, 0),
            taken: 0,
        }
    }

    /// The next strip, unchanged except for conversion to the format's depth and channels. `None` after the last row.
    pub(super) fn next(&mut self) -> Result<Option<Samples>> {
        if self.missing == 0 {
            return Ok(None);
        }
        let strip = self.receiver.recv().ok().flatten().ok_or_else(abandoned)?;
        self.missing -= strip.height();
        Ok(Some(Samples::of(strip.into_compatible(self.format))))
    }

    /// Exactly the next `rows` rows. The caller makes sure that they exist.
    pub(super) fn take(&mut self, rows: u32) -> Result<Samples> {
        let wanted = rows as usize * self.row_samples;
        let mut samples = Samples::with_capacity(self.bits, wanted);
        while samples.len() < wanted {
            if self.taken == self.rest.len() {
                self.rest = self.next()?.ok_or_else(abandoned)?;
                self.taken = 0;
            }
            let count = (wanted - samples.len()).min(self.rest.len() - self.taken);
            samples.extend_from(&self.rest, self.taken..self.taken + count)?;
            self.taken += count;
        }
        Ok(samples)
    }

    /// Waits until the caller confirms that the picture is complete.
    pub(super) fn confirm(&self) -> Result<()> {
        match self.receiver.recv() {
            Ok(None) => Ok(()),
            _ => Err(abandoned()),
        }
    }
}

fn abandoned() -> Error {
    Error::new("writing was stopped before the last row")
}
