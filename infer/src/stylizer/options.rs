//! How a picture is painted, and how large its painting is.

use impasto_common::network::Network;
use impasto_common::{Error, Result};
use impasto_engine::default_memory;

use super::PaintMargin;

/// How a picture is painted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StylizeOptions {
    /// From 0, the photo, to 1, the painting; values between them mix the pixels of both. Default: 1.
    pub strength: f32,
    /// Whether the painting keeps the photo's colours and changes only its luma. Default: no.
    pub keep_colors: bool,
    /// A picture whose longer side has more pixels than this is made smaller first. Default: no limit.
    ///
    /// A style network paints strokes of a fixed size in pixels, so a smaller picture gets broader strokes.
    pub max_size: Option<u32>,
    /// The mirrored surroundings with which a photo is painted. Default: [`PaintMargin::OfStyle`].
    pub margin: PaintMargin,
    /// Bytes that painting may use, besides the picture itself. Default: half of what is free and allowed to the process.
    ///
    /// It affects the time that painting takes. The result changes only by rounding, by one level here and there.
    pub memory: Option<u64>,
}

impl Default for StylizeOptions {
    fn default() -> Self {
        Self { strength: 1.0, keep_colors: false, max_size: None, margin: PaintMargin::default(), memory: None }
    }
}

impl StylizeOptions {
    /// # Errors
    ///
    /// If an option is out of its range, or does not fit `network`.
    pub(super) fn validate(&self, network: &Network) -> Result<()> {
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(Error::usage(format!("the strength must be from 0 to 1, not {}", self.strength)));
        }
        if self.max_size == Some(0) {
            return Err(Error::usage("the maximum size must be at least 1 pixel"));
        }
        self.margin.validate(network)
    }

    pub(super) fn memory(&self) -> u64 {
        self.memory.unwrap_or_else(default_memory)
    }

    /// The width and height of a picture of this width and height once it fits within `max_size`.
    ///
    /// The arithmetic is that of the image crate, which [`Picture::fit_within`](impasto_picture::Picture::fit_within) uses.
    pub(super) fn fitted_size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let Some(long_side) = self.max_size.filter(|&long_side| width.max(height) > long_side) else {
            return (width, height);
        };
        let [across, down] = [width, height].map(|side| f64::from(long_side) / f64::from(side));
        let [width, height] = [width, height].map(|side| ((f64::from(side) * across.min(down)).round() as u32).max(1));
        (width, height)
    }
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;
    use image::imageops::FilterType;
    use impasto_picture::Picture;

    use super::*;

    fn within(long_side: u32) -> StylizeOptions {
        StylizeOptions { max_size: Some(long_side), ..StylizeOptions::default() }
    }

    #[test]
    fn the_fitted_size_is_that_of_the_image_crate() {
        let odd = [1, 2, 3, 5, 7, 16, 31, 50, 97, 128, 333, 640, 1023, 1999];
        for (width, height) in odd.into_iter().flat_map(|width| odd.map(|height| (width, height))) {
            let picture = DynamicImage::new_luma8(width, height);
            for long_side in [1, 2, 3, 10, 45, 99, 100, 127, 256, 511, 1000, 1998] {
                let expected = if width.max(height) > long_side {
                    let resized = picture.resize(long_side, long_side, FilterType::Nearest);
                    (resized.width(), resized.height())
                } else {
                    (width, height)
                };
                let found = within(long_side).fitted_size((width, height));
                assert_eq!(found, expected, "{width}x{height} within {long_side}");
            }
        }
    }

    #[test]
    fn the_fitted_size_is_that_of_a_picture_made_to_fit() {
        for (width, height) in [(61, 143), (143, 61), (200, 1), (1, 200), (90, 90), (3, 4)] {
            for long_side in [1, 7, 60, 89, 142, 300] {
                let picture = Picture::from(image::RgbImage::new(width, height)).fit_within(long_side);
                let found = within(long_side).fitted_size((width, height));
                assert_eq!(found, (picture.width(), picture.height()), "{width}x{height} within {long_side}");
            }
        }
        assert_eq!(StylizeOptions::default().fitted_size((9000, 1)), (9000, 1));
    }
}
