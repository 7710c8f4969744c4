//! The streams beside the video: which of them go into the painted file, and what is said of the others.

use std::fs;
use std::path::Path;
use std::process::Command;

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{OtherStream, StreamKind};

use super::container::Container;
use super::cover::{self, CoverPicture};
use super::ffmpeg_log::is_disk_full;
use super::join::{ClipJoin, ffmpeg, file};

/// What the painted file gets beside the video.
#[derive(Debug, Default)]
pub(super) struct KeptTracks {
    tracks: Vec<KeptTrack>,
    covers: Vec<CoverPicture>,
    /// What is left out, in words.
    pub(super) notes: Vec<String>,
}

/// A stream of the clip that is copied.
#[derive(Debug, Clone)]
struct KeptTrack {
    stream: OtherStream,
    /// ffmpeg's codec for it, mostly `copy`.
    codec: &'static str,
}

impl KeptTracks {
    /// Maps the streams from input 1, and attaches cover pictures to Matroska.
    pub(super) fn map(&self, command: &mut Command, container: Container) {
        command.args(["-c", "copy"]);
        let (mut subtitles, mut attachments) = (0, 0);
        for KeptTrack { stream, codec } in &self.tracks {
            command.args(["-map", &format!("1:{}", stream.index)]);
            if stream.kind == StreamKind::Subtitle {
                command.args([&format!("-c:s:{subtitles}"), *codec]);
                subtitles += 1;
            }
            attachments += usize::from(stream.kind == StreamKind::Attachment);
        }
        if container == Container::Mkv {
            for (number, cover) in (attachments..).zip(&self.covers) {
                cover.attach(command, number);
            }
        }
    }

    /// Puts cover pictures into the finished file, if its container takes them there.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn add_covers(&self, path: &Path, container: Container) -> Result<()> {
        if self.covers.is_empty() || !matches!(container, Container::Mp4 | Container::Mov) {
            return Ok(());
        }
        let with_covers = path.with_file_name(format!("covered.{}", container.extension()));
        let inserted = cover::insert(path, &with_covers, &self.covers);
        let moved = inserted
            .and_then(|()| fs::rename(&with_covers, path).context(|| format!("cannot write `{}`", path.display())));
        moved.inspect_err(|_| {
            // Half a clip only takes room, of which there may be too little.
            let _ = fs::remove_file(&with_covers);
        })
    }
}

impl ClipJoin<'_> {
    /// Chooses what is kept beside the video by trying to write it behind the video in the file `trial`.
    ///
    /// # Errors
    ///
    /// If the container does not hold the video, or sound that Matroska would hold.
    pub(super) fn choose_tracks(&self, trial: &Path) -> Result<KeptTracks> {
        let mut kept = KeptTracks::default();
        for stream in &self.info.others {
            match stream.kind {
                StreamKind::Cover => self.choose_cover(stream, &mut kept)?,
                // Their content goes into the file by other ways.
                StreamKind::ChapterTitles => {}
                StreamKind::TimeCode if stream.time_code == self.info.time_code => {}
                _ => match self.container.codec_for(stream) {
                    Some(codec) => kept.tracks.push(KeptTrack { stream: stream.clone(), codec }),
                    None => kept.notes.push(self.left_out(stream)),
                },
            }
        }
        if let Some(time_code) = self.info.time_code.as_ref().filter(|_| self.time_code().is_none()) {
            kept.notes.push(format!("the time code {time_code} is left out: it counts frames of another rate"));
        }
        match self.try_tracks(&kept.tracks, trial, self.container) {
            Ok(()) => Ok(kept),
            Err(error) if is_disk_full(&error) => Err(error),
            Err(error) => self.choose_one_by_one(kept, trial, error),
        }
    }

    /// Keeps the streams that can be written without the others.
    fn choose_one_by_one(&self, mut kept: KeptTracks, trial: &Path, together: Error) -> Result<KeptTracks> {
        self.try_tracks(&[], trial, self.container).map_err(|error| {
            Error::usage(format!("{} does not hold video of this encoder", self.container))
                .with_source(error)
                .with_hint("choose another `--codec`, or an `--output` that ends with .mkv")
        })?;
        let tracks = std::mem::take(&mut kept.tracks);
        let before = tracks.len();
        for track in tracks {
            let Err(error) = self.try_tracks(std::slice::from_ref(&track), trial, self.container) else {
                kept.tracks.push(track);
                continue;
            };
            let is_sound = track.stream.kind == StreamKind::Audio && self.container != Container::Mkv;
            if is_sound && self.try_tracks(std::slice::from_ref(&track), trial, Container::Mkv).is_ok() {
                let sound = described(&track.stream);
                return Err(Error::usage(format!("{} does not hold {sound}", self.container))
                    .with_source(error)
                    .with_hint("use `--format mkv` or an `--output` that ends with .mkv, which holds it"));
            }
            kept.notes.push(self.left_out(&track.stream));
        }
        if kept.tracks.len() == before {
            return Err(together);
        }
        self.try_tracks(&kept.tracks, trial, self.container)?;
        Ok(kept)
    }

    fn choose_cover(&self, stream: &OtherStream, kept: &mut KeptTracks) -> Result<()> {
        match CoverPicture::copy(self.source, stream, self.container, self.folder) {
            Ok(Some(mut cover)) => {
                if kept.covers.iter().any(|other| other.name == cover.name) {
                    cover.name = format!("{}-{}", stream.index, cover.name);
                }
                kept.covers.push(cover);
            }
            Ok(None) => kept.notes.push(self.left_out(stream)),
            Err(error) if is_disk_full(&error) => return Err(error),
            Err(error) => kept.notes.push(format!("{} is left out: {error}", described(stream))),
        }
        Ok(())
    }

    /// Writes the beginning of the streams behind the video in the file `trial`.
    fn try_tracks(&self, tracks: &[KeptTrack], trial: &Path, container: Container) -> Result<()> {
        let mut command = ffmpeg();
        // The inputs are numbered as for joining.
        command.arg("-i").arg(file(trial));
        self.add_source(&mut command);
        command.args(["-map", "0:v:0"]);
        KeptTracks { tracks: tracks.to_vec(), ..KeptTracks::default() }.map(&mut command, container);
        command.args(["-t", "0.5"]);
        let path = self.folder.join(format!("tracks.{}", container.extension()));
        let written = Self::write(command, &path, container);
        // It may not exist if the trial failed.
        let _ = fs::remove_file(&path);
        written.map(|_| ())
    }

    fn left_out(&self, stream: &OtherStream) -> String {
        let why = match stream.kind {
            StreamKind::Audio | StreamKind::Subtitle if stream.codec.is_empty() => {
                "this ffmpeg does not know its codec".to_owned()
            }
            StreamKind::Video => "only one video of a clip is painted".to_owned(),
            StreamKind::Data => "only sound, subtitles and pictures are copied".to_owned(),
            StreamKind::TimeCode => "a clip has one time code".to_owned(),
            _ => format!("{} cannot hold it", self.container),
        };
        format!("{} is left out: {why}", described(stream))
    }
}

/// A stream in words, such as "the sound of stream 2 (`apac`)".
pub(super) fn described(stream: &OtherStream) -> String {
    let what = match stream.kind {
        StreamKind::Audio => "the sound",
        StreamKind::Subtitle => "the text",
        StreamKind::Attachment => "the attached file",
        StreamKind::Cover => "the cover picture",
        StreamKind::TimeCode => "the time code",
        StreamKind::ChapterTitles => "the chapter titles",
        StreamKind::Video => "the video",
        StreamKind::Data => "the data",
    };
    let tag = stream.tag.as_ref().map(|tag| format!("`{tag}`"));
    let codec = Some(stream.codec.clone()).filter(|codec| !codec.is_empty());
    let names: Vec<_> = codec.into_iter().chain(tag).collect();
    let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("{what} of stream {}{names}", stream.index)
}

/// What of a clip has no place in a format of pictures or bare frames, in words; `None` if nothing is lost.
#[must_use]
pub fn left_out_beside_frames(others: &[OtherStream], format: &str) -> Option<String> {
    let is_lost =
        |stream: &&OtherStream| matches!(stream.kind, StreamKind::Audio | StreamKind::Subtitle | StreamKind::Cover);
    let lost: Vec<_> = others.iter().filter(is_lost).map(described).collect();
    (!lost.is_empty()).then(|| format!("{format} holds only frames; left out: {}", lost.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_described_by_what_they_are_their_number_and_their_codec() {
        let stream = |kind, codec: &str, tag: Option<&str>| OtherStream {
            index: 2,
            kind,
            codec: codec.into(),
            tag: tag.map(Into::into),
            file_name: None,
            time_code: None,
        };
        let sound = stream(StreamKind::Audio, "", Some("apac"));
        assert_eq!(described(&sound), "the sound of stream 2 (`apac`)");
        let cover = stream(StreamKind::Cover, "mjpeg", None);
        assert_eq!(described(&cover), "the cover picture of stream 2 (mjpeg)");
        assert_eq!(
            described(&stream(StreamKind::Data, "bin_data", Some("gpmd"))),
            "the data of stream 2 (bin_data, `gpmd`)"
        );
        let note = left_out_beside_frames(&[sound, cover], "GIF").unwrap();
        assert_eq!(
            note,
            "GIF holds only frames; left out: the sound of stream 2 (`apac`), the cover picture of stream 2 (mjpeg)"
        );
        assert_eq!(left_out_beside_frames(&[stream(StreamKind::TimeCode, "", Some("tmcd"))], "GIF"), None);
    }
}
