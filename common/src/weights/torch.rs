//! State dicts saved by `torch.save`: the zip format of PyTorch 1.6 and later, and the one before it.
//!
//! The layout is that of `torch/serialization.py`: a pickle describes the tensors and refers to storages, which lie in
//! zip entries of their own, or one after the other behind the pickles.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use safetensors::Dtype;
use zip::ZipArchive;

use super::Array;
use super::pickle::{Id, Pickle, Value};
use crate::{Error, Result, ResultExt};

/// Keys under which training programs store the weights among other things, in the order tried.
const NESTED_KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "network", "params_ema", "params"];

/// What the first pickle of a file in the old format holds: 0x1950a86a20f9469cfc6c, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];

/// Where a tensor lies in its storage.
#[derive(Debug)]
struct View {
    storage: String,
    dtype: Dtype,
    /// Elements before the first, elements along each axis, elements from one to the next.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Reads the zip format.
///
/// # Errors
///
/// If the archive is damaged or cut short, or holds no state dict.
pub(super) fn read_zip(file: File) -> Result<Vec<(String, Array)>> {
    let mut archive = ZipArchive::new(BufReader::new(file)).context(|| super::DAMAGED)?;
    let names: Vec<_> = archive.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
    let pickle = names.iter().find(|name| name.ends_with("data.pkl"));
    let pickle = pickle.ok_or_else(|| Error::new("it is a zip file, but not one that PyTorch wrote"))?;
    let folder = pickle.trim_end_matches("data.pkl");
    if entry(&mut archive, &format!("{folder}byteorder")).is_ok_and(|order| order == b"big") {
        return Err(Error::new("it was written on a big-endian machine"));
    }
    let views = find_views(&Pickle::read(&mut entry(&mut archive, pickle)?.as_slice())?)?;
    views
        .into_iter()
        .map(|(name, view)| {
            let bytes = entry(&mut archive, &format!("{folder}data/{}", view.storage))?;
            let tensor = view.tensor(&bytes).context(|| format!("cannot read tensor `{name}`"))?;
            Ok((name, tensor))
        })
        .collect()
}

fn entry(archive: &mut ZipArchive<BufReader<File>>, name: &str) -> Result<Vec<u8>> {
    let action = || format!("cannot read its entry `{name}`");
    let mut bytes = Vec::new();
    // PyTorch does not compress, and this program is built without decompression: no entry is larger than the file.
    archive.by_name(name).context(action)?.read_to_end(&mut bytes).context(action)?;
    Ok(bytes)
}

/// Reads the format from before PyTorch 1.6, in which torchvision's first VGG files still are.
///
/// # Errors
///
/// If the file is damaged or cut short, or holds no state dict.
pub(super) fn read_legacy(file: File) -> Result<Vec<(String, Array)>> {
    let mut reader = BufReader::new(file);
    check_magic(&mut reader)?;
    for _protocol_and_machine in 0..2 {
        Pickle::read(&mut reader)?;
    }
    let views = find_views(&Pickle::read(&mut reader)?)?;
    let storages = read_storages(&mut reader, &views)?;
    views
        .into_iter()
        .map(|(name, view)| {
            let bytes =
                storages.get(&view.storage).ok_or_else(|| Error::new(format!("tensor `{name}` has no data")))?;
            let tensor = view.tensor(bytes).context(|| format!("cannot read tensor `{name}`"))?;
            Ok((name, tensor))
        })
        .collect()
}

fn check_magic(reader: &mut impl BufRead) -> Result<()> {
    let mut start = [0; 15];
    let expected: Vec<u8> = [&[0x80, 2, 0x8A, 10], &LEGACY_MAGIC[..], b"."].concat();
    reader.read_exact(&mut start).ok().filter(|()| start[..] == expected[..]).ok_or_else(|| {
        Error::new("it is a pickle, but not one that PyTorch wrote")
            .with_hint("save the state dict with `torch.save(model.state_dict(), FILE)`")
    })
}

/// The storages by key: a list of keys, then for each its number of elements and its bytes.
fn read_storages(reader: &mut impl BufRead, views: &[(String, View)]) -> Result<HashMap<String, Vec<u8>>> {
    let cut_short = || Error::new("the file is cut short");
    let sizes: HashMap<_, _> = views.iter().map(|(_, view)| (view.storage.as_str(), size_of(view.dtype))).collect();
    let pickle = Pickle::read(reader)?;
    let keys = pickle.items(pickle.root()).ok_or_else(|| Error::new("its list of storages is damaged"))?;
    let mut storages = HashMap::new();
    for key in keys.iter().filter_map(|&key| pickle.text(key)) {
        let Some(size) = sizes.get(key) else {
            return Err(Error::new(format!("its storage `{key}` belongs to no tensor")));
        };
        let mut count = [0; 8];
        reader.read_exact(&mut count).map_err(|_| cut_short())?;
        let length = u64::from_le_bytes(count).saturating_mul(*size as u64);
        let mut bytes = Vec::new();
        reader.take(length).read_to_end(&mut bytes).context(|| "cannot read the weights")?;
        if bytes.len() as u64 != length {
            return Err(cut_short());
        }
        storages.insert(key.to_owned(), bytes);
    }
    Ok(storages)
}

/// The tensors of the state dict in a pickle: at the top, or under one of the usual keys.
fn find_views(pickle: &Pickle) -> Result<Vec<(String, View)>> {
    let Value::Dict(items) = pickle.get(pickle.root()) else {
        return Err(not_a_dict(pickle));
    };
    let nested = NESTED_KEYS.iter().find_map(|&wanted| {
        let (_, value) = items.iter().find(|&&(key, _)| pickle.text(key) == Some(wanted))?;
        match pickle.get(*value) {
            Value::Dict(items) => Some(items),
            _ => None,
        }
    });
    let mut views = Vec::new();
    for &(key, value) in nested.unwrap_or(items) {
        if let (Some(name), Some(view)) = (pickle.text(key), View::find(pickle, value)) {
            views.push((name.to_owned(), view?));
        }
    }
    if views.is_empty() {
        let keys: BTreeSet<_> = items.iter().filter_map(|&(key, _)| pickle.text(key)).take(8).collect();
        return Err(Error::new(format!("it holds no tensors; its keys are {keys:?}")));
    }
    Ok(views)
}

fn not_a_dict(pickle: &Pickle) -> Error {
    let class = match pickle.get(pickle.root()) {
        Value::Call(callable, _) => match pickle.get(*callable) {
            Value::Global(module, name) => format!("an object of the Python class `{module}.{name}`"),
            _ => "a Python object".into(),
        },
        _ => "a Python object".into(),
    };
    Error::new(format!("it holds {class}, not a state dict"))
        .with_hint("save the weights alone: `torch.save(model.state_dict(), FILE)`")
}

impl View {
    /// The tensor that a value describes; `None` if it describes something else.
    fn find(pickle: &Pickle, value: Id) -> Option<Result<Self>> {
        let Value::Call(callable, arguments) = *pickle.get(value) else { return None };
        let Value::Global(module, name) = pickle.get(callable) else { return None };
        let arguments = pickle.items(arguments)?;
        match (module.as_str(), name.as_str()) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::new(pickle, arguments)),
            // A parameter around a tensor; never around another parameter, so this ends.
            ("torch._utils", "_rebuild_parameter") => Self::find_plain(pickle, *arguments.first()?),
            _ => None,
        }
    }

    fn find_plain(pickle: &Pickle, value: Id) -> Option<Result<Self>> {
        let Value::Call(_, arguments) = *pickle.get(value) else { return None };
        Some(Self::new(pickle, pickle.items(arguments)?))
    }

    /// From `(("storage", class, key, device, elements, ..), offset, shape, strides, ..)`.
    fn new(pickle: &Pickle, arguments: &[Id]) -> Result<Self> {
        let damaged = || Error::new("its description of a tensor is damaged");
        let [storage, offset, shape, strides, ..] = *arguments else { return Err(damaged()) };
        let Value::Persistent(storage) = *pickle.get(storage) else { return Err(damaged()) };
        let [_, class, key, ..] = *pickle.items(storage).unwrap_or_default() else { return Err(damaged()) };
        let Value::Global(_, class) = pickle.get(class) else { return Err(damaged()) };
        let sizes = |id: Id| pickle.items(id)?.iter().map(|&size| pickle.size(size)).collect::<Option<Vec<_>>>();
        let view = Self {
            storage: pickle.text(key).ok_or_else(damaged)?.to_owned(),
            dtype: dtype_of(class)?,
            offset: pickle.size(offset).ok_or_else(damaged)?,
            shape: sizes(shape).ok_or_else(damaged)?,
            strides: sizes(strides).ok_or_else(damaged)?,
        };
        if view.shape.len() == view.strides.len() { Ok(view) } else { Err(damaged()) }
    }

    /// Copies the tensor out of the bytes of its storage.
    fn tensor(&self, storage: &[u8]) -> Result<Array> {
        let size = size_of(self.dtype);
        let available = storage.len() / size;
        let outside = || Error::new(format!("{:?} values do not fit its {available}", self.shape));
        let count = self.shape.iter().try_fold(1, |count: usize, &axis| count.checked_mul(axis)).ok_or_else(outside)?;
        // More values than are stored would mean repeated values, which weights never have.
        let end = self.end().ok_or_else(outside)?;
        if count > available || (count > 0 && end > available) {
            return Err(outside());
        }
        if count == 0 {
            return Array::new(self.shape.as_slice(), Vec::new());
        }
        if self.is_contiguous() {
            let bytes = &storage[self.offset * size..(self.offset + count) * size];
            return self.array(bytes);
        }
        let mut bytes = Vec::with_capacity(count * size);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let at = self.offset + index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum::<usize>();
            bytes.extend_from_slice(&storage[at * size..(at + 1) * size]);
            for (index, &axis) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < axis {
                    break;
                }
                *index = 0;
            }
        }
        self.array(&bytes)
    }

    fn array(&self, bytes: &[u8]) -> Result<Array> {
        let values = super::to_f32(bytes, self.dtype).ok_or_else(|| Error::new("its type is not one of weights"))?;
        Array::new(self.shape.as_slice(), values)
    }

    /// Whether the values lie one after the other in the order of the axes.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&axis, &stride)| {
            let fits = axis == 1 || stride == expected;
            expected = expected.saturating_mul(axis);
            fits
        })
    }

    /// One past the last element, unless it overflows.
    fn end(&self) -> Option<usize> {
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (&axis, &stride)| {
            axis.saturating_sub(1).checked_mul(stride).and_then(|step| last.checked_add(step))
        });
        last?.checked_add(1)
    }
}

/// Bytes of a number.
fn size_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

fn dtype_of(class: &str) -> Result<Dtype> {
    match class {
        "FloatStorage" => Ok(Dtype::F32),
        "DoubleStorage" => Ok(Dtype::F64),
        "HalfStorage" => Ok(Dtype::F16),
        "BFloat16Storage" => Ok(Dtype::BF16),
        "ByteStorage" | "BoolStorage" => Ok(Dtype::U8),
        "LongStorage" => Ok(Dtype::I64),
        other => Err(Error::new(format!("it holds a tensor of the unknown type `{other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::weights::{Tensors, read_tensors};

    const ZIP: &[u8] = include_bytes!("testdata/zip.pth");
    const NESTED: &[u8] = include_bytes!("testdata/nested.pth");
    const LEGACY: &[u8] = include_bytes!("testdata/legacy.pth");

    fn read(bytes: &[u8]) -> Result<Tensors> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read_tensors(file.path())
    }

    #[test]
    fn files_of_pytorch_hold_what_python_put_there() {
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
    fn values_outside_the_storage_are_refused() {
        let view = |offset, shape: &[usize], strides: &[usize]| {
            let (shape, strides) = (shape.to_vec(), strides.to_vec());
            View { storage: "0".into(), dtype: Dtype::F32, offset, shape, strides }.tensor(&[0; 16])
        };
        assert!(view(0, &[2, 2], &[2, 1]).is_ok());
        assert!(view(1, &[2, 2], &[2, 1]).is_err());
        assert!(view(0, &[2], &[4]).is_err());
        assert!(view(0, &[usize::MAX, usize::MAX], &[0, 0]).is_err());
        assert!(view(usize::MAX, &[2], &[usize::MAX]).is_err());
        assert!(view(0, &[1 << 40], &[0]).is_err());
        assert_eq!(view(0, &[0, 7], &[1, 1]).unwrap().values().len(), 0);
    }

    #[test]
    fn a_whole_module_and_a_foreign_pickle_say_how_to_save_the_weights() {
        let object = [LEGACY_START, b"\x80\x02K\x01.\x80\x02}.\x80\x02cmy.nets\nPainter\n)\x81."].concat();
        let error = read(&object).unwrap_err();
        assert!(
            error.to_string().ends_with("an object of the Python class `my.nets.Painter`, not a state dict"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("state_dict()"));
        let error = read(b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s.").unwrap_err();
        assert!(error.to_string().ends_with("it is a pickle, but not one that PyTorch wrote"), "{error}");
    }

    const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
}
