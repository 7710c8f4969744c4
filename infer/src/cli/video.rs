//! The options of `infer stylize` for clips.

use impasto_common::Result;
use impasto_common::model_file::StyleModel;
use impasto_common::network::StyleNetConfig;
use impasto_video::{Ratio, ReadOptions};

use super::clip_options::ClipOptions;
use crate::SteadyOptions;
use crate::bench::paint_operations;
use crate::video::{Effort, RenderOptions, Scale};

/// The side, in pixels, of the picture used to count the operations per pixel.
const SIDE: usize = 256;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Video")]
pub(super) struct VideoArgs {
    /// Reduce flicker: keep brush strokes in place
    ///
    /// Strokes follow the motion of the clip. Where it moves, they are kept for about this many frames and then painted anew,
    /// one part of the picture at a time; where it stands still, they stay. More frames give a calmer clip, but after many
    /// frames strokes no longer fit what they lie on. Works best with a style trained with `trainer train --temporal-weight`.
    #[arg(long, value_name = "FRAMES", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u8).range(1..=64))]
    #[expect(clippy::option_option, reason = "clap has it for a flag whose value may be left out")]
    stabilize: Option<Option<u8>>,

    /// Video encoder: h264, h265, vp9, av1, prores, ffv1, or any encoder of ffmpeg; default: h264, or vp9 for `.webm`
    #[arg(long, value_name = "NAME", value_parser = parse_codec)]
    codec: Option<String>,

    /// Constant quality of the encoder; 0 is best; default: 20 for h264, 24 for h265, 28 for vp9, 32 for av1
    #[arg(long, value_name = "0..63", value_parser = clap::value_parser!(u8).range(0..=63))]
    crf: Option<u8>,

    /// Further encoder options, such as `preset=slow,tune=animation`
    ///
    /// Unless they include a preset, the encoder's effort is chosen by the time that painting a frame takes.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_option)]
    codec_options: Vec<(String, String)>,

    /// Constant frame rate of the output, such as 25, 29.97 or 30000/1001; default: keep the clip's timestamps
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    fps: Option<Ratio>,

    /// Start time in the clip: seconds, or hours:minutes:seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start: Option<f64>,

    /// Duration to paint: seconds, or hours:minutes:seconds
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<f64>,

    /// Scale frames to this size before painting: `1280x720`, or one side only: `1280x` or `x720`
    #[arg(long, value_name = "WxH")]
    scale: Option<Scale>,

    /// Continue an interrupted clip, with the same options; start from the beginning if there is none
    ///
    /// Finished parts are kept in the folder OUTPUT.parts. After Ctrl-C, the output is a clip that plays as far as it was
    /// painted.
    #[arg(long)]
    resume: bool,

    /// Standard input has frames of this size as raw RGB bytes, without a header; standard output gets the same
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    raw: Option<(u32, u32)>,
}

impl VideoArgs {
    /// The clip options that the arguments ask for, for a network of these sizes. `painter` identifies the painter.
    pub(super) fn options(&self, network: &StyleNetConfig, max_size: Option<u32>, painter: String) -> ClipOptions {
        let operations = paint_operations(network, (SIDE, SIDE)) / (SIDE * SIDE) as f64;
        let painter = match self.steady() {
            Some(steady) => format!("{painter}, {steady:?}"),
            None => painter,
        };
        let render = RenderOptions {
            read: ReadOptions {
                start: self.start.filter(|&start| start > 0.0),
                duration: self.duration,
                frame_rate: self.fps,
                ..ReadOptions::default()
            },
            scale: Scale { longest: max_size, ..self.scale.unwrap_or_default() },
            codec: self.codec.clone(),
            crf: self.crf,
            codec_options: self.codec_options.clone(),
            effort: Effort::beside(operations),
            resume: self.resume,
            painter,
        };
        ClipOptions { render, raw: self.raw, steady: self.steady() }
    }

    /// How frames are stabilised; `None` if they are not.
    fn steady(&self) -> Option<SteadyOptions> {
        let defaults = SteadyOptions::default();
        self.stabilize.map(|frames| SteadyOptions { hold: frames.map_or(defaults.hold, usize::from), ..defaults })
    }
}

/// Identifies a model by its name and an FNV-1a hash of its weights, in the order of their names.
pub(super) fn fingerprint(model: &StyleModel) -> String {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for array in model.tensors.values() {
        for value in array.values() {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01B3);
        }
    }
    format!("{} {hash:016x}", model.card.name)
}

fn parse_codec(text: &str) -> Result<String, String> {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    // A copied video would not be painted.
    if text.is_empty() || text == "copy" || text.starts_with('-') || !is_name(text) {
        return Err("expected the name of an encoder, such as `h264`".into());
    }
    Ok(text.to_owned())
}

fn parse_option(text: &str) -> Result<(String, String), String> {
    let wrong = || "expected `KEY=VALUE`, such as `preset=slow`".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte));
    if is_key && !key.starts_with('-') { Ok((key.to_owned(), value.to_owned())) } else { Err(wrong()) }
}

fn parse_rate(text: &str) -> Result<Ratio, String> {
    let rate: Ratio = text.parse()?;
    if (0.01..=1000.0).contains(&rate.value()) { Ok(rate) } else { Err("expected a rate from 0.01 to 1000".into()) }
}

fn parse_time(text: &str) -> Result<f64, String> {
    let wrong = || "expected a time such as `12.5` or `1:02:03.5`".to_owned();
    let mut seconds = 0.0;
    for part in text.split(':') {
        let value: f64 = part.parse().map_err(|_| wrong())?;
        if !value.is_finite() || value < 0.0 || part.starts_with(['+', '-']) {
            return Err(wrong());
        }
        seconds = 60.0 * seconds + value;
    }
    if text.split(':').count() <= 3 && seconds < 1e9 { Ok(seconds) } else { Err(wrong()) }
}

fn parse_duration(text: &str) -> Result<f64, String> {
    parse_time(text).and_then(|time| if time > 0.0 { Ok(time) } else { Err("expected a time above 0".into()) })
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let scale: Scale = text.parse()?;
    scale.width.zip(scale.height).ok_or_else(|| "expected `WIDTHxHEIGHT` in pixels".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("0", 0.0), ("12.5", 12.5), ("1:30", 90.0), ("1:02:03.5", 3723.5)] {
            assert_eq!(parse_time(text), Ok(seconds), "{text}");
        }
        for text in ["", "x", "-1", "1:2:3:4", "1:-2", "inf", "nan", "1e99"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_duration("0").is_err());
    }

    #[test]
    fn words_that_would_become_other_options_are_refused() {
        assert_eq!(parse_codec("libvpx-vp9"), Ok("libvpx-vp9".into()));
        for text in ["", "copy", "-f", "a b", "x;y"] {
            assert!(parse_codec(text).is_err(), "{text}");
        }
        assert_eq!(parse_option("x264-params=a=b"), Ok(("x264-params".into(), "a=b".into())));
        for text in ["preset", "=slow", "-f=x", "a b=c"] {
            assert!(parse_option(text).is_err(), "{text}");
        }
    }
}
