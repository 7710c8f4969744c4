//! Exact fractions: time bases, frame rates, aspects.

use std::fmt;
use std::str::FromStr;

/// A fraction of positive integers, such as 30000/1001 frames per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// The numerator.
    pub numerator: u32,
    /// The denominator.
    pub denominator: u32,
}

impl Ratio {
    /// `numerator / denominator` in lowest terms; `None` if either is 0.
    #[must_use]
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        if numerator == 0 || denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// One over the fraction.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { numerator: self.denominator, denominator: self.numerator }
    }

    /// The fraction as a floating-point number.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// Converts `count` from this unit to another one, rounded to nearest, with halves away from zero.
    ///
    /// For example, it converts ticks of one time base to ticks of another. The result is exact if both can represent the
    /// same time.
    #[must_use]
    pub fn rescale(self, count: i64, unit: Self) -> i64 {
        let numerator = i128::from(count) * i128::from(self.numerator) * i128::from(unit.denominator);
        let denominator = i128::from(self.denominator) * i128::from(unit.numerator);
        let half = denominator / 2 * numerator.signum();
        ((numerator + half) / denominator) as i64
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

impl FromStr for Ratio {
    type Err = String;

    /// Parses `30000/1001`, `1:1`, `25` and `12.5`. A decimal that is a rounded NTSC rate becomes that rate: 29.97 is
    /// 30000/1001.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a positive number or fraction");
        if let Some((numerator, denominator)) = text.split_once(['/', ':']) {
            let part = |text: &str| text.trim().parse().map_err(|_| wrong());
            return Self::new(part(numerator)?, part(denominator)?).ok_or_else(wrong);
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 6 || !(whole.bytes().chain(decimals.bytes())).all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let denominator = 10_u32.pow(decimals.len() as u32);
        let ratio = format!("{whole}{decimals}").parse().ok().and_then(|numerator| Self::new(numerator, denominator));
        let ratio = ratio.ok_or_else(wrong)?;
        Ok(if decimals.is_empty() { ratio } else { ratio.ntsc().unwrap_or(ratio) })
    }
}

impl Ratio {
    /// The NTSC rate, a multiple of 1000/1001, if this decimal is a rounding of one.
    fn ntsc(self) -> Option<Self> {
        let nominal = (self.value() * 1.001).round();
        let exact = Self::new(nominal as u32 * 1000, 1001)?;
        let near = (exact.value() - self.value()).abs() < 0.005;
        // 12.5 and 24.98 are not NTSC rates.
        (near && [24.0, 30.0, 48.0, 60.0, 120.0].contains(&nominal)).then_some(exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(text: &str) -> Ratio {
        text.parse().unwrap()
    }

    #[test]
    fn fractions_decimals_and_rounded_ntsc_rates_are_read_exactly() {
        for (text, numerator, denominator) in [
            ("30000/1001", 30000, 1001),
            ("2:4", 1, 2),
            ("25", 25, 1),
            ("12.5", 25, 2),
            ("29.97", 30000, 1001),
            ("23.976", 24000, 1001),
            ("59.94", 60000, 1001),
            ("24.5", 49, 2),
        ] {
            assert_eq!(ratio(text), Ratio { numerator, denominator }, "{text}");
        }
        for text in ["", "0", "0/1", "1/0", "-3", "1e3", "x", "1/2/3", ".", "nan"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }

    #[test]
    fn ticks_survive_nanoseconds() {
        let (ticks, nanoseconds) = (ratio("1/30000"), ratio("1/1000000000"));
        for pts in [-2002, 0, 1, 1001, 150_150, 4_000_000_019] {
            assert_eq!(nanoseconds.rescale(ticks.rescale(pts, nanoseconds), ticks), pts);
        }
        assert_eq!(ratio("1/2").rescale(1, ratio("1")), 1);
        assert_eq!(ratio("1/2").rescale(-1, ratio("1")), -1);
    }
}
