//! Paints picture files in strips, so that a picture of a billion pixels is never in memory as a whole.

use std::cell::RefCell;
use std::path::Path;

use impasto_common::network::Network;
use impasto_common::{Error, Result};
use impasto_engine::Statistics;
use impasto_picture::{BledColors, EncodeOptions, Picture, PictureFormat, StripReader, StripWriter, VisibleColors};

use super::{PaintedFile, Stylizer};

/// A picture that would take more than 1 / this of the memory is painted in strips.
const WHOLE_SHARE: u64 = 4;

/// Rows that are read at a time while the visible colours are collected.
const ROWS_TO_BLEED: u32 = 16;

impl Stylizer {
    /// Whether [`Self::stylize_file`] is the better way to paint a picture: it can be read in strips, `format` can be
    /// written in strips, and the whole picture would take more than a quarter of the memory that the options allow.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn prefers_strips(&self, photo: &Path, format: PictureFormat) -> Result<bool> {
        if !StripWriter::can_write(format) || self.options.max_size.is_some() {
            return Ok(false);
        }
        let Some(reader) = StripReader::open(photo)? else { return Ok(false) };
        let info = reader.info();
        let samples = u64::from(info.width) * u64::from(info.height) * if info.has_alpha { 4 } else { 3 };
        Ok(samples * u64::from(info.bits) / 8 > self.options.memory() / WHOLE_SHARE)
    }

    /// Paints the picture file `photo` into the file `painting`, strip by strip: neither is ever in memory as a whole.
    ///
    /// The painting is the same as that of [`Self::stylize`]. The file appears under its name once it is complete.
    ///
    /// # Errors
    ///
    /// If the photo cannot be read in strips (see [`StripReader::open`]) or has a side below [`Network::MIN_SIZE`], the
    /// options ask for a smaller picture, a file cannot be read or written, or as [`Self::stylize`].
    pub fn stylize_file(&self, photo: &Path, painting: &Path, options: EncodeOptions) -> Result<PaintedFile> {
        let open = || {
            let reader = StripReader::open(photo)?;
            reader.ok_or_else(|| Error::new(format!("`{}` cannot be read in strips", photo.display())))
        };
        // The network reads the photo several times. A second reader reads the strips into which the painting is blended.
        let (network, mut under) = (RefCell::new(open()?), open()?);
        let size = (under.info().height as usize, under.info().width as usize);
        if size.0.min(size.1) < Network::MIN_SIZE || self.options.max_size.is_some() {
            return Err(Error::usage(
                "a picture can be painted in strips only at its own size, and only if it is not tiny",
            ));
        }
        // As for a whole picture: one that is not painted keeps the colours under its transparent pixels.
        let bled = if self.options.strength == 0.0 { None } else { bleed(&mut under)? };
        let mut writer = StripWriter::create(painting, under.info(), options)?;
        let mut losses = Vec::new();
        let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            let mut reader = network.borrow_mut();
            if first == 0 {
                reader.rewind()?;
            }
            strip(&mut reader, rows.len(), bled.as_ref())?.read_rows(0, rows);
            Ok(())
        };
        let note = self.run(size, &mut Statistics::own(), read, |_, band| {
            let mut strip = strip(&mut under, band.len() / 3 / size.1, bled.as_ref())?;
            self.write_over(&mut strip, 0, band);
            let new =
                strip.losses(options.format).into_iter().filter(|loss| !losses.contains(loss)).collect::<Vec<_>>();
            losses.extend(new);
            writer.write(strip)
        })?;
        writer.finish()?;
        let notes = under.notes().iter().cloned().chain(note).collect();
        Ok(PaintedFile { losses, notes })
    }
}

/// The next `rows` rows of a picture file, with the colours that its hidden pixels get.
fn strip(reader: &mut StripReader, rows: usize, bled: Option<&BledColors>) -> Result<Picture> {
    let first = reader.next_row() as usize;
    let strip = reader.read(rows as u32)?;
    let mut strip = strip.ok_or_else(|| Error::new("the picture has fewer rows than its header says"))?;
    if let Some(bled) = bled {
        bled.fill(first, &mut strip);
    }
    Ok(strip)
}

/// Reads a picture file with an alpha channel once, for the colours that its hidden pixels get.
fn bleed(reader: &mut StripReader) -> Result<Option<BledColors>> {
    if !reader.info().has_alpha {
        return Ok(None);
    }
    let mut visible = VisibleColors::new(reader.info().width, reader.info().height);
    let mut first = 0;
    while let Some(strip) = reader.read(ROWS_TO_BLEED)? {
        visible.add(first, &strip);
        first = reader.next_row() as usize;
    }
    reader.rewind()?;
    Ok(visible.bleed())
}

#[cfg(test)]
mod tests {
    use impasto_picture::Loss;

    use super::super::tests::{stylizer, trained};
    use super::*;
    use crate::{PaintMargin, StylizeOptions};

    #[test]
    fn strips_give_the_painting_of_the_whole_picture() {
        let folder = tempfile::tempdir().unwrap();
        let image = image::RgbaImage::from_fn(61, 143, |x, y| {
            // Fully transparent in places, for whole rows too.
            image::Rgba([(x * 4) as u8, (y * 7 % 256) as u8, (x * y % 251) as u8, (x + y).saturating_sub(90) as u8])
        });
        let photo = Picture::from(image::DynamicImage::from(image));
        let mixed = StylizeOptions { strength: 0.5, keep_colors: true, ..Default::default() };
        let surrounded = StylizeOptions { margin: PaintMargin::Pixels(64), ..mixed };
        let [mixed, surrounded] = [mixed, surrounded].map(|options| stylizer().with_options(options).unwrap());
        for stylizer in [stylizer(), trained(), mixed, surrounded] {
            for name in ["photo.png", "photo.tiff"] {
                let (from, to) = (folder.path().join(name), folder.path().join("painting.png"));
                photo.save(&from).unwrap();
                let painted = stylizer.stylize_file(&from, &to, PictureFormat::Png.into()).unwrap();
                assert_eq!(painted, PaintedFile { losses: Vec::new(), notes: Vec::new() });
                let jpeg = folder.path().join("painting.jpg");
                let painted = stylizer.stylize_file(&from, &jpeg, PictureFormat::Jpeg.into()).unwrap();
                assert_eq!(painted.losses, [Loss::Transparency]);
                let (strips, whole) = (Picture::open(&to).unwrap(), stylizer.stylize(&photo).unwrap().picture);
                assert!(strips.as_image() == whole.as_image(), "{name}");
            }
            let (from, to) = (folder.path().join("photo.jpg"), folder.path().join("painting.png"));
            photo.save(&from).unwrap();
            stylizer.stylize_file(&from, &to, PictureFormat::Png.into()).unwrap();
            let whole = stylizer.stylize(&Picture::open(&from).unwrap()).unwrap().picture;
            assert!(Picture::open(&to).unwrap().as_image() == whole.as_image(), "photo.jpg");
            let error = stylizer.stylize_file(
                &folder.path().join("none.png"),
                &folder.path().join("x.png"),
                PictureFormat::Png.into(),
            );
            assert!(error.is_err() && !folder.path().join("x.png").exists());
        }
        let small = Stylizer { options: StylizeOptions { memory: Some(100_000), ..Default::default() }, ..stylizer() };
        let prefers = |stylizer: &Stylizer, format: PictureFormat| {
            stylizer.prefers_strips(&folder.path().join("photo.png"), format).unwrap()
        };
        assert!(prefers(&small, PictureFormat::Jpeg) && !prefers(&small, PictureFormat::Bmp));
        assert!(!prefers(&stylizer(), PictureFormat::Png));
    }
}
