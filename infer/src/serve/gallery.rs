//! The styles that the server paints in, with a picture of each.

use std::sync::Arc;

use axum::body::Bytes;
use impasto_common::network::Preset;
use impasto_common::{Error, Result};
use impasto_picture::{EncodeOptions, Picture, PictureFormat};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::sync::OnceCell;

use super::painters::{Lane, Painters, Refused};
use super::problem::Problem;
use crate::{StylizeOptions, Stylizer};

/// The photo in every style's thumbnail.
pub(super) const SAMPLE: &[u8] = include_bytes!("../../../assets/photo.jpg");

/// The longer side of a thumbnail, pixels: enough to show strokes on a screen of high resolution.
const THUMBNAIL_SIDE: u32 = 320;
const THUMBNAIL_QUALITY: u8 = 85;

/// The characters to percent-encode in a path segment: all except the unreserved characters (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A style under its name.
pub(super) struct Style {
    pub(super) name: String,
    pub(super) stylizer: Stylizer,
    thumbnail: OnceCell<Bytes>,
}

/// A style's description for clients. The command and the configuration of its training are left out, because they contain
/// paths.
#[derive(Debug, Serialize)]
pub(super) struct StyleListing<'a> {
    name: &'a str,
    source: Option<&'a str>,
    licence: Option<&'a str>,
    preset: Option<Preset>,
    channels: usize,
    blocks: usize,
    steps: usize,
    thumbnail: String,
}

impl Style {
    pub(super) fn listing(&self) -> StyleListing<'_> {
        let card = self.stylizer.card();
        StyleListing {
            name: &self.name,
            source: card.source.as_deref(),
            licence: card.licence.as_deref(),
            preset: card.network.preset(),
            channels: card.network.channels,
            blocks: card.network.blocks,
            steps: card.steps,
            thumbnail: format!("/v1/styles/{}/thumbnail", utf8_percent_encode(&self.name, RESERVED)),
        }
    }

    /// The sample photo in this style, as JPEG. It is painted once; `tell` then receives the notices of the painting.
    pub(super) async fn thumbnail(&self, painters: &Painters, tell: impl Fn(Vec<String>)) -> Result<Bytes, Refused> {
        let paint = || async {
            let stylizer = self.stylizer.clone();
            let painted = painters.run(Lane::Picture, move |_| paint_sample(&stylizer)).await?;
            let (jpeg, notes) = painted.map_err(|_| Refused::Panicked)?;
            tell(notes);
            Ok(Bytes::from(jpeg))
        };
        self.thumbnail.get_or_try_init(paint).await.cloned()
    }
}

/// A JPEG file, and the notices of the painting.
fn paint_sample(stylizer: &Stylizer) -> Result<(Vec<u8>, Vec<String>)> {
    let painted = stylizer.stylize_owned(Picture::decode(SAMPLE)?.fit_within(THUMBNAIL_SIDE))?;
    let options = EncodeOptions { format: PictureFormat::Jpeg, quality: THUMBNAIL_QUALITY };
    Ok((painted.picture.encode(options)?, painted.notes))
}

/// All styles; there is at least one.
pub(super) struct Gallery {
    first: Arc<Style>,
    styles: Vec<Arc<Style>>,
}

impl Gallery {
    pub(super) fn new(stylizers: Vec<Stylizer>, memory: u64) -> Result<Self> {
        let mut styles: Vec<Arc<Style>> = Vec::new();
        for stylizer in stylizers {
            let name = stylizer.card().name.clone();
            if styles.iter().any(|style| style.name == name) {
                return Err(Error::usage(format!("two styles are named `{name}`")).with_hint(
                    "a style's name is the name on its card, or else its file name: serve only one of them",
                ));
            }
            let options = StylizeOptions { memory: Some(memory), ..StylizeOptions::default() };
            let stylizer = stylizer.with_options(options)?;
            styles.push(Arc::new(Style { name, stylizer, thumbnail: OnceCell::new() }));
        }
        let first = styles.first().cloned().ok_or_else(|| Error::usage("there is no style to serve"))?;
        Ok(Self { first, styles })
    }

    pub(super) fn first(&self) -> Arc<Style> {
        Arc::clone(&self.first)
    }

    pub(super) fn styles(&self) -> &[Arc<Style>] {
        &self.styles
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Style>, Problem> {
        self.styles.iter().find(|style| style.name == name).cloned().ok_or_else(|| {
            let names: Vec<_> = self.styles.iter().map(|style| format!("`{}`", style.name)).collect();
            Problem::no_such_style(name, &names.join(", "))
        })
    }

    /// Paints all thumbnails in advance. A thumbnail that is requested meanwhile is painted at once.
    pub(super) async fn paint_thumbnails(&self, painters: &Painters, tell: impl Fn(Vec<String>)) {
        for style in self.styles() {
            // A busy queue is not an error: the thumbnail is painted when it is requested.
            let _ = style.thumbnail(painters, &tell).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_segment_of_a_path() {
        let encoded = |name| utf8_percent_encode(name, RESERVED).to_string();
        assert_eq!(encoded("starry_night-2.x~"), "starry_night-2.x~");
        assert_eq!(encoded("a/b ü?"), "a%2Fb%20%C3%BC%3F");
    }
}
