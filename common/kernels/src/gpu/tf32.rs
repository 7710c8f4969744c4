//! Whether products of f32 may use TF32. One switch for the process, which both cuDNN and cuBLAS follow.

use std::sync::atomic::{AtomicBool, Ordering};

/// Off unless [`allow_tf32`] was called.
static TF32: AtomicBool = AtomicBool::new(false);

/// Lets convolutions and matrix products of f32 round their factors to TF32 (10 bits of fraction) for tensor cores, from now
/// on and in the whole process. Sums stay f32. Off by default.
pub fn allow_tf32(allowed: bool) {
    TF32.store(allowed, Ordering::Relaxed);
}

/// Whether [`allow_tf32`] is on.
pub(super) fn is_tf32_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}
