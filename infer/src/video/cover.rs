//! Cover pictures of clips, kept in the painted file.
//!
//! ffmpeg writes the cover of an MP4 file only if it leaves out most tags, that of a MOV file never, and that of a Matroska
//! file as an attachment that it must find in a file. So a cover is first copied out of the clip. For Matroska it is then
//! attached; in MP4 and MOV files it is put into the finished file, in the place where iTunes puts it: the box
//! `moov/udta/meta/ilst/covr` (ISO/IEC 14496-12 has the outer boxes, Apple's `QuickTime` file format the inner ones).

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{OtherStream, WatchedChild, quiet_child};

use super::container::Container;
use super::ffmpeg_log::FfmpegLog;
use super::join::file;

/// Bytes of a `moov` box that are read at most: it grows by some bytes a frame.
const LARGEST_INDEX: u64 = 1 << 30;

/// A cover picture, copied out of the clip.
#[derive(Debug, Clone)]
pub(super) struct CoverPicture {
    pub(super) path: PathBuf,
    /// The name of the attachment in a Matroska file.
    pub(super) name: String,
    format: CoverFormat,
}

/// A format of cover pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CoverFormat {
    codec: &'static str,
    extension: &'static str,
    mime: &'static str,
    /// The number of the format in a `data` box; `None` if MP4 has none.
    number: Option<u32>,
}

const FORMATS: [CoverFormat; 6] = [
    CoverFormat { codec: "mjpeg", extension: "jpg", mime: "image/jpeg", number: Some(13) },
    CoverFormat { codec: "png", extension: "png", mime: "image/png", number: Some(14) },
    CoverFormat { codec: "bmp", extension: "bmp", mime: "image/bmp", number: Some(27) },
    CoverFormat { codec: "gif", extension: "gif", mime: "image/gif", number: None },
    CoverFormat { codec: "webp", extension: "webp", mime: "image/webp", number: None },
    CoverFormat { codec: "tiff", extension: "tiff", mime: "image/tiff", number: None },
];

impl CoverPicture {
    /// Copies the cover picture in a stream of `source` into `folder`; `None` if the container has no place for it.
    ///
    /// # Errors
    ///
    /// If it cannot be copied.
    pub(super) fn copy(
        source: &Path,
        stream: &OtherStream,
        container: Container,
        folder: &Path,
    ) -> Result<Option<Self>> {
        let format = FORMATS.into_iter().find(|format| format.codec == stream.codec);
        let has_place = |format: &CoverFormat| match container {
            Container::Mkv => true,
            Container::Mp4 | Container::Mov => format.number.is_some(),
            Container::WebM => false,
        };
        let Some(format) = format.filter(has_place) else { return Ok(None) };
        let path = folder.join(format!("cover-{}.{}", stream.index, format.extension));
        let mut command = quiet_child("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-i"]).arg(file(source));
        command.args(["-map", &format!("0:{}", stream.index), "-c", "copy", "-frames:v", "1"]);
        command.args(["-f", "image2pipe", "-y"]).arg(file(&path)).stderr(Stdio::piped());
        let output = WatchedChild::output(&mut command)?;
        if !output.status.success() || fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            let log = FfmpegLog::read(&output.stderr[..]);
            return Err(Error::new("cannot copy the cover picture").with_source(log));
        }
        let name = stream.file_name.clone().unwrap_or_else(|| format!("cover.{}", format.extension));
        Ok(Some(Self { path, name, format }))
    }

    /// Attaches it to a Matroska file, in which it is attachment number `number`.
    pub(super) fn attach(&self, command: &mut Command, number: usize) {
        command.arg("-attach").arg(&self.path);
        for (key, value) in [("mimetype", self.format.mime), ("filename", &self.name)] {
            command.args([&format!("-metadata:s:t:{number}"), &format!("{key}={value}")]);
        }
    }
}

/// Copies the MP4 or MOV file `from` to `to`, with these cover pictures.
///
/// # Errors
///
/// If `from` is not built like one, or a file cannot be read or written.
pub(super) fn insert(from: &Path, to: &Path, covers: &[CoverPicture]) -> Result<()> {
    let action = || format!("cannot write `{}`", to.display());
    let mut pictures = Vec::new();
    for CoverPicture { path, format, .. } in covers {
        let picture = fs::read(path).context(|| format!("cannot read `{}`", path.display()))?;
        pictures.push((format.number.unwrap_or(0), picture));
    }
    let mut source = File::open(from).context(action)?;
    let index = find_index(&mut source).context(action)?;
    let mut moov = Vec::new();
    source.seek(SeekFrom::Start(index.start)).context(action)?;
    (&mut source).take(index.length).read_to_end(&mut moov).context(action)?;
    let with_covers = add_covers(&moov, &pictures, !index.is_last).context(action)?;
    let mut target = File::create(to).context(action)?;
    source.rewind().context(action)?;
    std::io::copy(&mut (&mut source).take(index.start), &mut target).context(action)?;
    target.write_all(&with_covers).context(action)?;
    source.seek(SeekFrom::Start(index.start + index.length)).context(action)?;
    std::io::copy(&mut source, &mut target).context(action)?;
    target.sync_all().context(action)
}

/// Where the `moov` box of a file is.
struct IndexBox {
    start: u64,
    length: u64,
    /// Whether it follows the frames.
    is_last: bool,
}

fn find_index(source: &mut (impl Read + Seek)) -> Result<IndexBox> {
    let action = || "cannot read the boxes of the file";
    let (mut start, mut frames_seen) = (0, false);
    loop {
        source.seek(SeekFrom::Start(start)).context(action)?;
        let mut head = [0; 16];
        source.read_exact(&mut head[..8]).context(action)?;
        let (kind, mut length) = (&head[4..8].to_vec(), u64::from(u32_at(&head, 0)));
        if length == 1 {
            source.read_exact(&mut head[8..]).context(action)?;
            length = u64::from(u32_at(&head, 8)) << 32 | u64::from(u32_at(&head, 12));
        }
        if length < 8 || (kind == b"moov" && length > LARGEST_INDEX) {
            return Err(Error::new("the file has a box of an impossible length"));
        }
        if kind == b"moov" {
            return Ok(IndexBox { start, length, is_last: frames_seen });
        }
        frames_seen |= kind == b"mdat";
        start += length;
    }
}

/// The `moov` box with cover pictures in it. If `moves` is set, the frames lie behind it, and their places change.
fn add_covers(moov: &[u8], pictures: &[(u32, Vec<u8>)], moves: bool) -> Result<Vec<u8>> {
    let data = |(number, picture): &(u32, Vec<u8>)| {
        data_box(*b"data", &[&number.to_be_bytes()[..], &[0; 4], picture].concat())
    };
    let covers = data_box(*b"covr", &pictures.iter().flat_map(data).collect::<Vec<_>>());
    let handler = data_box(*b"hdlr", &[&[0; 8][..], b"mdirappl", &[0; 9]].concat());
    let meta = data_box(*b"meta", &[&[0; 4][..], &handler, &data_box(*b"ilst", &covers)].concat());
    let mut content = moov.get(8..).unwrap_or_default().to_vec();
    let user_data = boxes(&content)?.into_iter().find(|(kind, _)| kind == b"udta");
    match user_data {
        Some((_, range)) => {
            let longer = data_box(*b"udta", &[&content[range.start + 8..range.end], &meta[..]].concat());
            content.splice(range, longer);
        }
        None => content.extend(data_box(*b"udta", &meta)),
    }
    if moves {
        let by = (content.len() + 8 - moov.len()) as u64;
        move_chunks(&mut content, by)?;
    }
    Ok(data_box(*b"moov", &content))
}

/// Adds `by` to the places of all chunks of frames.
fn move_chunks(content: &mut [u8], by: u64) -> Result<()> {
    for (kind, range) in boxes(content)? {
        let inside = range.start + 8..range.end;
        match &kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" => move_chunks(&mut content[inside], by)?,
            b"stco" => {
                for place in content[inside].get_mut(8..).unwrap_or_default().as_chunks_mut::<4>().0 {
                    let moved = u32::try_from(u64::from(u32::from_be_bytes(*place)) + by);
                    *place = moved.context(|| "the file is too large for a cover picture")?.to_be_bytes();
                }
            }
            b"co64" => {
                for place in content[inside].get_mut(8..).unwrap_or_default().as_chunks_mut::<8>().0 {
                    *place = u64::from_be_bytes(*place).saturating_add(by).to_be_bytes();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The kinds of the boxes in `content`, and where each is.
fn boxes(content: &[u8]) -> Result<Vec<([u8; 4], std::ops::Range<usize>)>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while content.len() - start >= 8 {
        let end = start + u32_at(content, start) as usize;
        if end < start + 8 || end > content.len() {
            return Err(Error::new("the file has a box of an impossible length"));
        }
        let kind = [content[start + 4], content[start + 5], content[start + 6], content[start + 7]];
        found.push((kind, start..end));
        start = end;
    }
    Ok(found)
}

fn data_box(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = (content.len() + 8) as u32;
    [&length.to_be_bytes()[..], &kind, content].concat()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moov(user_data: &[u8]) -> Vec<u8> {
        let stco = data_box(*b"stco", &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0]);
        let co64 = data_box(*b"co64", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        let table = data_box(*b"stbl", &[stco, co64].concat());
        let track = data_box(*b"trak", &data_box(*b"mdia", &data_box(*b"minf", &table)));
        data_box(*b"moov", &[&track, user_data].concat())
    }

    #[test]
    fn a_cover_goes_into_the_user_data_and_frames_behind_it_move() {
        let pictures = [(13, b"a jpeg".to_vec())];
        for user_data in [Vec::new(), data_box(*b"udta", &data_box(*b"name", b"x"))] {
            let before = moov(&user_data);
            for moves in [false, true] {
                let after = add_covers(&before, &pictures, moves).unwrap();
                let grown = (after.len() - before.len()) as u32;
                assert_eq!(u32_at(&after, 0) as usize, after.len());
                assert!(after.ends_with(b"data\0\0\0\x0d\0\0\0\0a jpeg"));
                let kinds: Vec<_> = boxes(&after[8..]).unwrap().into_iter().map(|(kind, _)| kind).collect();
                assert_eq!(kinds, [*b"trak", *b"udta"]);
                let by = if moves { grown } else { 0 };
                let at = after.windows(4).position(|window| window == b"stco").unwrap();
                assert_eq!((u32_at(&after, at + 12), u32_at(&after, at + 16)), (256 + by, 512 + by));
                let at = after.windows(4).position(|window| window == b"co64").unwrap();
                assert_eq!((u32_at(&after, at + 12), u32_at(&after, at + 16)), (1, by));
            }
        }
    }

    #[test]
    fn what_is_no_mp4_is_refused() {
        assert!(add_covers(b"\0\0\0\x10moov\0\0\0\x99trak", &[], true).is_err());
        for bytes in [&b""[..], b"\0\0\0\x04ftyp", b"\xff\xff\xff\xffmoov", b"\0\0\0\x08ftyp"] {
            assert!(find_index(&mut std::io::Cursor::new(bytes)).is_err(), "{bytes:?}");
        }
    }
}
