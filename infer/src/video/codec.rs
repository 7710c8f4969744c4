//! Encoders and their options.
//!
//! The encoder shares the processor with the painting. Its effort depends on the number of operations per painted pixel and
//! not on measured time, because a resumed run must encode like the interrupted one.

use super::container::Container;

/// The default quality of H.264. Brush strokes are fine detail, and the encoder's own default, 23, smears them.
const H264_CRF: &str = "20";

/// The effort of an encoder. More effort is slower and gives a smaller file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// As fast as possible.
    Least,
    /// Fast.
    Little,
    /// Between fast and the encoder's default.
    Some,
    /// The encoder's default.
    Full,
}

impl Effort {
    /// The effort that suits a painting of this many operations per pixel (see [`crate::bench::paint_operations`]).
    ///
    /// The limits are between the network presets, which take about 7, 25, 85 and 310 thousand operations. With them, the
    /// encoder takes about a tenth of the processor time.
    #[must_use]
    pub fn beside(operations_per_pixel: f64) -> Self {
        match operations_per_pixel {
            cost if cost < 15e3 => Self::Least,
            cost if cost < 50e3 => Self::Little,
            cost if cost < 150e3 => Self::Some,
            _ => Self::Full,
        }
    }

    fn of<T: Copy>(self, choices: [T; 4]) -> T {
        choices[self as usize]
    }
}

/// The encoder for a short name. Any other name is ffmpeg's own.
pub(super) fn encoder_named(codec: &str) -> &str {
    match codec {
        "h264" | "x264" => "libx264",
        "h265" | "hevc" | "x265" => "libx265",
        "vp9" => "libvpx-vp9",
        "av1" => "libsvtav1",
        "prores" => "prores_ks",
        other => other,
    }
}

/// The options of an encoder: quality and effort, then the user's options, which take precedence.
pub(super) fn options(
    encoder: &str,
    effort: Effort,
    crf: Option<u8>,
    own: &[(String, String)],
) -> Vec<(String, String)> {
    let mut options: Vec<(&str, String)> = match encoder {
        "libx264" => vec![
            ("preset", effort.of(["ultrafast", "superfast", "veryfast", "medium"]).into()),
            ("crf", H264_CRF.into()),
        ],
        "libx265" => vec![
            ("preset", effort.of(["ultrafast", "superfast", "veryfast", "medium"]).into()),
            ("crf", "24".into()),
            // Apple's players require this tag in MP4 files.
            ("tag:v", "hvc1".into()),
            ("x265-params", "log-level=error".into()),
        ],
        "libvpx-vp9" => vec![
            ("deadline", effort.of(["realtime", "realtime", "good", "good"]).into()),
            ("cpu-used", effort.of(["8", "6", "4", "2"]).into()),
            ("row-mt", "1".into()),
            ("crf", "28".into()),
            // Without this option, the quality would only be an upper bound.
            ("b:v", "0".into()),
        ],
        "libsvtav1" => vec![("preset", effort.of(["12", "10", "8", "6"]).into()), ("crf", "32".into())],
        _ => Vec::new(),
    };
    let own_names: Vec<_> = own.iter().map(|(name, _)| name.as_str()).collect();
    options.retain(|(name, _)| !own_names.contains(name) && (crf.is_none() || *name != "crf"));
    options.extend(crf.map(|crf| ("crf", crf.to_string())));
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own.iter().cloned()).collect()
}

/// Whether this encoder gets RGB frames. Chroma subsampling would make a lossless encoder lossy.
pub(super) fn wants_rgb(encoder: &str) -> bool {
    ["ffv1", "libx264rgb", "png", "qtrle", "prores_ks", "prores", "huffyuv", "utvideo"].contains(&encoder)
}

/// The layout of pixels in which an encoder keeps transparency; `None` if it does not, or the container has no place for it.
pub(super) fn alpha_layout(encoder: &str, container: Container, own: &[(String, String)]) -> Option<&'static str> {
    if own.iter().any(|(name, _)| name == "pix_fmt") {
        return None;
    }
    let in_matroska = matches!(container, Container::Mkv | Container::WebM);
    match encoder {
        "libvpx-vp9" | "libvpx" if in_matroska => Some("yuva420p"),
        _ if container == Container::Mp4 => None,
        "prores_ks" => Some("yuva444p10le"),
        "ffv1" | "huffyuv" | "ffvhuff" => Some("bgra"),
        "qtrle" => Some("argb"),
        "png" => Some("rgba"),
        "utvideo" | "magicyuv" => Some("gbrap"),
        _ => None,
    }
}

/// The file format of segments: MP4 keeps every time base exactly, and NUT holds the codecs that MP4 does not. Each keeps
/// transparency, except that of VP8 and VP9, which only Matroska does.
pub(super) fn segment_format(encoder: &str, alpha: Option<&str>) -> &'static str {
    let in_mp4 = ["264", "265", "hevc", "vp9", "av1"].iter().any(|name| encoder.contains(name));
    match encoder {
        _ if encoder.starts_with("libvpx") && alpha.is_some() => "matroska",
        "qtrle" => "mov",
        _ if in_mp4 => "mp4",
        _ => "nut",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_user_take_precedence() {
        let own = [("preset".to_owned(), "slow".to_owned())];
        let options = options("libx264", Effort::Least, Some(30), &own);
        let text: Vec<_> = options.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(text, ["crf 30", "preset slow"]);
    }

    #[test]
    fn transparency_is_kept_where_encoder_and_container_can() {
        let own = [("pix_fmt".to_owned(), "yuv420p".to_owned())];
        for (encoder, container, expected) in [
            ("libvpx-vp9", Container::WebM, Some("yuva420p")),
            ("libvpx-vp9", Container::Mp4, None),
            ("libx264", Container::Mov, None),
            ("prores_ks", Container::Mov, Some("yuva444p10le")),
            ("ffv1", Container::Mkv, Some("bgra")),
        ] {
            assert_eq!(alpha_layout(encoder, container, &[]), expected, "{encoder} {container}");
            assert_eq!(alpha_layout(encoder, container, &own), None);
        }
    }

    #[test]
    fn the_presets_of_networks_get_the_four_efforts() {
        use impasto_common::network::Preset;
        let effort = |preset: Preset| {
            Effort::beside(
                crate::bench::paint_operations(&impasto_common::network::StyleNetConfig::from(preset), (720, 1280))
                    / (720.0 * 1280.0),
            )
        };
        let efforts: Vec<_> = ["l", "m", "s", "xs"].iter().map(|name| effort(name.parse().unwrap())).collect();
        assert_eq!(efforts, [Effort::Full, Effort::Some, Effort::Little, Effort::Least]);
    }
}
