//! Writes JPEG in strips. The encoder works on eight rows at a time and never goes back.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};

use image::codecs::jpeg::JpegEncoder;
use image::{GenericImageView, ImageEncoder, Rgb};

use super::info::PictureInfo;
use super::queue::StripQueue;
use super::samples::Samples;
use impasto_error::{Error, Result, ResultExt};

/// Rows that the encoder reads several times before it continues (ITU-T T.81, A.1.1).
const BAND: u32 = 8;

/// Writes a JPEG with the encoder of [`crate::Picture::encode`]: the same bytes.
pub(super) fn write(writer: &mut impl Write, info: &PictureInfo, quality: u8, strips: &mut StripQueue) -> Result<()> {
    let failure = Cell::new(None);
    let writer = StoppingWriter { writer, failure: &failure };
    let mut encoder = JpegEncoder::new_with_quality(writer, quality);
    if let Some(profile) = &info.icc {
        // Only formats without profiles refuse one.
        let _ = encoder.set_icc_profile(profile.clone());
    }
    let view = View {
        size: (info.width, info.height),
        band: RefCell::new(Band { first: 0, samples: Vec::new() }),
        strips: RefCell::new(strips),
        failure: &failure,
    };
    let encoded = encoder.encode_image(&view).context(|| "cannot encode as JPEG");
    // The failure of the rows is the cause; the encoder only knows that it was stopped.
    failure.take().map_or(encoded, Err)
}

/// The strips as an image whose pixels are asked for from the top down.
struct View<'a> {
    size: (u32, u32),
    band: RefCell<Band>,
    strips: RefCell<&'a mut StripQueue>,
    /// Why there are no more rows. The image traits have no way to return an error.
    failure: &'a Cell<Option<Error>>,
}

struct Band {
    first: u32,
    samples: Vec<u8>,
}

impl View<'_> {
    fn load(&self, band: &mut Band, first: u32) -> Result<()> {
        let rows = BAND.min(self.size.1 - first);
        let Samples::Eight(samples) = self.strips.borrow_mut().take(rows)? else {
            return Err(Error::new("samples of 16 bits came where 8 were expected"));
        };
        *band = Band { first, samples };
        Ok(())
    }
}

impl GenericImageView for View<'_> {
    type Pixel = Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        self.size
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let mut band = self.band.borrow_mut();
        let first = y / BAND * BAND;
        let there = !band.samples.is_empty() && band.first == first;
        if !there && let Err(error) = self.load(&mut band, first) {
            band.samples.clear();
            // The first failure is the cause of the others.
            let earlier = self.failure.take();
            self.failure.set(Some(earlier.unwrap_or(error)));
        }
        let at = (y - first) as usize * self.size.0 as usize + x as usize;
        band.samples.as_chunks().0.get(at).map_or(Rgb([0; 3]), |&pixel| Rgb(pixel))
    }
}

/// Stops the encoder at its next byte once there are no more rows.
struct StoppingWriter<'a, W> {
    writer: W,
    failure: &'a Cell<Option<Error>>,
}

impl<W: Write> Write for StoppingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failure = self.failure.take();
        let stopped = failure.is_some();
        self.failure.set(failure);
        if stopped { Err(io::Error::other("there are no more rows")) } else { self.writer.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
