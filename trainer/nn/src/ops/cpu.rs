//! Helpers for the CPU side of the ops: storage and layout to a plain slice.

use candle_core::{CpuStorage, Layout, Result, Tensor, bail};

/// The elements of a contiguous f32 argument of `op`.
pub(super) fn values<'a>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("{op} needs contiguous arguments"),
    }
}

/// `value` if the op's gradient with respect to `argument` is needed.
pub(super) fn if_tracked(argument: &Tensor, value: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    argument.track_op().then(value).transpose()
}
