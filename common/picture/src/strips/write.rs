//! Writes a picture file from the top down.

use std::io::{self, BufWriter, Seek, Write};
use std::panic;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::info::PictureInfo;
use super::queue::StripQueue;
use super::{jpeg, png, tiff};
use crate::encode::check_side;
use crate::{EncodeOptions, Picture, PictureFormat};
use impasto_error::{Error, Result, ResultExt};
use impasto_files::write_atomic;

/// The most strips that wait for the encoder: one, while it works on another.
const WAITING: usize = 1;

/// A picture file that is written in strips from the top down, in a separate thread.
///
/// The file appears under its name only after [`Self::finish`]. A writer that is dropped before that leaves no file.
pub struct StripWriter {
    info: PictureInfo,
    /// Rows that are still missing.
    missing: u32,
    /// `None` once the encoder has ended. `None` sent through it means that the picture is complete.
    strips: Option<SyncSender<Option<Picture>>>,
    encoder: Option<JoinHandle<Result<()>>>,
}

impl StripWriter {
    /// Whether `format` can be written in strips: PNG, TIFF and JPEG can.
    #[must_use]
    pub fn can_write(format: PictureFormat) -> bool {
        matches!(format, PictureFormat::Png | PictureFormat::Tiff | PictureFormat::Jpeg)
    }

    /// Starts a picture file with the size, depth, alpha and profile of `info`.
    ///
    /// What the format cannot store is lost as in [`Picture::encode`]: JPEG has 8 bits and blends transparent pixels with
    /// white. Apart from strips in a TIFF and chunks in a PNG, the file is the one that `encode` would make.
    ///
    /// # Errors
    ///
    /// If the format cannot be written in strips, the picture is too large for it, or the thread cannot be started. If the
    /// file cannot be created, a later [`Self::write`] or [`Self::finish`] returns the error.
    pub fn create(path: impl AsRef<Path>, info: &PictureInfo, options: EncodeOptions) -> Result<Self> {
        let format = options.format;
        if !Self::can_write(format) {
            return Err(Error::new(format!("{format} cannot be written in strips")).with_hint("use PNG, TIFF or JPEG"));
        }
        if info.width == 0 || info.height == 0 {
            return Err(Error::new(format!("the picture has no pixels: {}x{}", info.width, info.height)));
        }
        check_side(format, info.width.max(info.height))?;
        let (strips, receiver) = sync_channel(WAITING);
        let path = path.as_ref().to_owned();
        let stored = PictureInfo {
            bits: if format.has_16_bits() { info.bits } else { 8 },
            has_alpha: info.has_alpha && format.has_alpha(),
            ..info.clone()
        };
        let mut rows = StripQueue::new(receiver, format, &stored);
        let encode = move || {
            write_atomic(&path, |writer| {
                write_format(writer, &stored, options, &mut rows)?;
                rows.confirm()
            })
        };
        let encoder = thread::Builder::new().name("strips".into()).spawn(encode).context(|| "cannot start a thread")?;
        Ok(Self { info: info.clone(), missing: info.height, strips: Some(strips), encoder: Some(encoder) })
    }

    /// Adds a strip of any height below the previous ones; waits while the encoder is busy.
    ///
    /// # Errors
    ///
    /// If the width, depth or alpha of the strip differs from that of the picture, the strip has too many rows, or the file
    /// could not be written. No file is left then, once the writer is dropped.
    pub fn write(&mut self, strip: Picture) -> Result<()> {
        let (own, whole) = (strip.info(), &self.info);
        if (own.width, own.bits, own.has_alpha) != (whole.width, whole.bits, whole.has_alpha) {
            return Err(Error::new(format!(
                "a strip with {} pixels per row and {} bits{} does not match a picture with {} pixels per row and {} bits{}",
                own.width,
                own.bits,
                alpha(&own),
                whole.width,
                whole.bits,
                alpha(whole)
            )));
        }
        self.missing = self.missing.checked_sub(own.height).ok_or_else(|| {
            Error::new(format!("a strip of {} rows is too high: only {} rows are missing", own.height, self.missing))
        })?;
        self.send(Some(strip))
    }

    /// Completes the file and puts it in its place.
    ///
    /// # Errors
    ///
    /// If rows are missing or the file could not be written. No file is left then.
    pub fn finish(mut self) -> Result<()> {
        if self.missing > 0 {
            return Err(Error::new(format!("the last {} rows are missing", self.missing)));
        }
        self.send(None)?;
        self.join()
    }

    fn send(&mut self, message: Option<Picture>) -> Result<()> {
        let sent = self.strips.as_ref().is_some_and(|strips| strips.send(message).is_ok());
        if sent {
            return Ok(());
        }
        self.join()?;
        Err(Error::new("the encoder has already stopped"))
    }

    /// Waits until the encoder ends, and returns its result.
    fn join(&mut self) -> Result<()> {
        self.strips = None;
        match self.encoder.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for StripWriter {
    /// Waits until the encoder has cleaned up.
    fn drop(&mut self) {
        self.strips = None;
        if let Some(encoder) = self.encoder.take() {
            // The caller drops an unfinished writer because of its own error, which is more important.
            let _ = encoder.join();
        }
    }
}

fn alpha(info: &PictureInfo) -> &'static str {
    if info.has_alpha { " and alpha" } else { "" }
}

fn write_format<W: Write + Seek>(
    writer: &mut BufWriter<W>,
    info: &PictureInfo,
    options: EncodeOptions,
    strips: &mut StripQueue,
) -> Result<()> {
    match options.format {
        PictureFormat::Jpeg => jpeg::write(writer, info, options.quality.clamp(1, 100), strips),
        PictureFormat::Tiff if writer.stream_position().is_err() => write_through_file(writer, info, strips),
        PictureFormat::Tiff => tiff::write(writer, info, strips),
        _ => png::write(writer, info, strips),
    }
}

/// Writes a TIFF to a writer that cannot seek, such as a pipe, through an unnamed temporary file.
fn write_through_file(writer: &mut impl Write, info: &PictureInfo, strips: &mut StripQueue) -> Result<()> {
    let folder = std::env::temp_dir();
    let action = || format!("cannot use a temporary file in `{}`", folder.display());
    let mut file = BufWriter::new(tempfile::tempfile().context(action)?);
    tiff::write(&mut file, info, strips)?;
    file.rewind().context(action)?;
    io::copy(file.get_mut(), writer).context(|| "cannot write the picture")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageBuffer, Rgba};
    use tempfile::TempDir;

    use super::*;
    use crate::StripReader;

    const FORMATS: [PictureFormat; 3] = [PictureFormat::Png, PictureFormat::Tiff, PictureFormat::Jpeg];

    fn profile() -> Vec<u8> {
        let mut profile = vec![7; 300];
        profile[16..20].copy_from_slice(b"RGB ");
        profile
    }

    /// A picture of each of the four kinds, one of them with a profile.
    fn pictures(width: u32, height: u32) -> Vec<Picture> {
        let level = |x: u32, y: u32, factor: u32| (x * x * factor + y * 7919 + x * y) as u16;
        let pixel = |x, y| Rgba([level(x, y, 3), level(x, y, 500), level(x, y, 31), level(x, y, 77)]);
        let image = DynamicImage::ImageRgba16(ImageBuffer::from_fn(width, height, pixel));
        let with_profile = Picture { icc: Some(profile()), ..image.to_rgb8().into() };
        vec![
            with_profile,
            DynamicImage::from(image.to_rgba8()).into(),
            DynamicImage::from(image.to_rgb16()).into(),
            image.into(),
        ]
    }

    fn strip_of(picture: &Picture, top: u32, rows: u32) -> Picture {
        picture.as_image().crop_imm(0, top, picture.width(), rows.min(picture.height() - top)).into()
    }

    fn write(path: &Path, picture: &Picture, options: EncodeOptions, rows: u32) -> Result<()> {
        let mut writer = StripWriter::create(path, &picture.info(), options)?;
        for top in (0..picture.height()).step_by(rows as usize) {
            writer.write(strip_of(picture, top, rows))?;
        }
        writer.finish()
    }

    #[test]
    fn a_file_written_in_strips_decodes_as_one_encoded_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("new folder").join("picture");
        for (width, height) in [(1, 1), (9, 1), (1, 10), (37, 23), (700, 801)] {
            for picture in pictures(width, height) {
                for format in FORMATS {
                    let options = EncodeOptions { format, quality: 81 };
                    let whole = picture.encode(options).unwrap();
                    for rows in [4, 1000] {
                        write(&path, &picture, options, rows).unwrap();
                        let bytes = std::fs::read(&path).unwrap();
                        assert!(
                            format != PictureFormat::Jpeg || bytes == whole,
                            "{width}x{height}, {rows} rows a strip"
                        );
                        let (strips, whole) = (Picture::decode(&bytes).unwrap(), Picture::decode(&whole).unwrap());
                        assert!(strips == whole, "{format} of {width}x{height}, {rows} rows a strip");
                    }
                }
            }
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_written_in_strips_is_read_in_strips() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("picture");
        for picture in pictures(37, 23) {
            for format in [PictureFormat::Png, PictureFormat::Tiff] {
                write(&path, &picture, format.into(), 6).unwrap();
                let mut reader = StripReader::open(&path).unwrap().unwrap();
                assert_eq!(reader.info().bits, picture.bits());
                let mut top = 0;
                while let Some(strip) = reader.read(5).unwrap() {
                    assert_eq!(strip.as_image(), strip_of(&picture, top, 5).as_image());
                    top += strip.height();
                }
            }
        }
    }

    #[test]
    fn nothing_appears_before_the_end_and_nothing_is_left_of_an_unfinished_file() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("picture");
        let picture = &pictures(37, 23)[0];
        for format in FORMATS {
            std::fs::write(&path, "old").unwrap();
            for rows in [0, 5, 23] {
                let mut writer = StripWriter::create(&path, &picture.info(), format.into()).unwrap();
                if rows > 0 {
                    writer.write(strip_of(picture, 0, rows)).unwrap();
                }
                if rows == 5 {
                    assert_eq!(writer.finish().unwrap_err().to_string(), "the last 18 rows are missing");
                }
                assert_eq!(std::fs::read(&path).unwrap(), b"old");
            }
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{format}");
        }
    }

    #[test]
    fn a_strip_that_does_not_fit_is_refused() {
        let folder = TempDir::new().unwrap();
        let [rgb, rgba, ..] = &pictures(37, 23)[..] else { panic!("there are four pictures") };
        let mut writer =
            StripWriter::create(folder.path().join("picture"), &rgb.info(), PictureFormat::Png.into()).unwrap();
        let error = writer.write(rgba.clone()).unwrap_err().to_string();
        assert_eq!(
            error,
            "a strip with 37 pixels per row and 8 bits and alpha does not match a picture with 37 pixels per row and 8 bits"
        );
        writer.write(strip_of(rgb, 0, 20)).unwrap();
        let error = writer.write(strip_of(rgb, 0, 4)).unwrap_err().to_string();
        assert_eq!(error, "a strip of 4 rows is too high: only 3 rows are missing");
        writer.write(strip_of(rgb, 20, 3)).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file").join("picture.png");
        for format in FORMATS {
            let error = write(&path, &pictures(37, 23)[0], format.into(), 1).unwrap_err();
            assert!(error.to_string().starts_with(&format!("cannot write `{}`: ", path.display())), "{error}");
        }
    }

    #[test]
    fn a_format_that_cannot_hold_the_picture_is_refused_at_once() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("picture");
        let info = PictureInfo { width: 70_000, height: 1, bits: 8, has_alpha: false, icc: None };
        let error = StripWriter::create(&path, &info, PictureFormat::Jpeg.into()).err().unwrap();
        assert!(error.to_string().contains("at most 65535 pixels wide and high, not 70000"), "{error}");
        let error = StripWriter::create(&path, &info, PictureFormat::Gif.into()).err().unwrap();
        assert_eq!(error.to_string(), "GIF cannot be written in strips");
    }
}
