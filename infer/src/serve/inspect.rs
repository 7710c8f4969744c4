//! Checks a picture file before it is decoded.

use axum::http::StatusCode;
use impasto_common::Error;
use impasto_picture::{PictureFormat, claimed_size};

use super::problem::Problem;

/// Refuses files that are not pictures, and pictures whose header states more than `limit` pixels.
pub(super) fn inspect(bytes: &[u8], limit: u64) -> Result<(), Problem> {
    PictureFormat::of_bytes(bytes)
        .map_err(|error| Problem::picture(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture", &error))?;
    let (height, width) = claimed_size(bytes).map_err(|error| Problem::damaged(&error))?;
    if u64::from(height) * u64::from(width) > limit {
        let error = Error::new(format!(
            "a picture of {width}x{height} pixels exceeds the limit of {} million",
            limit as f64 / 1e6
        ))
        .with_hint("send a smaller picture, or start the server with a larger `--max-megapixels`");
        return Err(Problem::picture(StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels", &error));
    }
    Ok(())
}
