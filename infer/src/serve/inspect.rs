//! Checks a picture file before it is decoded.

use axum::http::StatusCode;
use impasto_common::Error;
use impasto_picture::{PictureFormat, claimed_size};

use super::problem::Problem;
use crate::{PaintMargin, Stylizer};

/// Refuses files that are not pictures, and pictures whose header states more than `limit` pixels. Returns the width and
/// height that the header states.
pub(super) fn inspect(bytes: &[u8], limit: u64) -> Result<(u32, u32), Problem> {
    PictureFormat::of_bytes(bytes)
        .map_err(|error| Problem::picture(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture", &error))?;
    let (height, width) = claimed_size(bytes).map_err(|error| Problem::damaged(&error))?;
    if u64::from(height) * u64::from(width) > limit {
        let what = format!("a picture of {width}x{height} pixels");
        return Err(too_many_pixels(&what, limit, "send a smaller picture"));
    }
    Ok((width, height))
}

/// Refuses a picture of this width and height that has more than `limit` pixels with the margin that the client asks for: a
/// margin makes a thin picture many times as large.
pub(super) fn check_margin(stylizer: &Stylizer, size: (u32, u32), limit: u64) -> Result<(), Problem> {
    let (width, height) = stylizer.painted_size(size);
    if stylizer.options().margin == PaintMargin::OfStyle || width.saturating_mul(height) <= limit {
        return Ok(());
    }
    let what = format!("a painting of {width}x{height} pixels, with its margin,");
    Err(too_many_pixels(&what, limit, "ask for a smaller `margin`, send a smaller picture"))
}

fn too_many_pixels(what: &str, limit: u64, advice: &str) -> Problem {
    let error = Error::new(format!("{what} exceeds the limit of {} million", limit as f64 / 1e6))
        .with_hint(format!("{advice}, or start the server with a larger `--max-megapixels`"));
    Problem::picture(StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels", &error)
}
