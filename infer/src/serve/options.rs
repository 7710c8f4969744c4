//! The options of a request, from its query or from a camera's message.

use std::sync::Arc;

use axum::extract::Query;
use axum::http::Uri;
use impasto_picture::{DEFAULT_QUALITY, PictureFormat};

use super::gallery::{Gallery, Style};
use super::problem::{Problem, shortened};
use crate::StylizeOptions;

/// The names of all options.
const NAMES: [&str; 7] = ["style", "strength", "keep_colors", "max_size", "margin", "format", "quality"];

/// The options for painting a picture.
#[derive(Clone)]
pub(super) struct RequestOptions {
    pub(super) style: Arc<Style>,
    pub(super) painting: StylizeOptions,
    /// The output format. `None` keeps the picture's own.
    pub(super) format: Option<PictureFormat>,
    pub(super) quality: u8,
}

impl RequestOptions {
    /// The defaults: the first style, and the library's options.
    pub(super) fn new(gallery: &Gallery, memory: u64) -> Self {
        let painting = StylizeOptions { memory: Some(memory), ..StylizeOptions::default() };
        Self { style: gallery.first(), painting, format: None, quality: DEFAULT_QUALITY }
    }

    /// Reads the query of `uri`.
    pub(super) fn read(mut self, gallery: &Gallery, uri: &Uri) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::option(format!("the query cannot be read: {error}")))?;
        for (i, (name, value)) in query.iter().enumerate() {
            if query[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::option(format!("`{name}` is given twice")));
            }
            self.set(gallery, name, value)?;
        }
        Ok(self)
    }

    /// Sets one option.
    pub(super) fn set(&mut self, gallery: &Gallery, name: &str, value: &str) -> Result<(), Problem> {
        let bad = |expected: &str| Problem::option(format!("`{name}` is `{}`, expected {expected}", shortened(value)));
        match name {
            "style" => self.style = gallery.find(value)?,
            "strength" => {
                let strength = value.parse().ok().filter(|strength| (0.0..=1.0).contains(strength));
                self.painting.strength = strength.ok_or_else(|| bad("a number from 0 to 1"))?;
            }
            "keep_colors" => {
                self.painting.keep_colors = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(bad("`true` or `false`")),
                }
            }
            "max_size" => {
                let pixels = value.parse().ok().filter(|pixels| *pixels > 0);
                self.painting.max_size = Some(pixels.ok_or_else(|| bad("a number of pixels above 0"))?);
            }
            "margin" => {
                let expected = "`auto` or a multiple of 4 up to 256 pixels";
                self.painting.margin = value.parse().map_err(|_| bad(expected))?;
            }
            "format" => self.format = Some(value.parse().map_err(|_| bad("jpg, png, webp, tiff, bmp or gif"))?),
            "quality" => {
                let quality = value.parse().ok().filter(|quality| (1..=100).contains(quality));
                self.quality = quality.ok_or_else(|| bad("a number from 1 to 100"))?;
            }
            _ => {
                let name = shortened(name);
                return Err(Problem::option(format!("there is no option `{name}`"))
                    .with_hint(format!("the options are {}", NAMES.join(", "))));
            }
        }
        Ok(())
    }

    /// The style with these options.
    pub(super) fn stylizer(&self) -> Result<crate::Stylizer, Problem> {
        let stylizer = self.style.stylizer.clone().with_options(self.painting);
        stylizer.map_err(|error| Problem::option(error.to_string()))
    }
}
