//! Parses the log that ffmpeg writes. The lines of `showinfo` have the timestamps, which a pipe of raw pixels cannot carry.

use super::Ratio;

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogLine {
    /// The time base of the following timestamps.
    TimeBase(Ratio),
    /// The timestamp of the next frame; `None` if it has none.
    Frame(Option<i64>),
    /// An error.
    Problem(String),
}

impl LogLine {
    /// Parses a line of `-loglevel repeat+level+info`. `None` if it is not relevant.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if let Some(problem) = problem(line) {
            return Some(Self::Problem(problem));
        }
        let text = line.strip_prefix("[Parsed_showinfo").and_then(|rest| rest.split_once("[info] "))?.1;
        if let Some(rest) = text.strip_prefix("config in time_base: ") {
            return rest.split(',').next()?.parse().ok().map(Self::TimeBase);
        }
        let pts = text.strip_prefix("n:")?.split_once(" pts:")?.1.split_whitespace().next()?;
        Some(Self::Frame(pts.parse().ok()))
    }
}

/// The message of `[h264 @ 0x5581] [error] text`.
fn problem(line: &str) -> Option<String> {
    let text = ["[error] ", "[fatal] ", "[panic] "].iter().find_map(|level| {
        let (before, text) = line.split_once(level)?;
        // Unless it follows the name of an ffmpeg component, the word is part of a message.
        (before.is_empty() || before.ends_with("] ")).then_some(text)
    })?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_time_bases_and_problems_are_found() {
        let time_base = "[Parsed_showinfo_2 @ 0x55] [info] config in time_base: 1/30000, frame_rate: 30000/1001";
        assert_eq!(LogLine::parse(time_base), Some(LogLine::TimeBase(Ratio::new(1, 30000).unwrap())));
        let frame =
            "[Parsed_showinfo_2 @ 0x55] [info] n:  12 pts:  -1001 pts_time:-0.0333667 pos:  48 fmt:rgb24 sar:1/1";
        assert_eq!(LogLine::parse(frame), Some(LogLine::Frame(Some(-1001))));
        let none = "[Parsed_showinfo_0 @ 0x55] [info] n:   0 pts:NOPTS pts_time:NOPTS pos:  0";
        assert_eq!(LogLine::parse(none), Some(LogLine::Frame(None)));
        let error = "[mov,mp4,m4a @ 0x55] [error] stream 0, offset 0x30: partial file";
        assert_eq!(LogLine::parse(error), Some(LogLine::Problem("stream 0, offset 0x30: partial file".into())));
        assert_eq!(LogLine::parse("[fatal] no"), Some(LogLine::Problem("no".into())));
        for other in ["", "[info]   title : [error] in the title", "[Parsed_showinfo_0 @ 0x55] [info]   side data - x"]
        {
            assert_eq!(LogLine::parse(other), None, "{other}");
        }
    }
}
