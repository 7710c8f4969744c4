//! Tries the encoder, so that unsupported settings are reported before anything is painted.

use std::fs;
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result};
use impasto_video::{is_silence, rgb_to_planar};

use super::encoder::{Encoder, EncoderSettings};
use super::ffmpeg_log::is_disk_full;
use super::matroska::RawFormat;
use super::pipeline::Observer;

/// Encodes a black frame into a file in `folder`, whose path is returned. If the encoder does not take odd sides, the
/// settings are changed to even ones.
///
/// # Errors
///
/// If the encoder is not available, or does not take its options.
pub(super) fn try_encoder(
    settings: &mut EncoderSettings,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<PathBuf> {
    let path = folder.join(format!("trial.{}", settings.format));
    let mut result = encode_black(settings, &path);
    let (width, height) = settings.track.size;
    if result.is_err() && width > 1 && height > 1 && (width % 2 == 1 || height % 2 == 1) {
        settings.track.size = (width & !1, height & !1);
        result = encode_black(settings, &path);
        if result.is_ok() {
            let (even_width, even_height) = settings.track.size;
            let codec = &settings.codec;
            observer.note(&format!(
                "{codec} needs an even width and height; the painting is cropped from {width}x{height} to {even_width}x{even_height}"
            ));
        }
    }
    result.map(|()| path.clone()).map_err(|error| {
        // The file may not exist if the trial failed.
        let _ = fs::remove_file(&path);
        if is_disk_full(&error) || is_silence(&error) {
            return error;
        }
        Error::usage(format!("the encoder `{}` does not work with these options", settings.codec))
            .with_source(error)
            .with_hint("see `--codec`, `--crf` and `--codec-options`; `ffmpeg -encoders` lists the encoders")
    })
}

fn encode_black(settings: &EncoderSettings, path: &Path) -> Result<()> {
    let (width, height) = settings.track.size;
    let black = image::RgbImage::new(width, height);
    let pixels = match settings.track.format {
        RawFormat::Rgb => black.into_raw(),
        RawFormat::Rgba => image::DynamicImage::from(black).into_rgba8().into_raw(),
        RawFormat::Yuv420 => rgb_to_planar(&black, &settings.color),
    };
    let mut encoder = Encoder::start(settings, path)?;
    match encoder.push(&pixels, 0, 1) {
        Ok(()) => encoder.finish(),
        Err(_) => Err(encoder.failure()),
    }
}
