//! Encodes JPEG row by row, both for pictures in memory and for strips, so that the same rows give the same bytes.

use std::io::Write;

use impasto_error::{Result, ResultExt};
use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr};

/// Receives the samples of a row: red, green and blue of each pixel.
pub(super) type TakeRow<'a> = dyn FnMut(&[u8]) + 'a;

/// Writes a JPEG of `width` times `height` pixels, both at most 65535. `row` returns a row by its number. It is called for
/// the rows in order, and several times for the last one.
///
/// Chroma is stored at full resolution, because strokes of saturated colours would bleed otherwise.
///
/// # Errors
///
/// If the writer fails.
pub(super) fn encode(
    writer: impl Write,
    (width, height): (u32, u32),
    quality: u8,
    icc: Option<&[u8]>,
    row: impl Fn(u32, &mut TakeRow),
) -> Result<()> {
    let action = || "cannot encode as JPEG";
    let mut encoder = Encoder::new(writer, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    if let Some(profile) = icc {
        encoder.add_icc_profile(profile).context(action)?;
    }
    encoder.encode_image(RgbRows { width: width as u16, height: height as u16, row }).context(action)
}

/// Rows of RGB on demand, for the encoder.
struct RgbRows<F> {
    width: u16,
    height: u16,
    row: F,
}

impl<F: Fn(u32, &mut TakeRow)> ImageBuffer for RgbRows<F> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, [luma, blue, red, _]: &mut [Vec<u8>; 4]) {
        (self.row)(y.into(), &mut |row| {
            for &[r, g, b] in row.as_chunks().0 {
                let (y, cb, cr) = rgb_to_ycbcr(r, g, b);
                luma.push(y);
                blue.push(cb);
                red.push(cr);
            }
        });
    }
}
