//! One style, ready to paint.

mod card;
mod extended;
mod strips;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use impasto_common::device::DeviceChoice;
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::styles::{BundledStyle, bundled_names};
use impasto_common::{Error, Result};
use impasto_engine::{AnyEngine, PaintPrecision, Rows, Statistics, default_memory};
use impasto_picture::Picture;
use rayon::prelude::*;

pub(crate) use self::card::Painting;
use self::extended::Extended;
use crate::blend;

/// How a picture is painted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StylizeOptions {
    /// From 0, the photo, to 1, the painting; between them the pixels are mixed. Default: 1.
    pub strength: f32,
    /// Whether the painting keeps the photo's colours and gives it only its lights and darks. Default: no.
    pub keep_colors: bool,
    /// The picture is made smaller first if its longer side has more pixels than this. Default: no limit.
    ///
    /// Style networks know their strokes in pixels: a smaller picture gets broader ones.
    pub max_size: Option<u32>,
    /// Bytes that painting may use, besides the picture itself. Default: half of what the machine has free.
    ///
    /// It changes the time that painting takes, not the painting.
    pub memory: Option<u64>,
}

impl Default for StylizeOptions {
    fn default() -> Self {
        Self { strength: 1.0, keep_colors: false, max_size: None, memory: None }
    }
}

impl StylizeOptions {
    fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(Error::usage(format!("a strength of {} is not between 0 and 1", self.strength)));
        }
        if self.max_size == Some(0) {
            return Err(Error::usage("a picture cannot be made to fit within 0 pixels"));
        }
        Ok(())
    }

    fn memory(&self) -> u64 {
        self.memory.unwrap_or_else(default_memory)
    }
}

/// The margin of [`Stylizer::margin`]: one step of a network that subsamples by four, so that it paints the same strokes.
const MARGIN: usize = 4;

/// A style that paints pictures.
#[derive(Debug, Clone)]
pub struct Stylizer {
    card: ModelCard,
    engine: Arc<AnyEngine>,
    options: StylizeOptions,
}

impl Stylizer {
    /// Loads a style-model file (see [`StyleModel::open`]).
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds no network that we know.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(&StyleModel::open(path.as_ref())?)
    }

    /// Loads the bundled style of this name.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn bundled(name: &str) -> Result<Self> {
        let style = BundledStyle::named(name).ok_or_else(|| unknown_style(name))?;
        Self::new(&style.model()?)
    }

    /// Packs the weights of a loaded model for this machine's processor, with the default options.
    ///
    /// # Errors
    ///
    /// If the weights do not fit the network.
    pub fn new(model: &StyleModel) -> Result<Self> {
        Self::with_precision(model, PaintPrecision::default())
    }

    /// The same, to compute in another precision.
    ///
    /// # Errors
    ///
    /// If the weights do not fit the network, or the processor lacks the precision.
    pub fn with_precision(model: &StyleModel, precision: PaintPrecision) -> Result<Self> {
        Self::on(model, DeviceChoice::Cpu, Some(precision))
    }

    /// The same, to paint where `device` says: see [`AnyEngine::new`]. Without a precision that device's own is taken.
    ///
    /// # Errors
    ///
    /// As [`Self::with_precision`], or if a device that was asked for by name cannot be had.
    pub fn on(model: &StyleModel, device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<Self> {
        let engine = AnyEngine::new(&model.card.network.network(), &model.tensors, device, precision)?;
        Ok(Self { card: model.card.clone(), engine: Arc::new(engine), options: StylizeOptions::default() })
    }

    /// Paints with other options.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn with_options(self, options: StylizeOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, ..self })
    }

    /// What paints: a card, or the processor.
    #[must_use]
    pub fn engine(&self) -> &AnyEngine {
        &self.engine
    }

    /// What the user should know, and was not told yet: why the processor paints where a card could be expected to.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        self.engine.take_notes()
    }

    /// What the style's file says of itself.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The width and height of the painting of a picture.
    #[must_use]
    pub fn size_of_painting(&self, picture: &Picture) -> (u32, u32) {
        match self.options.max_size {
            Some(long_side) if picture.width().max(picture.height()) > long_side => {
                let smaller = picture.clone().fit_within(long_side);
                (smaller.width(), smaller.height())
            }
            _ => (picture.width(), picture.height()),
        }
    }

    /// Paints a picture of any size. The painting has the picture's size (after `max_size`), depth, alpha and profile.
    ///
    /// # Errors
    ///
    /// If the memory that the options allow does not suffice, or there is no room for temporary files that take its place.
    pub fn stylize(&self, picture: &Picture) -> Result<Picture> {
        self.stylize_owned(picture.clone())
    }

    /// As [`Self::stylize`], in the memory of the picture itself.
    ///
    /// # Errors
    ///
    /// As [`Self::stylize`].
    pub fn stylize_owned(&self, picture: Picture) -> Result<Picture> {
        self.stylize_frame(picture, &mut Statistics::own())
    }

    /// The picture in the size that it is painted in.
    pub(crate) fn fit(&self, picture: Picture) -> Picture {
        match self.options.max_size {
            Some(long_side) => picture.fit_within(long_side),
            None => picture,
        }
    }

    /// As [`Self::stylize_owned`], with the normalisations of one of many frames.
    pub(crate) fn stylize_frame(&self, picture: Picture, statistics: &mut Statistics) -> Result<Picture> {
        let painting = self.begin(picture, statistics)?;
        self.land(painting, statistics)
    }

    /// Paints a picture that has the size it is painted in, row by row.
    fn paint_here(&self, picture: Picture, statistics: &mut Statistics) -> Result<Picture> {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        // The painting replaces the photo from the top down when the engine has read it for the last time.
        let shared = RefCell::new(picture);
        let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            shared.borrow().read_rows(first, rows);
            Ok(())
        };
        self.run((height, width), statistics, read, |first, band| {
            self.paint_over(&mut shared.borrow_mut(), first, band);
            Ok(())
        })?;
        Ok(shared.into_inner())
    }

    /// Gives back the memory that is kept for the next picture, as after one that was much larger than those to come.
    pub fn release(&self) {
        self.engine.release();
    }

    /// The memory that the options allow for painting, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.options.memory()
    }

    /// Replaces rows of `picture` from `first` on by a band of the painting, `(rows, 3, width)`, blended as the options ask.
    fn paint_over(&self, picture: &mut Picture, first: usize, band: &mut [f32]) {
        let width = picture.width() as usize;
        if self.options.strength < 1.0 || self.options.keep_colors {
            let mut photo = vec![0.0; band.len()];
            picture.read_rows(first, &mut lines(&mut photo, width));
            self.blend(band, &photo, width);
        }
        picture.write_rows(first, band);
    }

    /// Runs the network on the planes of a picture, `(3, height, width)`, RGB in `[0, 255]`, of any size from 1x1.
    ///
    /// The result has the same shape, not clamped. Strength and colours play no part. Pictures too small for the network,
    /// and all by a few pixels if the style was trained here, are extended by their edge pixels, and the painting cropped.
    ///
    /// # Errors
    ///
    /// If there are more or fewer numbers than `(height, width)` asks for, or as [`Self::stylize`].
    pub fn stylize_planes(&self, photo: &[f32], (height, width): (usize, usize)) -> Result<Vec<f32>> {
        let plane = height * width;
        if plane == 0 || photo.len() != 3 * plane {
            let numbers = photo.len();
            return Err(Error::new(format!("{numbers} numbers are not an RGB picture of {width}x{height} pixels")));
        }
        let mut painting = vec![0.0; photo.len()];
        let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            for (i, row) in rows.iter_mut().enumerate() {
                for (channel, line) in row.iter_mut().enumerate() {
                    line.copy_from_slice(&photo[channel * plane + (first + i) * width..][..width]);
                }
            }
            Ok(())
        };
        self.run((height, width), &mut Statistics::own(), read, |first, band| {
            for (i, line) in band.chunks_exact(width).enumerate() {
                painting[i % 3 * plane + (first + i / 3) * width..][..width].copy_from_slice(line);
            }
            Ok(())
        })?;
        Ok(painting)
    }

    /// Paints what `read` reads into `write`, both of which know no more than `size` has.
    fn run(
        &self,
        size: (usize, usize),
        statistics: &mut Statistics,
        read: impl Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>,
        mut write: impl FnMut(usize, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let margin = self.margin();
        let mut photo = Extended::new(size, margin, read);
        let photo_size = photo.size();
        let mut cropped = Vec::new();
        self.engine.paint_steadily(&mut photo, self.options.memory(), statistics, &mut |first, band| {
            if photo_size == size {
                return write(first, band);
            }
            let rows = first..first + band.len() / 3 / photo_size.1;
            let kept = rows.start.max(margin)..rows.end.min(margin + size.0);
            if kept.is_empty() {
                return Ok(());
            }
            cropped.clear();
            let lines = band.chunks_exact(photo_size.1).skip(3 * (kept.start - rows.start)).take(3 * kept.len());
            lines.for_each(|line| cropped.extend_from_slice(&line[margin..][..size.1]));
            write(kept.start - margin, &mut cropped)
        })
    }

    /// Pixels that a photo has more on every side while it is painted, and its painting has not.
    ///
    /// A network paints the last pixels along its borders in its own way: a loss network that pads with zeros rewards a rim
    /// there. Those trained here get a margin for it; others are painted as the programs paint that they come from.
    fn margin(&self) -> usize {
        if self.card.training.is_some() { MARGIN } else { 0 }
    }

    /// Mixes a band of the painting, `(rows, 3, width)`, with the photo's.
    fn blend(&self, painting: &mut [f32], photo: &[f32], width: usize) {
        let StylizeOptions { strength, keep_colors, .. } = self.options;
        painting.par_chunks_exact_mut(3 * width).zip(photo.par_chunks_exact(3 * width)).for_each(
            |(painting, photo)| {
                if keep_colors {
                    blend::keep_colors(painting, photo);
                }
                if strength < 1.0 {
                    blend::mix(painting, photo, strength);
                }
            },
        );
    }
}

/// The lines of red, green and blue of every row of a band `(rows, 3, width)`.
fn lines(band: &mut [f32], width: usize) -> Vec<[&mut [f32]; 3]> {
    let rows = band.chunks_exact_mut(3 * width).map(|row| {
        let (red, rest) = row.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        [red, green, blue]
    });
    rows.collect()
}

pub(crate) fn unknown_style(name: &str) -> Error {
    Error::usage(format!("there is neither a bundled style nor a file named `{name}`"))
        .with_hint(format!("bundled styles: {}", bundled_names()))
}

#[cfg(test)]
mod tests {
    use impasto_common::network::StyleNetConfig;
    use impasto_common::weights::{Array, Tensors};

    use super::*;

    /// A network that learned nothing: every weight is a small constant. Enough to see what is done around it.
    pub(super) fn stylizer() -> Stylizer {
        let config = StyleNetConfig { channels: 2, blocks: 0 };
        let constant = |(name, shape): (String, Vec<usize>)| {
            let value = if name.contains("conv") { 0.02f32 } else { 1.0 };
            let values = vec![value; shape.iter().product()];
            (name, Array::new(shape, values).unwrap())
        };
        let tensors: Tensors = config.network().tensors().into_iter().map(constant).collect();
        let card = ModelCard::new("constant", config);
        Stylizer::new(&StyleModel { card, tensors }).unwrap()
    }

    /// The same, as if it had been trained here.
    pub(super) fn trained() -> Stylizer {
        let mut stylizer = stylizer();
        stylizer.card.training = Some(serde_json::Value::default());
        stylizer
    }

    /// A picture in planes.
    #[derive(Debug, Clone, PartialEq)]
    struct Planes {
        size: (usize, usize),
        levels: Vec<f32>,
    }

    impl Planes {
        /// A picture of `size` whose pixels are those of `place` in this one.
        fn gather(&self, size: (usize, usize), place: impl Fn(usize, usize) -> (usize, usize)) -> Self {
            let (height, width) = size;
            let mut levels = Vec::new();
            for plane in self.levels.chunks_exact(self.size.0 * self.size.1) {
                levels.extend((0..height * width).map(|i| {
                    let (y, x) = place(i / width, i % width);
                    plane[y * self.size.1 + x]
                }));
            }
            Self { size, levels }
        }

        fn painted(&self, stylizer: &Stylizer) -> Self {
            Self { size: self.size, levels: stylizer.stylize_planes(&self.levels, self.size).unwrap() }
        }
    }

    fn ramp(size: (usize, usize)) -> Planes {
        Planes { size, levels: (0..3 * size.0 * size.1).map(|i| (i * 29 % 256) as f32).collect() }
    }

    #[test]
    fn a_picture_too_small_for_the_network_is_extended_by_its_edge_and_cropped() {
        let (small, stylizer) = (ramp((2, 7)), stylizer());
        let extended = small.gather((5, 7), |y, x| (y.min(1), x)).painted(&stylizer);
        assert_eq!(small.painted(&stylizer), extended.gather((2, 7), |y, x| (y, x)));
    }

    #[test]
    fn a_style_trained_here_is_painted_with_a_margin_that_is_cut_away() {
        let photo = ramp((10, 13));
        let inside = |i: usize, size: usize| i.saturating_sub(MARGIN).min(size - 1);
        let extended = photo.gather((10 + 2 * MARGIN, 13 + 2 * MARGIN), |y, x| (inside(y, 10), inside(x, 13)));
        let expected = extended.painted(&stylizer()).gather((10, 13), |y, x| (y + MARGIN, x + MARGIN));
        assert_eq!(photo.painted(&trained()), expected);
        assert_ne!(photo.painted(&trained()), photo.painted(&stylizer()));
    }

    #[test]
    fn numbers_that_are_no_picture_of_that_size_are_refused() {
        assert!(stylizer().stylize_planes(&[0.0; 11], (2, 2)).is_err());
        assert!(stylizer().stylize_planes(&[], (0, 2)).is_err());
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for strength in [-0.1, 1.1, f32::NAN] {
            let options = StylizeOptions { strength, ..StylizeOptions::default() };
            assert_eq!(stylizer().with_options(options).unwrap_err().exit_code(), 2);
        }
        let options = StylizeOptions { max_size: Some(0), ..StylizeOptions::default() };
        assert!(stylizer().with_options(options).is_err());
    }

    #[test]
    fn a_bundled_style_of_an_unknown_name_is_a_usage_error() {
        let error = Stylizer::bundled("no such style").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.hint().unwrap().starts_with("bundled styles: "));
    }
}
