//! ffmpeg and ffprobe as child processes.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::WatchedChild;
use impasto_error::{Error, Result};

const INSTALL: &str = "install ffmpeg: `apt-get install ffmpeg`, `dnf install ffmpeg`, `brew install ffmpeg` or \
                       `winget install ffmpeg`; pictures, GIF files and `y4m` pipes do not need it";

/// The oldest version with `-fps_mode`. Older versions call it `-vsync`.
const FPS_MODE_SINCE: (u32, u32) = (5, 1);

/// The result of the search, kept because a search takes some hundredths of a second.
static FOUND: OnceLock<Ffmpeg> = OnceLock::new();

/// The installed ffmpeg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ffmpeg {
    /// The release. Builds between releases count as new.
    version: Option<(u32, u32)>,
}

impl Ffmpeg {
    /// Looks for `ffmpeg` and `ffprobe` in `PATH`.
    ///
    /// # Errors
    ///
    /// If either is missing. The hint says how to install it.
    pub fn find() -> Result<Self> {
        if let Some(found) = FOUND.get() {
            return Ok(*found);
        }
        answer("ffprobe", &["-version"])?;
        let text = answer("ffmpeg", &["-version"])?;
        Ok(*FOUND.get_or_init(|| Self { version: release(&text) }))
    }

    /// The arguments for an output that keeps the timestamp of every frame and drops none.
    #[must_use]
    pub fn passthrough(self) -> [&'static str; 2] {
        let old = self.version.is_some_and(|version| version < FPS_MODE_SINCE);
        [if old { "-vsync" } else { "-fps_mode" }, "passthrough"]
    }

    /// An ffmpeg command that does not read standard input and writes a log that `log.rs` understands.
    #[must_use]
    pub fn command(self) -> Command {
        let mut command = quiet_child("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info"]);
        command
    }

    /// Whether it was built with these filters.
    #[must_use]
    pub fn has_filters(self, names: &[&str]) -> bool {
        lists("-filters", names)
    }

    /// Whether it was built with this decoder.
    #[must_use]
    pub fn has_decoder(self, name: &str) -> bool {
        lists("-decoders", &[name])
    }
}

/// Whether ffmpeg names all of these in one of its lists.
fn lists(list: &str, names: &[&str]) -> bool {
    let Ok(text) = answer("ffmpeg", &["-hide_banner", list]) else { return false };
    let known: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    names.iter().all(|name| known.contains(name))
}

/// The standard output of a program.
fn answer(program: &str, arguments: &[&str]) -> Result<String> {
    let output = WatchedChild::output(quiet_child(program).args(arguments))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command without standard streams; the caller must pipe those that it needs. Ctrl-C in the terminal does not reach the
/// child, because this process decides how its children end.
#[must_use]
pub fn quiet_child(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    }
    command
}

/// The error for a program that did not start.
pub(super) fn cannot_run(name: &str, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::new(format!("clips need the program `{name}`, which was not found in PATH")).with_hint(INSTALL);
    }
    Error::new(format!("cannot run `{name}`")).with_source(error)
}

/// The release in `ffmpeg version 5.1.9-0+deb12u1 Copyright ..`, `n6.0` or `N-123-gabc` (none).
fn release(text: &str) -> Option<(u32, u32)> {
    let word = text.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
    let mut numbers = word.trim_start_matches('n').split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_releases_get_the_old_name_of_the_option() {
        for (text, option) in [
            ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", "-vsync"),
            ("ffmpeg version n5.0 Copyright", "-vsync"),
            ("ffmpeg version 5.1.9-0+deb12u1 Copyright", "-fps_mode"),
            ("ffmpeg version 8.0 Copyright", "-fps_mode"),
            ("ffmpeg version N-112000-gdeadbeef Copyright", "-fps_mode"),
        ] {
            assert_eq!(Ffmpeg { version: release(text) }.passthrough()[0], option, "{text}");
        }
    }

    #[test]
    fn ffmpeg_is_asked_for_its_release_and_its_filters_and_answers() {
        let Ok(ffmpeg) = Ffmpeg::find() else { return };
        assert!(answer("ffmpeg", &["-version"]).unwrap().starts_with("ffmpeg version "));
        // Every build has these.
        assert!(ffmpeg.has_filters(&["scale", "null"]));
        assert!(!ffmpeg.has_filters(&["scale", "no-such-filter"]));
        assert!(ffmpeg.has_decoder("rawvideo") && !ffmpeg.has_decoder("no-such-decoder"));
    }

    #[test]
    fn a_program_that_is_missing_comes_with_a_way_to_get_it() {
        let error = quiet_child("no-such-ffmpeg").spawn().map_err(|error| cannot_run("ffmpeg", error)).unwrap_err();
        assert!(error.to_string().contains("`ffmpeg`, which was not found in PATH"));
        assert!(error.hint().unwrap().contains("apt-get install ffmpeg"));
    }
}
