//! The size of painted frames and the shape of their pixels.
//!
//! Some clips have pixels that are not square. A player stretches their frames, so the shape of what is shown differs from
//! that of the frames. What is shown keeps its shape here, whatever the new size.

use std::str::FromStr;

use impasto_common::{Error, Result};
use impasto_video::Ratio;

/// No encoder accepts longer sides, and a frame would need gigabytes.
const LONGEST_SIDE: u32 = 16_384;

/// A new size of frames. Strokes have a fixed size in pixels, so smaller frames get relatively broader ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scale {
    /// The width in pixels; in proportion to the height if only that is given.
    pub width: Option<u32>,
    /// The height in pixels; in proportion to the width if only that is given.
    pub height: Option<u32>,
    /// The most pixels of the longer side. Proportions are kept.
    pub longest: Option<u32>,
}

/// The size of frames, and the shape of their pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameShape {
    /// The width and height in pixels.
    pub size: (u32, u32),
    /// The width of a pixel to its height; `None` if it is square.
    pub aspect: Option<Ratio>,
}

impl FrameShape {
    /// The width and height of what is shown, in square pixels: one side is stretched, none is shrunk.
    #[must_use]
    pub fn shown(self) -> (f64, f64) {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        match self.aspect.map_or(1.0, Ratio::value) {
            aspect if aspect > 1.0 => (width * aspect, height),
            aspect => (width, height / aspect),
        }
    }

    /// The same picture in square pixels, for formats that have no others.
    ///
    /// # Errors
    ///
    /// If a side is longer than 16384 pixels.
    pub fn in_square_pixels(self) -> Result<Self> {
        let (width, height) = self.shown();
        checked((width.round() as u32, height.round() as u32), None)
    }

    /// Frames of another size that show the same shape: their pixels are as wide as it takes.
    fn stretched(self, size: (u32, u32)) -> Option<Ratio> {
        let Ratio { numerator, denominator } = self.aspect?;
        let product = |factors: [u32; 3]| factors.into_iter().map(u128::from).product::<u128>();
        let mut width = product([numerator, self.size.0, size.1]);
        let mut height = product([denominator, self.size.1, size.0]);
        let divisor = greatest_common_divisor(width, height);
        (width, height) = (width / divisor, height / divisor);
        while width.max(height) > u128::from(u16::MAX) {
            // Close enough: containers count no finer.
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
        }
        Ratio::new(width as u32, height as u32).filter(|aspect| aspect.numerator != aspect.denominator)
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl Scale {
    /// The new shape of frames. A side computed by proportion is even.
    ///
    /// Frames that are scaled in proportion get square pixels. If both sides are given, frames have exactly that many
    /// pixels; if the clip's are not square, the new ones are as wide as the shown shape takes.
    ///
    /// # Errors
    ///
    /// If a side is longer than 16384 pixels.
    pub fn of(self, clip: FrameShape) -> Result<FrameShape> {
        let (shown_width, shown_height) = clip.shown();
        let (size, aspect) = match (self.width, self.height) {
            (Some(width), Some(height)) => ((width, height), clip.stretched((width, height))),
            (Some(width), None) => ((width, even(f64::from(width) * shown_height / shown_width)), None),
            (None, Some(height)) => ((even(f64::from(height) * shown_width / shown_height), height), None),
            (None, None) => (clip.size, clip.aspect),
        };
        let scaled = FrameShape { size, aspect };
        let (width, height) = scaled.shown();
        match self.longest {
            Some(longest) if width >= height && width > f64::from(longest) => {
                checked((longest, even(f64::from(longest) * height / width)), None)
            }
            Some(longest) if height > f64::from(longest) => {
                checked((even(f64::from(longest) * width / height), longest), None)
            }
            _ => checked(size, aspect),
        }
    }
}

/// The nearest even side.
fn even(side: f64) -> u32 {
    ((side / 2.0).round() as u32).saturating_mul(2).max(2)
}

fn checked(size: (u32, u32), aspect: Option<Ratio>) -> Result<FrameShape> {
    if size.0.max(size.1) > LONGEST_SIDE {
        return Err(Error::usage(format!("frames of {}x{} pixels are too large", size.0, size.1)));
    }
    Ok(FrameShape { size, aspect })
}

impl FromStr for Scale {
    type Err = String;

    /// Reads `1280x720`, `1280x` and `x720`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected `WIDTHxHEIGHT`, `WIDTHx` or `xHEIGHT` in pixels".to_owned();
        let (width, height) = text.split_once('x').ok_or_else(wrong)?;
        let side = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().ok().filter(|side| (1..=LONGEST_SIDE).contains(side)).map(Some).ok_or_else(wrong),
        };
        let scale = Self { width: side(width)?, height: side(height)?, longest: None };
        if scale == Self::default() { Err(wrong()) } else { Ok(scale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(size: (u32, u32)) -> FrameShape {
        FrameShape { size, aspect: None }
    }

    #[test]
    fn sizes_are_read_and_proportions_kept() {
        let of = |text: &str, size| text.parse::<Scale>().unwrap().of(square(size));
        for (text, size) in [("640x360", (640, 360)), ("640x", (640, 360)), ("x361", (642, 361)), ("9x9", (9, 9))] {
            assert_eq!(of(text, (1280, 720)).unwrap(), square(size), "{text}");
        }
        for text in ["", "x", "640", "0x3", "-1x3", "99999x3", "axb"] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
        let longest = |longest, size| Scale { longest: Some(longest), ..Scale::default() }.of(square(size)).unwrap();
        assert_eq!(longest(640, (1280, 720)), square((640, 360)));
        assert_eq!(longest(640, (720, 1280)), square((360, 640)));
        assert_eq!(longest(2000, (1279, 721)), square((1279, 721)));
        assert!(of("16384x", (1, 3)).is_err());
    }

    #[test]
    fn frames_of_wide_or_narrow_pixels_keep_the_shape_that_is_shown() {
        let shape = |width, height, wide, high| FrameShape { size: (width, height), aspect: Ratio::new(wide, high) };
        // 106.7 by 72 are shown.
        let wide = shape(90, 72, 32, 27);
        for (text, longest, expected) in [
            ("180x", None, square((180, 122))),
            ("x144", None, square((214, 144))),
            ("180x144", None, wide_of((180, 144))),
            ("100x100", None, shape(100, 100, 40, 27)),
            ("320x216", None, square((320, 216))),
            ("320x216", Some(60), square((60, 40))),
        ] {
            let scale = Scale { longest, ..text.parse().unwrap() };
            assert_eq!(scale.of(wide).unwrap(), expected, "{text}");
        }
        for (longest, expected) in [(60, square((60, 40))), (100, square((100, 68))), (107, wide)] {
            let scale = Scale { longest: Some(longest), ..Scale::default() };
            assert_eq!(scale.of(wide).unwrap(), expected, "{longest}");
        }
        assert_eq!(wide.in_square_pixels().unwrap(), square((107, 72)));
        assert_eq!(shape(720, 480, 8, 9).in_square_pixels().unwrap(), square((720, 540)));
        assert_eq!(square((9, 7)).in_square_pixels().unwrap(), square((9, 7)));
        assert!(shape(720, 480, 1, 4000).in_square_pixels().is_err());
        // Shapes that no container can write exactly are rounded.
        let odd = shape(1279, 719, 9999, 9998).stretched((997, 991)).unwrap();
        let exact = 9999.0 / 9998.0 * 1279.0 / 719.0 * 991.0 / 997.0;
        assert!(odd.numerator < 65536 && (odd.value() / exact - 1.0).abs() < 1e-4, "{odd}");
    }

    fn wide_of(size: (u32, u32)) -> FrameShape {
        FrameShape { size, aspect: Ratio::new(32, 27) }
    }
}
