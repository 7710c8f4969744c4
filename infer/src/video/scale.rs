//! The size of painted frames.

use std::str::FromStr;

use impasto_common::{Error, Result};

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

impl Scale {
    /// The new width and height of frames of `size`. A side that is computed from the other one is even.
    ///
    /// # Errors
    ///
    /// If a side is longer than 16384 pixels.
    pub fn of(self, size: (u32, u32)) -> Result<(u32, u32)> {
        let in_proportion = |side: u32, to: u32, from: u32| {
            let exact = f64::from(side) * f64::from(to) / f64::from(from);
            ((exact / 2.0).round() as u32 * 2).max(2)
        };
        let (width, height) = match (self.width, self.height) {
            (Some(width), Some(height)) => (width, height),
            (Some(width), None) => (width, in_proportion(size.1, width, size.0)),
            (None, Some(height)) => (in_proportion(size.0, height, size.1), height),
            (None, None) => size,
        };
        let scaled = match self.longest.filter(|&longest| longest < width.max(height)) {
            None => (width, height),
            Some(longest) if width >= height => (longest, in_proportion(height, longest, width)),
            Some(longest) => (in_proportion(width, longest, height), longest),
        };
        if scaled.0.max(scaled.1) > LONGEST_SIDE {
            return Err(Error::usage(format!("frames of {}x{} pixels are too large", scaled.0, scaled.1)));
        }
        Ok(scaled)
    }
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

    #[test]
    fn sizes_are_read_and_proportions_kept() {
        for (text, size) in [("640x360", (640, 360)), ("640x", (640, 360)), ("x361", (642, 361)), ("9x9", (9, 9))] {
            assert_eq!(text.parse::<Scale>().unwrap().of((1280, 720)).unwrap(), size, "{text}");
        }
        for text in ["", "x", "640", "0x3", "-1x3", "99999x3", "axb"] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
        let longest = |longest| Scale { longest: Some(longest), ..Scale::default() };
        assert_eq!(longest(640).of((1280, 720)).unwrap(), (640, 360));
        assert_eq!(longest(640).of((720, 1280)).unwrap(), (360, 640));
        assert_eq!(longest(2000).of((1279, 721)).unwrap(), (1279, 721));
        assert!("16384x".parse::<Scale>().unwrap().of((1, 3)).is_err());
    }
}
