//! Buffers that a thread reuses from one task to the next. New ones would be zeroed, and their pages faulted in, each time.

use std::cell::Cell;

/// Floats of a cache line. Rows that begin on one are loaded without crossing another.
pub(super) const LINE: usize = 16;

thread_local! {
    /// As many as were ever in use at once; the last one returned is the first one taken.
    static KEPT: Cell<Vec<Vec<f32>>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` on `len` floats with unspecified values, aligned to a cache line.
pub(super) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut kept = KEPT.take();
    let mut buffer = kept.pop().unwrap_or_default();
    KEPT.set(kept);
    if buffer.len() < len + LINE {
        // Not `resize`, which would copy the old contents needlessly.
        buffer = vec![0.0; len + LINE];
    }
    let start = buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let result = work(&mut buffer[start..start + len]);
    let mut kept = KEPT.take();
    kept.push(buffer);
    KEPT.set(kept);
    result
}
