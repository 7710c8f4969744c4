//! Files saved by `torch.save`: the zip format of PyTorch 1.6 and later, and the one before it.
//!
//! The layout is that of `torch/serialization.py`: a pickle describes the tensors and refers to storages. Each storage is a
//! separate zip entry, or they follow the pickles one after another. Only storages of requested tensors are read, each
//! once. Neither the storages nor the tensors may take more bytes than the file has, because a file can describe any number
//! of tensors in the same storage.

mod tree;
mod view;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use zip::ZipArchive;

use self::tree::Tree;
use self::view::{StorageClass, View};
use super::pickle::Pickle;
use super::{Listed, Listing, Tensors, unknown};
use crate::{Error, Result, ResultExt};

/// The magic number in the first pickle of a file in the old format: 0x1950a86a20f9469cfc6c, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];

/// A file whose pickle has been read, but not its storages.
#[derive(Debug)]
pub(super) struct TorchFile<R> {
    tree: Tree,
    storages: Storages<R>,
    /// Bytes of the file.
    length: u64,
}

#[derive(Debug)]
enum Storages<R> {
    /// Entries `{folder}data/{key}` of an archive.
    Zip { archive: ZipArchive<BufReader<R>>, folder: String },
    /// From byte `start` on: a pickled list of keys, then for each its number of elements and its bytes.
    Legacy { reader: BufReader<R>, start: u64, classes: HashMap<String, Option<StorageClass>> },
}

/// The requested views with their names, grouped by storage.
type Wanted<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a View)>>;

impl<R: Read + Seek> TorchFile<R> {
    /// Reads the pickle of the zip format; the file has `length` bytes.
    ///
    /// # Errors
    ///
    /// If the archive is damaged or cut short, or holds no tensors.
    pub(super) fn open_zip(reader: R, length: u64) -> Result<Self> {
        let mut archive = ZipArchive::new(BufReader::new(reader)).context(|| super::DAMAGED)?;
        let names: Vec<_> = archive.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
        let folder = names.iter().find_map(|name| {
            let folder = name.strip_suffix("data.pkl")?;
            (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
        });
        let folder = folder.ok_or_else(|| unknown::another_zip(&names))?;
        if entry(&mut archive, &format!("{folder}byteorder"), length).is_ok_and(|order| order == b"big") {
            return Err(Error::new("it was written on a big-endian machine, which is not supported"));
        }
        let pickle = entry(&mut archive, &format!("{folder}data.pkl"), length)?;
        let tree = Tree::new(&Pickle::read(&mut &pickle[..])?)?;
        Ok(Self { tree, storages: Storages::Zip { archive, folder }, length })
    }

    /// Reads the pickles of the format from before PyTorch 1.6, which torchvision's first VGG files still use.
    ///
    /// # Errors
    ///
    /// If the file is damaged or cut short, or holds no tensors.
    pub(super) fn open_legacy(reader: R, length: u64) -> Result<Self> {
        let mut reader = BufReader::new(reader);
        check_magic(&mut reader)?;
        for _protocol_and_machine in 0..2 {
            Pickle::read(&mut reader)?;
        }
        let pickle = Pickle::read(&mut reader)?;
        let tree = Tree::new(&pickle)?;
        let classes = pickle.values().iter().filter_map(|value| StorageClass::find(&pickle, value)).collect();
        let start = reader.stream_position().context(|| CANNOT_READ)?;
        Ok(Self { tree, storages: Storages::Legacy { reader, start, classes }, length })
    }

    /// The tensors of the file by the keys that lead to them.
    pub(super) fn listing(&self) -> Listing {
        let leaves = self.tree.leaves.iter().map(|(name, leaf)| {
            let listed = Listed { shape: leaf.view.shape.clone(), path: leaf.path, readable: leaf.view.is_readable() };
            (name.clone(), listed)
        });
        leaves.collect()
    }

    /// Whether two names stand for the same values of the file.
    pub(super) fn is_same(&self, a: &str, b: &str) -> bool {
        let view = |name| self.tree.leaves.get(name).map(|leaf| &leaf.view);
        view(a) == view(b)
    }

    /// Reads the tensors of these names.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or damaged, or the file is truncated.
    pub(super) fn read(&mut self, names: &[String]) -> Result<Tensors> {
        let Self { tree, storages, length } = self;
        let wanted = wanted(tree, names, *length)?;
        let tensors = match storages {
            Storages::Zip { archive, folder } => read_zip(archive, folder, &wanted, *length)?,
            Storages::Legacy { reader, start, classes } => {
                reader.seek(SeekFrom::Start(*start)).context(|| CANNOT_READ)?;
                read_legacy(reader, classes, &wanted)?
            }
        };
        match names.iter().find(|name| !tensors.contains_key(*name)) {
            Some(name) => Err(Error::new(format!("tensor `{name}` has no data"))),
            None => Ok(tensors),
        }
    }
}

const CANNOT_READ: &str = "cannot read the weights";

fn cut_short() -> Error {
    Error::new("the file is cut short")
}

fn wanted<'a>(tree: &'a Tree, names: &'a [String], length: u64) -> Result<Wanted<'a>> {
    let mut wanted = Wanted::new();
    let mut bytes = 0u64;
    for name in names {
        let leaf = tree.leaves.get(name).ok_or_else(|| Error::new(format!("tensor `{name}` is missing")))?;
        if tree.repeated.contains(name) {
            return Err(Error::new(format!("it contains tensor `{name}` more than once")));
        }
        bytes = bytes.saturating_add(leaf.view.bytes());
        wanted.entry(&leaf.view.storage).or_default().push((name, &leaf.view));
    }
    if bytes > length {
        return Err(Error::new("its tensors claim to have more values than the file"));
    }
    Ok(wanted)
}

fn read_zip<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    folder: &str,
    wanted: &Wanted,
    length: u64,
) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    let mut left = length;
    for (storage, views) in wanted {
        let bytes = entry(archive, &format!("{folder}data/{storage}"), left)?;
        left -= bytes.len() as u64;
        add(&mut tensors, views, &bytes)?;
    }
    Ok(tensors)
}

/// Reads an entry of at most `most` bytes: overlapping entries could otherwise multiply memory use.
fn entry<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, most: u64) -> Result<Vec<u8>> {
    let action = || format!("cannot read its entry `{name}`");
    let mut bytes = Vec::new();
    let entry = archive.by_name(name).context(action)?;
    entry.take(most.saturating_add(1)).read_to_end(&mut bytes).context(action)?;
    if bytes.len() as u64 > most {
        return Err(Error::new("its entries claim to be larger than the file"));
    }
    Ok(bytes)
}

/// Reads the first pickle of the old format, which holds the magic number, written in any protocol from 2 on.
fn check_magic(reader: &mut impl BufRead) -> Result<()> {
    let mut next = |count: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.take(count).read_to_end(&mut bytes).context(|| "cannot read it")?;
        Ok(bytes)
    };
    // PROTO; since protocol 4 FRAME with a length follows; then LONG1 with the number and STOP.
    let is_protocol = matches!(next(2)?[..], [0x80, 2..=5]);
    let mut number = next(2)?;
    if number.first() == Some(&0x95) {
        next(7)?;
        number = next(2)?;
    }
    if is_protocol && number == [0x8A, LEGACY_MAGIC.len() as u8] && next(10)? == LEGACY_MAGIC && next(1)? == b"." {
        return Ok(());
    }
    Err(Error::new("it is a pickle, but not one that PyTorch wrote")
        .with_hint("save the state dict with `torch.save(model.state_dict(), FILE)`"))
}

/// Goes through all storages in file order and skips those that were not requested.
fn read_legacy(
    reader: &mut impl BufRead,
    classes: &HashMap<String, Option<StorageClass>>,
    wanted: &Wanted,
) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    let pickle = Pickle::read(reader)?;
    let keys = pickle.items(pickle.root()).ok_or_else(|| Error::new("its list of storages is damaged"))?;
    for key in keys.iter().filter_map(|&key| pickle.text(key)) {
        let class = classes.get(key).ok_or_else(|| Error::new(format!("its storage `{key}` belongs to no tensor")))?;
        let class = class.ok_or_else(|| Error::new(format!("its storage `{key}` is of an unknown type")))?;
        let mut count = [0; 8];
        reader.read_exact(&mut count).map_err(|_| cut_short())?;
        let length = u64::from_le_bytes(count).saturating_mul(class.size as u64);
        let mut storage = reader.by_ref().take(length);
        let read = match wanted.get(key) {
            Some(views) => {
                let mut bytes = Vec::new();
                storage.read_to_end(&mut bytes).context(|| CANNOT_READ)?;
                if bytes.len() as u64 == length {
                    add(&mut tensors, views, &bytes)?;
                }
                bytes.len() as u64
            }
            None => io::copy(&mut storage, &mut io::sink()).context(|| CANNOT_READ)?,
        };
        if read != length {
            return Err(cut_short());
        }
    }
    Ok(tensors)
}

fn add(tensors: &mut Tensors, views: &[(&str, &View)], storage: &[u8]) -> Result<()> {
    for &(name, view) in views {
        let tensor = view.tensor(storage).context(|| format!("cannot read tensor `{name}`"))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::weights::{Array, read_tensors};

    const ZIP: &[u8] = include_bytes!("testdata/zip.pth");
    const NESTED: &[u8] = include_bytes!("testdata/nested.pth");
    const LEGACY: &[u8] = include_bytes!("testdata/legacy.pth");

    fn read(bytes: &[u8]) -> Result<Tensors> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read_tensors(file.path())
    }

    #[test]
    fn files_of_pytorch_are_read_with_the_values_that_python_wrote() {
        for bytes in [ZIP, NESTED, LEGACY] {
            let tensors = read(bytes).unwrap();
            let values = |name: &str| tensors[name].values();
            assert_eq!(tensors.len(), 6);
            assert_eq!(tensors["a.weight"], Array::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
            assert_eq!(tensors["a.transposed"], Array::new([3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]).unwrap());
            assert_eq!(values("a.part"), [4.0, 5.0, 6.0]);
            assert_eq!(values("a.half"), [0.5, -2.0]);
            assert_eq!(values("a.count"), [7.0]);
            assert_eq!(values("a.parameter"), [1.25]);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for bytes in [ZIP, NESTED, LEGACY] {
            for length in (0..bytes.len()).step_by(7) {
                assert!(read(&bytes[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_without_a_panic() {
        for bytes in [ZIP, NESTED, LEGACY] {
            for at in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0xFF;
                drop(read(&damaged));
            }
        }
    }

    #[test]
    fn the_old_format_is_read_in_every_pickle_protocol() {
        let magic = &LEGACY_START[2..];
        let rest = &LEGACY[LEGACY_START.len()..];
        for start in [&b"\x80\x03"[..], b"\x80\x04\x95\x0d\0\0\0\0\0\0\0"] {
            assert_eq!(read(&[start, magic, rest].concat()).unwrap().len(), 6);
        }
    }

    #[test]
    fn a_whole_module_and_a_foreign_pickle_say_how_to_save_the_weights() {
        let object = [LEGACY_START, b"\x80\x02K\x01.\x80\x02}.\x80\x02cmy.nets\nPainter\n)\x81."].concat();
        let error = read(&object).unwrap_err();
        assert!(
            error.to_string().ends_with("an object of the Python class `my.nets.Painter` instead of a state dict"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("state_dict()"));
        let error = read(b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s.").unwrap_err();
        assert!(error.to_string().ends_with("it is a pickle, but not one that PyTorch wrote"), "{error}");
    }

    const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
}
