//! One style, ready to paint: the library's main type.

mod builder;
mod gpu;
mod margin;
mod options;
mod painted;
mod planes;
mod rows;
mod strips;
mod surroundings;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::styles::{BundledStyle, bundled_names};
use impasto_common::{Error, Result};
use impasto_engine::{AnyEngine, Statistics};
use impasto_picture::Picture;

pub use self::builder::StylizerBuilder;
pub(crate) use self::gpu::BegunPainting;
pub use self::margin::PaintMargin;
pub use self::options::StylizeOptions;
pub use self::painted::{Painted, PaintedFile, PaintedPlanes};

/// A style that paints pictures.
///
/// Clones share the weights: see [`Self::with_options`].
#[derive(Debug, Clone)]
pub struct Stylizer {
    card: ModelCard,
    engine: Arc<AnyEngine>,
    options: StylizeOptions,
}

impl Stylizer {
    /// Paints with the style-model file at `path` (see [`StyleModel::open`]), and [`Self::builder`]'s defaults.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds no known network.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(&StyleModel::open(path.as_ref())?)
    }

    /// Paints with the bundled style of this name, and [`Self::builder`]'s defaults.
    ///
    /// # Errors
    ///
    /// If there is no style of this name.
    pub fn bundled(name: &str) -> Result<Self> {
        let style = BundledStyle::named(name).ok_or_else(|| unknown_style(name))?;
        Self::new(&style.model()?)
    }

    /// Paints with a loaded model, and [`Self::builder`]'s defaults.
    ///
    /// # Errors
    ///
    /// As [`StylizerBuilder::build`].
    pub fn new(model: &StyleModel) -> Result<Self> {
        Self::builder().build(model)
    }

    /// Chooses the device, the precision and the options. Default: on the CPU, in f32.
    #[must_use]
    pub fn builder() -> StylizerBuilder {
        StylizerBuilder::default()
    }

    /// The same style with other options. The weights are not copied.
    ///
    /// # Errors
    ///
    /// If an option is out of its range, or the margin does not fit the network.
    pub fn with_options(self, options: StylizeOptions) -> Result<Self> {
        options.validate(self.engine.network())?;
        Ok(Self { options, ..self })
    }

    /// The engine that paints: on a GPU, or on the CPU.
    #[must_use]
    pub fn engine(&self) -> &AnyEngine {
        &self.engine
    }

    /// The metadata of the style's file.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// How pictures are painted.
    #[must_use]
    pub fn options(&self) -> &StylizeOptions {
        &self.options
    }

    /// The width and height of the painting of a picture that has this width and height.
    #[must_use]
    pub fn size_of_painting(&self, (width, height): (u32, u32)) -> (u32, u32) {
        self.options.fitted_size((width, height))
    }

    /// The width and height that the network paints for a picture of this width and height: its painting and the margin.
    pub(crate) fn painted_size(&self, size: (u32, u32)) -> (u64, u64) {
        let ((width, height), margin) = (self.size_of_painting(size), self.margin() as u64);
        (u64::from(width) + 2 * margin, u64::from(height) + 2 * margin)
    }

    /// Paints a picture of any size. The painting has the picture's size (after `max_size`), depth, alpha and profile.
    ///
    /// # Errors
    ///
    /// If the memory that the options allow is not enough, or there is no room for the temporary files used instead.
    pub fn stylize(&self, picture: &Picture) -> Result<Painted> {
        self.stylize_owned(picture.clone())
    }

    /// Like [`Self::stylize`], but overwrites the picture's own memory.
    ///
    /// # Errors
    ///
    /// As [`Self::stylize`].
    pub fn stylize_owned(&self, picture: Picture) -> Result<Painted> {
        self.stylize_frame(picture, &mut Statistics::own())
    }

    /// Like [`Self::stylize_owned`], with the statistics of a sequence of frames.
    pub(crate) fn stylize_frame(&self, picture: Picture, statistics: &mut Statistics) -> Result<Painted> {
        let painting = self.begin(picture, statistics)?;
        self.finish(painting, statistics)
    }

    /// The picture, scaled to the size in which it is painted.
    pub(crate) fn fit(&self, picture: Picture) -> Picture {
        match self.options.max_size {
            Some(long_side) => picture.fit_within(long_side),
            None => picture,
        }
    }

    /// The memory that the options allow for painting, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.options.memory()
    }

    /// Frees the memory that is kept for the next picture. Useful after a picture much larger than those to come.
    pub fn release(&self) {
        self.engine.release();
    }
}

pub(crate) fn unknown_style(name: &str) -> Error {
    Error::usage(format!("there is neither a bundled style nor a file named `{name}`"))
        .with_hint(format!("bundled styles: {}", bundled_names()))
}
