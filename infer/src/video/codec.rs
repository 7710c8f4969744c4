//! Encoders and their options.
//!
//! The encoder shares the processor with the painting. How much it may take follows from what painting a pixel costs, not
//! from a stopwatch: a resumed run must encode as the interrupted one did.

/// The quality of H.264 if nothing else is asked for: brush strokes are fine detail, and the encoder's own 23 smears them.
const H264_CRF: &str = "20";

/// How hard an encoder tries: the slower, the smaller the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// As fast as it can.
    Least,
    /// Fast.
    Little,
    /// Between fast and its default.
    Some,
    /// Its default.
    Full,
}

impl Effort {
    /// What is right beside a painting that takes so many operations a pixel (see [`crate::bench::paint_operations`]).
    ///
    /// The bounds lie between the presets of networks, whose costs are some 7, 25, 85 and 310 thousand. They keep the encoder
    /// at about a tenth of the processor.
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

/// The encoder that a short name stands for; any other name is ffmpeg's own.
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

/// The options of an encoder: quality and effort, then the user's, which come last and win.
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
            // What Apple's players want to see in an MP4 file.
            ("tag:v", "hvc1".into()),
            ("x265-params", "log-level=error".into()),
        ],
        "libvpx-vp9" => vec![
            ("deadline", effort.of(["realtime", "realtime", "good", "good"]).into()),
            ("cpu-used", effort.of(["8", "6", "4", "2"]).into()),
            ("row-mt", "1".into()),
            ("crf", "28".into()),
            // Without it, the quality would be a mere bound.
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

/// Whether frames go to this encoder as RGB: one that loses nothing should not lose half of the chroma before.
pub(super) fn wants_rgb(encoder: &str) -> bool {
    ["ffv1", "libx264rgb", "png", "qtrle", "prores_ks", "prores", "huffyuv", "utvideo"].contains(&encoder)
}

/// The file format of the parts: MP4 keeps any time base to the tick, and NUT holds what MP4 does not.
pub(super) fn part_format(encoder: &str) -> &'static str {
    let in_mp4 = ["264", "265", "hevc", "vp9", "av1"].iter().any(|name| encoder.contains(name));
    if in_mp4 { "mp4" } else { "nut" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_of_an_encoder_wins() {
        let own = [("preset".to_owned(), "slow".to_owned())];
        let options = options("libx264", Effort::Least, Some(30), &own);
        let text: Vec<_> = options.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(text, ["crf 30", "preset slow"]);
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
