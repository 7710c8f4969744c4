//! The segments of a clip that is being painted: complete pieces of video in a folder beside the output.
//!
//! A segment gets its name once it is complete, so the next run can continue behind the last one, however this run ends.
//! The name gives the frames in it and the digest of the file: `FIRST_COUNT_PTS_DIGEST`, with the first timestamp in the time
//! base of the clip.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result, ResultExt};
use impasto_files::write_atomic;

use super::digest::digest_of;
use super::memory;
use super::pipeline::Observer;

/// The file in the folder that identifies the run.
const IDENTITY: &str = "render.json";

/// The file in the folder that a running process has locked.
const LOCK: &str = "lock";

/// The settings that must be equal for one run to continue another.
pub(super) type RunIdentity = BTreeMap<String, String>;

/// A complete segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) pts: i64,
    pub(super) path: PathBuf,
}

/// Keeps other processes out of a folder while it exists.
pub(super) struct FolderLock(#[expect(dead_code, reason = "only held")] File);

/// The folder of segments.
#[derive(Debug, Clone)]
pub(super) struct SegmentFolder {
    path: PathBuf,
}

impl SegmentFolder {
    /// The folder of the segments of `output`.
    pub(super) fn beside(output: &Path) -> Self {
        let mut name = output.as_os_str().to_owned();
        name.push(".parts");
        Self { path: name.into() }
    }

    /// Creates the folder if there is none, and keeps other processes out of it until the lock is dropped.
    ///
    /// # Errors
    ///
    /// If another process has locked the folder, or it cannot be created.
    pub(super) fn lock(&self, output: &Path) -> Result<FolderLock> {
        let action = || format!("cannot use folder `{}`", self.path.display());
        loop {
            fs::create_dir_all(&self.path).context(action)?;
            let path = self.path.join(LOCK);
            let file = match File::options().write(true).create(true).truncate(false).open(&path) {
                // A run that has just ended has removed the folder.
                Err(error) if error.kind() == ErrorKind::NotFound && !self.path.exists() => continue,
                file => file.context(action)?,
            };
            match file.try_lock() {
                // A run that has just ended has removed the file.
                Ok(()) if !path.exists() => {}
                // Some file systems have no locks, so nothing can be checked.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(FolderLock(file)),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(format!("another process is painting `{}`", output.display()))
                        .with_hint("wait until it ends, or choose another `--output`"));
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder for a new run, or opens that of an interrupted one. The observer is told which segments are damaged.
    ///
    /// # Errors
    ///
    /// If there are segments and the run is not to be resumed, or they belong to another run.
    pub(super) fn open(
        &self,
        identity: &RunIdentity,
        resume: bool,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Segment>> {
        let action = || format!("cannot use folder `{}`", self.path.display());
        let before = fs::read(self.path.join(IDENTITY)).ok();
        if let Some(before) = before.filter(|_| resume) {
            let before = serde_json::from_slice(&before).map_err(|error| {
                let error = Error::new(format!("`{IDENTITY}` in it is damaged")).with_source(error);
                error.with_hint("remove the folder, and paint the clip from its beginning")
            });
            self.check(&before.context(action)?, identity)?;
            return self.intact(observer);
        }
        if !self.list()?.is_empty() {
            let path = self.path.display();
            return Err(Error::usage(format!("an interrupted run left its segments in `{path}`"))
                .with_hint("continue with `--resume`, or remove the folder"));
        }
        fs::create_dir_all(&self.path).context(action)?;
        let text = serde_json::to_string_pretty(identity).context(action)?;
        write_atomic(&self.path.join(IDENTITY), |writer| {
            std::io::Write::write_all(writer, text.as_bytes()).context(action)
        })?;
        Ok(Vec::new())
    }

    fn check(&self, before: &RunIdentity, now: &RunIdentity) -> Result<()> {
        let keys = before.keys().chain(now.keys());
        let Some(key) = keys.into_iter().find(|key| before.get(*key) != now.get(*key)) else { return Ok(()) };
        let value = |identity: &RunIdentity| identity.get(key).map_or_else(|| "none".to_owned(), String::clone);
        let (path, was, is) = (self.path.display(), value(before), value(now));
        Err(Error::usage(format!("the run that left `{path}` had a different {key}: {was}, not {is}"))
            .with_hint("resume with the options of that run, or remove the folder"))
    }

    /// Whether there is a run to continue.
    pub(super) fn exists(&self) -> bool {
        self.path.join(IDENTITY).exists()
    }

    /// The complete segments from the first frame to the first gap or the first that is not what was written; those behind it
    /// are removed.
    fn intact(&self, observer: &mut dyn Observer) -> Result<Vec<Segment>> {
        let mut next = 0;
        let mut segments = Vec::new();
        for (segment, digest) in self.list()? {
            let follows = segment.first == next;
            if follows && digest == Some(digest_of(&segment.path)?) {
                next += segment.count;
                segments.push(segment);
                continue;
            }
            if follows {
                let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
                let why = if digest.is_some() { "is damaged" } else { "has no digest" };
                observer.note(&format!("part `{name}` {why}; the frames from {next} on are painted again"));
            }
            fs::remove_file(&segment.path).context(|| format!("cannot remove `{}`", segment.path.display()))?;
        }
        Ok(segments)
    }

    /// The complete segments in their order, with the digests that they should have; unfinished ones are removed.
    fn list(&self) -> Result<Vec<(Segment, Option<u32>)>> {
        let action = || format!("cannot read folder `{}`", self.path.display());
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.path).context(action)?;
        let paths: Vec<_> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().context(action)?;
        for path in paths.iter().filter(|path| is_unfinished(path)) {
            fs::remove_file(path).context(action)?;
        }
        let mut found: Vec<_> = paths.iter().filter_map(|path| parse(path)).collect();
        found.sort_by_key(|(segment, _)| segment.first);
        Ok(found)
    }

    /// Gives a complete segment its name. What painters remembered before it is no longer needed.
    pub(super) fn complete(&self, unfinished: &Path, first: u64, count: u64, pts: i64) -> Result<Segment> {
        let extension = unfinished.extension().unwrap_or_default().to_string_lossy();
        let path = self.path.join(format!("{first:08}_{count}_{pts}_{:08x}.{extension}", digest_of(unfinished)?));
        fs::rename(unfinished, &path).context(|| format!("cannot write `{}`", path.display()))?;
        memory::forget_before(self, first + count)?;
        Ok(Segment { first, count, pts, path })
    }

    /// Removes the folder and its content.
    pub(super) fn remove(&self, lock: FolderLock) -> Result<()> {
        // Windows cannot remove a folder that contains an open file. Elsewhere, the lock keeps other processes out until
        // the folder is gone.
        let _lock = (!cfg!(windows)).then_some(lock);
        fs::remove_dir_all(&self.path).context(|| format!("cannot remove folder `{}`", self.path.display()))
    }
}

/// The number of the first frame after the segments.
pub(super) fn next_frame(segments: &[Segment]) -> u64 {
    segments.last().map_or(0, |segment| segment.first + segment.count)
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("unfinished"))
}

/// The name of an incomplete segment. It contains the process ID, because the encoder of a killed run may still be writing.
pub(super) fn unfinished(first: u64, extension: &str) -> String {
    format!("unfinished_{}_{first}.{extension}", std::process::id())
}

/// The segment of a file's name, and the digest that the file should have. Names had none before version 0.1.
fn parse(path: &Path) -> Option<(Segment, Option<u32>)> {
    let mut words = path.file_stem()?.to_str()?.split('_');
    let segment = Segment {
        first: words.next()?.parse().ok()?,
        count: words.next()?.parse().ok()?,
        pts: words.next()?.parse().ok()?,
        path: path.to_owned(),
    };
    let digest = words.next().map(|word| u32::from_str_radix(word, 16)).transpose().ok()?;
    (words.next().is_none() && segment.count > 0).then_some((segment, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Observer for Notes {
        fn begin(&mut self, _: Option<u64>, _: u64) {}

        fn painted(&mut self, _: u64) {}

        fn note(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    fn identity(style: &str) -> RunIdentity {
        RunIdentity::from([("style".to_owned(), style.to_owned())])
    }

    /// A folder in `home` with segments of ten frames each.
    fn folder_of(home: &tempfile::TempDir, segments: &[(u64, i64)]) -> SegmentFolder {
        let folder = SegmentFolder::beside(&home.path().join("out.mp4"));
        assert_eq!(folder.open(&identity("a"), true, &mut Notes::default()).unwrap(), []);
        for &(first, pts) in segments {
            let unfinished = folder.path().join("unfinished.mp4");
            fs::write(&unfinished, format!("frames from {first}")).unwrap();
            folder.complete(&unfinished, first, 10, pts).unwrap();
        }
        folder
    }

    #[test]
    fn segments_are_found_up_to_the_first_gap() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_of(&home, &[(0, -2), (10, 1001), (30, 9)]);
        fs::write(folder.path().join("unfinished.mp4"), b"").unwrap();
        let mut notes = Notes::default();
        let segments = folder.open(&identity("a"), true, &mut notes).unwrap();
        assert!(!folder.path().join("unfinished.mp4").exists() && notes.0.is_empty());
        assert_eq!(
            segments.iter().map(|segment| (segment.first, segment.pts)).collect::<Vec<_>>(),
            [(0, -2), (10, 1001)]
        );
        let error = folder.open(&identity("a"), false, &mut notes).unwrap_err();
        assert!(error.exit_code() == 2 && error.hint().unwrap().contains("--resume"));
        let error = folder.open(&identity("b"), true, &mut notes).unwrap_err().to_string();
        assert!(error.ends_with("had a different style: a, not b"), "{error}");
        let lock = folder.lock(Path::new("out.mp4")).unwrap();
        let error = folder.lock(Path::new("out.mp4")).err().unwrap();
        assert_eq!(error.to_string(), "another process is painting `out.mp4`");
        folder.remove(lock).unwrap();
        assert!(!folder.path().exists());
        drop(folder.lock(Path::new("out.mp4")).unwrap());
        folder.lock(Path::new("out.mp4")).unwrap();
    }

    #[test]
    fn a_segment_that_is_not_what_was_written_is_removed_with_those_behind_it() {
        for damage in [b"".as_slice(), b"frames from 1", b"frames from 11"] {
            let home = tempfile::tempdir().unwrap();
            let folder = folder_of(&home, &[(0, 0), (10, 10), (20, 20)]);
            let second = folder.list().unwrap()[1].0.path.clone();
            fs::write(&second, damage).unwrap();
            let mut notes = Notes::default();
            assert_eq!(next_frame(&folder.open(&identity("a"), true, &mut notes).unwrap()), 10);
            let [note] = &notes.0[..] else { panic!("{:?}", notes.0) };
            assert!(note.contains("00000010_10_10_") && note.contains("is damaged; the frames from 10 on"), "{note}");
            assert_eq!(folder.list().unwrap().len(), 1);
        }
    }

    #[test]
    fn segments_without_a_digest_are_painted_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_of(&home, &[(0, 0)]);
        fs::write(folder.path().join("00000010_10_10.mp4"), b"").unwrap();
        let mut notes = Notes::default();
        assert_eq!(next_frame(&folder.open(&identity("a"), true, &mut notes).unwrap()), 10);
        assert!(notes.0[0].contains("`00000010_10_10.mp4` has no digest"), "{:?}", notes.0);
    }

    #[test]
    fn a_damaged_plan_is_an_error_that_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_of(&home, &[(0, 0)]);
        fs::write(folder.path().join(IDENTITY), b"{\"style\": ").unwrap();
        let error = folder.open(&identity("a"), true, &mut Notes::default()).unwrap_err();
        assert!(error.to_string().contains("`render.json` in it is damaged"), "{error}");
        assert!(error.hint().unwrap().contains("remove the folder"));
    }
}
