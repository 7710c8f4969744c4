//! What a painter remembers of earlier frames, stored beside the segments: a resumed clip then continues as if it had never
//! been interrupted.
//!
//! It is stored whenever a segment's last frame is painted, under the name `memory_FRAMES_DIGEST`, and removed when a later
//! segment is complete: it may be larger than the whole clip.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use impasto_common::{Result, ResultExt};

use super::digest::{DigestWriter, digest_of};
use super::painter::FramePainter;
use super::pipeline::Observer;
use super::segments::{Segment, SegmentFolder, next_frame, unfinished};
use super::sink::SEGMENT_FRAMES;

/// Bytes that are read or written at a time.
const BUFFER: usize = 1 << 18;

/// A stored memory.
struct StoredMemory {
    /// The frames that were painted.
    frames: u64,
    digest: u32,
    path: PathBuf,
}

/// Stores what the painter remembers after `frames` frames, if a segment ends there. A failure is no reason to end the run:
/// returns what the user should know.
pub(super) fn store_at_end_of_segment(
    folder: &SegmentFolder,
    frames: u64,
    painter: &dyn FramePainter,
) -> Option<String> {
    if !frames.is_multiple_of(SEGMENT_FRAMES) || !painter.has_memory() {
        return None;
    }
    let path = folder.path().join(unfinished(frames, "memory"));
    store(folder, frames, painter, &path).err().map(|error| {
        // Half of it only takes room, of which there may be too little.
        let _ = fs::remove_file(&path);
        format!("the stabiliser's memory is not stored, and `--resume` would go back further: {error}")
    })
}

fn store(folder: &SegmentFolder, frames: u64, painter: &dyn FramePainter, unfinished: &Path) -> Result<()> {
    let action = || format!("cannot write `{}`", unfinished.display());
    let file = File::create(unfinished).context(action)?;
    let mut writer = DigestWriter::new(BufWriter::with_capacity(BUFFER, file));
    painter.save(&mut writer).context(action)?;
    writer.flush().context(action)?;
    let path = folder.path().join(format!("memory_{frames:08}_{:08x}", writer.digest()));
    fs::rename(unfinished, &path).context(|| format!("cannot write `{}`", path.display()))
}

/// Removes the memories that are no longer needed when the segments up to `frames` are complete.
pub(super) fn forget_before(folder: &SegmentFolder, frames: u64) -> Result<()> {
    list(folder)?.iter().filter(|memory| memory.frames < frames).try_for_each(remove)
}

/// Prepares the painter for the frame behind the segments. If it remembers frames, and what it remembered there is not stored
/// intact, segments are removed back to where it is, or all of them.
pub(super) fn recall(
    folder: &SegmentFolder,
    segments: &mut Vec<Segment>,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<()> {
    painter.reset();
    let next = next_frame(segments);
    // Behind a shorter segment, no frame comes.
    if !painter.has_memory() || segments.last().is_none_or(|last| last.count < SEGMENT_FRAMES) {
        return Ok(());
    }
    let mut memories = list(folder)?;
    memories.sort_by_key(|memory| std::cmp::Reverse(memory.frames));
    let mut found = None;
    for memory in memories {
        let fits = found.is_none() && segments.iter().any(|segment| segment.first + segment.count == memory.frames);
        if fits && restore(&memory, painter)? {
            found = Some(memory.frames);
        } else {
            remove(&memory)?;
        }
    }
    let frames = found.unwrap_or(0);
    if frames < next {
        observer.note(&format!(
            "the stabiliser's memory of frame {next} is missing or damaged; the frames from {frames} on are painted again"
        ));
    }
    for segment in segments.extract_if(.., |segment| segment.first >= frames) {
        fs::remove_file(&segment.path).context(|| format!("cannot remove `{}`", segment.path.display()))?;
    }
    Ok(())
}

/// Whether the painter now remembers what it did then. Otherwise it remembers nothing.
fn restore(memory: &StoredMemory, painter: &mut dyn FramePainter) -> Result<bool> {
    let action = || format!("cannot read `{}`", memory.path.display());
    if digest_of(&memory.path)? != memory.digest {
        return Ok(false);
    }
    let mut reader = BufReader::with_capacity(BUFFER, File::open(&memory.path).context(action)?);
    let restored = painter.restore(&mut reader).is_ok();
    if !restored {
        painter.reset();
    }
    Ok(restored)
}

fn remove(memory: &StoredMemory) -> Result<()> {
    fs::remove_file(&memory.path).context(|| format!("cannot remove `{}`", memory.path.display()))
}

fn list(folder: &SegmentFolder) -> Result<Vec<StoredMemory>> {
    let action = || format!("cannot read folder `{}`", folder.path().display());
    let entries = fs::read_dir(folder.path()).context(action)?;
    let memories = entries.map(|entry| Ok(parse(&entry.context(action)?.path())));
    memories.filter_map(Result::transpose).collect()
}

fn parse(path: &Path) -> Option<StoredMemory> {
    let mut words = path.file_name()?.to_str()?.strip_prefix("memory_")?.split('_');
    let (frames, digest) = (words.next()?.parse().ok()?, u32::from_str_radix(words.next()?, 16).ok()?);
    words.next().is_none().then(|| StoredMemory { frames, digest, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use impasto_picture::Picture;

    use super::super::segments::RunIdentity;
    use super::*;

    /// Remembers how many frames it has painted.
    #[derive(Default)]
    struct Counter(u8);

    impl FramePainter for Counter {
        fn paint(&mut self, frame: Picture) -> Result<crate::Painted> {
            self.0 += 1;
            Ok(frame.into())
        }

        fn reset(&mut self) {
            self.0 = 0;
        }

        fn has_memory(&self) -> bool {
            true
        }

        fn save(&self, writer: &mut dyn Write) -> Result<()> {
            writer.write_all(&[self.0]).context(|| "cannot save")
        }

        fn restore(&mut self, reader: &mut dyn Read) -> Result<()> {
            let mut byte = [0];
            reader.read_exact(&mut byte).context(|| "cannot restore")?;
            self.0 = byte[0];
            Ok(())
        }
    }

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Observer for Notes {
        fn begin(&mut self, _: Option<u64>, _: u64) {}

        fn painted(&mut self, _: u64) {}

        fn note(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    #[test]
    fn a_painter_continues_where_its_memory_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let folder = SegmentFolder::beside(&home.path().join("out.mp4"));
        folder.open(&RunIdentity::new(), true, &mut Notes::default()).unwrap();
        let mut segments = Vec::new();
        for (number, byte) in [(1, 7), (2, 9), (3, 11)] {
            assert_eq!(store_at_end_of_segment(&folder, 125 * number, &Counter(byte)), None);
            let unfinished = folder.path().join("unfinished.mp4");
            fs::write(&unfinished, [byte]).unwrap();
            segments.push(folder.complete(&unfinished, 125 * (number - 1), 125, 0).unwrap());
        }
        assert_eq!(store_at_end_of_segment(&folder, 130, &Counter(99)), None);
        assert_eq!(list(&folder).unwrap().len(), 1, "only the last is kept");
        let (mut painter, mut notes) = (Counter(5), Notes::default());
        recall(&folder, &mut segments, &mut painter, &mut notes).unwrap();
        assert_eq!((painter.0, segments.len(), notes.0.len()), (11, 3, 0));
        // The memory of the last segment is damaged, and that of the one before is still there.
        store_at_end_of_segment(&folder, 250, &Counter(9));
        let memories = list(&folder).unwrap();
        fs::write(&memories.iter().find(|memory| memory.frames == 375).unwrap().path, [4]).unwrap();
        recall(&folder, &mut segments, &mut painter, &mut notes).unwrap();
        assert_eq!((painter.0, segments.len()), (9, 2));
        assert!(notes.0[0].contains("frames from 250 on are painted again"), "{notes:?}", notes = notes.0);
        fs::remove_file(&list(&folder).unwrap()[0].path).unwrap();
        recall(&folder, &mut segments, &mut painter, &mut notes).unwrap();
        assert_eq!((painter.0, segments.len()), (0, 0));
        assert!(notes.0[1].contains("frames from 0 on are painted again"), "{notes:?}", notes = notes.0);
    }
}
