//! `.safetensors` files: a JSON header that describes the tensors, and their bytes.

use ::safetensors::SafeTensors;
use ::safetensors::tensor::Metadata;

use super::{Array, DAMAGED, Listed, Listing, Tensors, can_be_weights, to_f32, unique_keys};
use crate::{Error, Result, ResultExt};

/// Bytes before the header, which give its length.
const LENGTH: usize = 8;

/// A file whose header has been read.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    bytes: Vec<u8>,
    header: Metadata,
    /// Where the bytes of the tensors begin.
    start: usize,
}

impl SafetensorsFile {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// If the bytes are damaged or truncated, or the header contains a name twice.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self> {
        // This also checks that the tensors fill the file without overlap.
        let (length, header) = SafeTensors::read_metadata(&bytes).context(|| DAMAGED)?;
        let start = LENGTH + length;
        let text = std::str::from_utf8(&bytes[LENGTH..start]).context(|| DAMAGED)?;
        unique_keys::check(text).context(|| "its header is ambiguous")?;
        Ok(Self { bytes, header, start })
    }

    /// The tensors of the file.
    pub(super) fn listing(&self) -> Listing {
        let tensors = self.header.tensors().into_iter().map(|(name, info)| {
            (name, Listed { shape: info.shape.clone(), path: 0, readable: can_be_weights(info.dtype) })
        });
        tensors.collect()
    }

    /// The text under a key of the header.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Reads the tensors of these names.
    ///
    /// # Errors
    ///
    /// If a tensor is missing, or its type cannot hold weights.
    pub(super) fn read(&self, names: &[String]) -> Result<Tensors> {
        let array = |name: &String| {
            let info = self.header.info(name).ok_or_else(|| Error::new(format!("tensor `{name}` is missing")))?;
            let (from, to) = info.data_offsets;
            let bytes = self.bytes.get(self.start + from..self.start + to).ok_or_else(|| Error::new(DAMAGED))?;
            let values = to_f32(bytes, info.dtype);
            let values = values.ok_or_else(|| Error::new(format!("tensor `{name}` is of type {:?}", info.dtype)))?;
            Ok((name.clone(), Array::new(info.shape.as_slice(), values)?))
        };
        names.iter().map(array).collect()
    }
}
