//! The pictures in a folder, found by their content, and those that cannot be read, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use impasto_error::{Error, Result};
use impasto_files::{FolderFiles, first_bytes, has_extension};

use super::foreign::ForeignFormat;
use super::format::{IMAGE_EXTENSIONS, PictureFormat};

/// Bytes at the beginning of a file that tell what it is.
pub const TELLING_BYTES: u64 = 612;

/// What a file is, by its content and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture, by its content, or by its name where the content is unknown (and then likely damaged).
    Picture(PictureFormat),
    /// A picture that cannot be read.
    Foreign(ForeignFormat),
    /// Not a picture.
    Other,
}

impl FileKind {
    /// The kind of a file with this name and these first bytes, up to [`TELLING_BYTES`].
    #[must_use]
    pub fn of(path: &Path, beginning: &[u8]) -> Self {
        match ForeignFormat::of_file(path, beginning) {
            Some(ForeignFormat::AppleDouble) => Self::Other,
            Some(format) => Self::Foreign(format),
            None => PictureFormat::of_content(beginning)
                .or_else(|| PictureFormat::of_path(path))
                .map_or(Self::Other, Self::Picture),
        }
    }
}

/// The pictures below a folder.
#[derive(Debug, Default)]
pub struct FolderPictures {
    /// Those that can be read, sorted by path.
    pub pictures: Vec<PathBuf>,
    /// What cannot be read: entries of the folder, files, and formats that we do not read. The paths are named.
    pub unreadable: Vec<Error>,
    /// How many files of each format that we do not read are among `unreadable`.
    pub foreign: BTreeMap<ForeignFormat, usize>,
    /// Number of files with metadata of macOS, which are left out.
    pub mac_metadata: usize,
}

impl FolderPictures {
    /// What the user should know of the files that are left out; at most `most` of them are named.
    #[must_use]
    pub fn notes(&self, most: usize) -> Vec<String> {
        let named = self.unreadable.iter().take(most).map(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        });
        let rest = self.unreadable.len().saturating_sub(most);
        let rest = (rest > 0).then(|| format!("{rest} more cannot be read"));
        let foreign = (!self.foreign.is_empty()).then(|| format!("{} left out", count_foreign(&self.foreign)));
        named.chain(rest).chain(foreign).chain(mac_metadata_note(self.mac_metadata)).collect()
    }
}

/// All pictures below `folder`. Symbolic links are followed. The content decides; only files whose names end like those of
/// pictures are not opened, so that a folder of many photos is found quickly.
///
/// # Errors
///
/// If `folder` itself cannot be read.
pub fn find_images(folder: &Path) -> Result<FolderPictures> {
    let FolderFiles { files, unreadable, mac_metadata } = FolderFiles::below(folder)?;
    let mut found = FolderPictures {
        unreadable: unreadable.into_iter().map(|entry| entry.error).collect(),
        mac_metadata: mac_metadata.len(),
        ..FolderPictures::default()
    };
    for file in files {
        if has_extension(&file, &IMAGE_EXTENSIONS) {
            found.pictures.push(file);
            continue;
        }
        match first_bytes(&file, TELLING_BYTES).map(|beginning| FileKind::of(&file, &beginning)) {
            Ok(FileKind::Picture(_)) => found.pictures.push(file),
            Ok(FileKind::Foreign(format)) => {
                let error = Error::new(format!("cannot read `{}`", file.display())).with_source(format.error());
                found.unreadable.push(error);
                *found.foreign.entry(format).or_default() += 1;
            }
            Ok(FileKind::Other) => {}
            Err(error) => found.unreadable.push(error),
        }
    }
    Ok(found)
}

/// The pictures that cannot be read, such as `2 HEIC and 1 AVIF pictures`.
#[must_use]
pub fn count_foreign(foreign: &BTreeMap<ForeignFormat, usize>) -> String {
    let counts: Vec<_> = foreign.iter().map(|(format, count)| format!("{count} {format}")).collect();
    let pictures = if foreign.values().sum::<usize>() == 1 { "picture" } else { "pictures" };
    match counts.as_slice() {
        [] => format!("no {pictures}"),
        [one] => format!("{one} {pictures}"),
        [others @ .., last] => format!("{} and {last} {pictures}", others.join(", ")),
    }
}

/// A note on the files with metadata of macOS, if there are any.
#[must_use]
pub fn mac_metadata_note(files: usize) -> Option<String> {
    let (files, are) = match files {
        0 => return None,
        1 => ("1 file".to_owned(), "is"),
        _ => (format!("{files} files"), "are"),
    };
    Some(format!("{files} with metadata of macOS (`._*`, `__MACOSX`) {are} left out"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{ImageFormat, RgbImage};

    use super::*;

    #[test]
    fn pictures_are_found_by_content_and_what_cannot_be_read_is_named_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a.jpe", "b.jfif", "c.JPG", "IMG.HEIC", "no_ending", "x.dat"] {
            RgbImage::new(4, 4).save_with_format(root.join(name), ImageFormat::Jpeg).unwrap();
        }
        let heic = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf".as_slice();
        for (name, bytes) in [
            ("d.heic", heic),
            ("d.HEIF", heic),
            ("e.tga", b"no magic"),
            ("README.txt", b"BMW"),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
            ("empty", b""),
            ("._a.jpg", b"\0\x05\x16\x07"),
            ("._b.jpg", b"\0\x05\x16\x07"),
            ("text.jpg", b"found by its name"),
        ] {
            fs::write(root.join(name), bytes).unwrap();
        }
        let found = find_images(root).unwrap();
        let names: Vec<_> = found.pictures.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["IMG.HEIC", "a.jpe", "b.jfif", "c.JPG", "no_ending", "text.jpg", "x.dat"]);
        assert_eq!(found.mac_metadata, 2);
        let notes = found.notes(2);
        assert_eq!(notes.len(), 5, "{notes:?}");
        assert!(
            notes[0].starts_with("cannot read `") && notes[0].contains("d.HEIF`: the picture's format, HEIC, is not")
        );
        assert!(notes[0].contains("heif-convert"));
        assert_eq!(notes[2], "1 more cannot be read");
        assert_eq!(notes[3], "2 HEIC and 1 TGA pictures left out");
        assert_eq!(notes[4], "2 files with metadata of macOS (`._*`, `__MACOSX`) are left out");
    }
}
