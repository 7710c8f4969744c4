//! The log that ffmpeg writes beside the pixels: the lines of `showinfo` hold the timestamps that a raw pipe has no room for,
//! and the others say what is wrong with the clip.

use super::Ratio;

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogLine {
    /// The time base of the following timestamps.
    TimeBase(Ratio),
    /// The timestamp of the next frame; `None` if it has none.
    Frame(Option<i64>),
    /// The data of the clip is damaged.
    Problem {
        /// The decoder or demuxer that says so, by ffmpeg's name; empty if it is ffmpeg itself.
        component: String,
        /// What it says.
        text: String,
    },
}

impl LogLine {
    /// Parses a line of `-loglevel repeat+level+info`. `None` if it is not relevant.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if let Some(problem) = problem(line) {
            return Some(problem);
        }
        let text = line.strip_prefix("[Parsed_showinfo").and_then(|rest| rest.split_once("[info] "))?.1;
        if let Some(rest) = text.strip_prefix("config in time_base: ") {
            return rest.split(',').next()?.parse().ok().map(Self::TimeBase);
        }
        let pts = text.strip_prefix("n:")?.split_once(" pts:")?.1.split_whitespace().next()?;
        Some(Self::Frame(pts.parse().ok()))
    }
}

/// The levels at which messages about damage come.
const LEVELS: [&str; 5] = ["[error] ", "[fatal] ", "[panic] ", "[warning] ", "[info] "];

/// The message of `[h264 @ 0x5581] [error] text`, if it is about damage.
fn problem(line: &str) -> Option<LogLine> {
    let (before, level, text) = LEVELS.iter().find_map(|&level| {
        let (before, text) = line.split_once(level)?;
        // Unless it follows the name of a component of ffmpeg, the word belongs to a message.
        (before.is_empty() || before.ends_with("] ")).then_some((before, level, text.trim()))
    })?;
    let tells = match level {
        // What a decoder fills in, some report only at this level.
        "[info] " => text.starts_with("concealing "),
        "[warning] " => ["corrupt decoded frame", "corrupt input packet"].iter().any(|words| text.contains(words)),
        _ => !is_harmless(text),
    };
    // Warnings begin with the name of the file, which the user knows.
    let text = if level == "[warning] " { text.rsplit_once(": ").map_or(text, |(_, last)| last) } else { text };
    tells.then(|| LogLine::Problem { component: component(before).to_owned(), text: text.to_owned() })
}

/// The component of ffmpeg in `[vist#0:0/h264 @ 0x5581] [dec:h264 @ 0x5582] `.
fn component(before: &str) -> &str {
    let name = before.rsplit_once('[').map_or("", |(_, last)| last);
    let name = name.split([' ', ']']).next().unwrap_or_default();
    name.strip_prefix("dec:").unwrap_or(name)
}

/// Whether an error does not concern the pixels: timestamps that a muxer does not like, which are kept beside it, and notes
/// that came out of step.
fn is_harmless(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let about_time =
        words.any(|word| ["dts", "pts", "timestamp", "timestamps"].contains(&word.to_ascii_lowercase().as_str()));
    about_time || text.starts_with("mmco: unref short failure") || text.starts_with("SEI type ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_and_time_bases_are_found() {
        let time_base = "[Parsed_showinfo_2 @ 0x55] [info] config in time_base: 1/30000, frame_rate: 30000/1001";
        assert_eq!(LogLine::parse(time_base), Some(LogLine::TimeBase(Ratio::new(1, 30000).unwrap())));
        let frame =
            "[Parsed_showinfo_2 @ 0x55] [info] n:  12 pts:  -1001 pts_time:-0.0333667 pos:  48 fmt:rgb24 sar:1/1";
        assert_eq!(LogLine::parse(frame), Some(LogLine::Frame(Some(-1001))));
        let none = "[Parsed_showinfo_0 @ 0x55] [info] n:   0 pts:NOPTS pts_time:NOPTS pos:  0";
        assert_eq!(LogLine::parse(none), Some(LogLine::Frame(None)));
    }

    #[test]
    fn messages_about_damage_are_told_from_others() {
        for (line, component, text) in [
            ("[mov,mp4,m4a @ 0x55] [error] stream 0, offset 0x30: partial file", "mov,mp4,m4a", "partial file"),
            ("[fatal] no", "", "no"),
            ("[h264 @ 0x55] [info] concealing 33 DC, 33 AC, 33 MV errors in P frame", "h264", "concealing 33"),
            ("[warning] file:a.mp4: corrupt decoded frame in stream 0", "", "corrupt decoded frame"),
            ("[vist#0:0/av1 @ 0x55] [dec:libdav1d @ 0x5] [error] Error submitting", "libdav1d", "Error submitting"),
        ] {
            let Some(LogLine::Problem { component: found, text: said }) = LogLine::parse(line) else {
                panic!("{line}")
            };
            assert!(found == component && said.contains(text), "{found}: {said}");
        }
        for other in [
            "",
            "[info]   title : [error] in the title",
            "[Parsed_showinfo_0 @ 0x55] [info]   side data - x",
            "[showinfo@skipped @ 0x55] [info] n:  12 pts:  -1001 pts_time:-0.0333667",
            "[rawvideo @ 0x55] [error] Application provided invalid, non monotonically increasing dts to muxer in stream 0",
            "[h264 @ 0x55] [error] mmco: unref short failure",
            "[mjpeg @ 0x55] [warning] EOI missing, emulating",
            "[h264 @ 0x55] [info] Increasing reorder buffer to 2",
        ] {
            assert_eq!(LogLine::parse(other), None, "{other}");
        }
    }
}
