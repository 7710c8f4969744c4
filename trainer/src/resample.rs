//! Resizes 8-bit pictures.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use impasto_common::{Result, ResultExt};

/// A rectangle in a picture, in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// Distance of its left edge from the picture's left edge.
    pub left: u32,
    /// Distance of its top edge from the picture's top edge.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// Shrinks `picture` to a short side of `short_side` pixels; a smaller picture is returned unchanged.
///
/// # Errors
///
/// If the picture is empty.
pub fn shrink_to_short_side(picture: RgbImage, short_side: usize) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let scale = short_side as f64 / f64::from(width.min(height));
    if scale >= 1.0 {
        return Ok(picture);
    }
    // At least one pixel: the longer side cannot be rounded to less than the shorter one.
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(short_side as u32);
    let whole = Rectangle { left: 0, top: 0, width, height };
    resize(&picture, whole, scaled(width), scaled(height))
}

/// Resamples the part of `picture` inside `rectangle` to `width` by `height` pixels (Lanczos, antialiased).
///
/// # Errors
///
/// If the rectangle is empty or reaches beyond the picture.
pub fn resize(picture: &RgbImage, rectangle: Rectangle, width: u32, height: u32) -> Result<RgbImage> {
    let action = || format!("cannot resize a picture to {width}x{height}");
    let source = ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3).context(action)?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let [left, top] = [rectangle.left, rectangle.top].map(f64::from);
    let [inner_width, inner_height] = [rectangle.width, rectangle.height].map(f64::from);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)).crop(
        left,
        top,
        inner_width,
        inner_height,
    );
    Resizer::new().resize(&source, &mut target, &options).context(action)?;
    let resized = RgbImage::from_raw(width, height, target.into_vec());
    resized.ok_or_else(|| impasto_common::Error::new(action()))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn proportions_are_kept_and_small_pictures_left_alone() {
        let picture = RgbImage::from_pixel(300, 150, Rgb([9, 8, 7]));
        let smaller = shrink_to_short_side(picture.clone(), 50).unwrap();
        assert_eq!((smaller.dimensions(), smaller.get_pixel(99, 49)), ((100, 50), &Rgb([9, 8, 7])));
        assert_eq!(shrink_to_short_side(picture.clone(), 200).unwrap(), picture);
    }

    #[test]
    fn a_rectangle_is_cut_out() {
        let picture = RgbImage::from_fn(8, 8, |x, _| if x < 4 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let right = resize(&picture, Rectangle { left: 4, top: 1, width: 4, height: 4 }, 4, 4).unwrap();
        assert!(right.pixels().all(|pixel| *pixel == Rgb([0, 0, 255])));
        assert!(resize(&picture, Rectangle { left: 5, top: 0, width: 4, height: 4 }, 2, 2).is_err());
    }
}
