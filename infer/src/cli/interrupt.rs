//! Ctrl-C ends the program at once, but leaves no half file; a clip that is being painted it ends after the frame in hand.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use common::files::discard_unfinished;

use super::talk;

/// The exit code of a process that an interrupt ended, by the shells' convention: 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// Whether someone looks at [`is_stopped`].
static WATCHED: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process at once and take what is half written with it.
///
/// For `main` only. If a handler cannot be installed, the system's own stays, which may leave a hidden temporary file.
pub fn exit_on_interrupt() {
    let installed = ctrlc::set_handler(|| {
        if WATCHED.load(Ordering::SeqCst) && !STOPPED.swap(true, Ordering::SeqCst) {
            talk::note("stopping after this frame; once more ends at once");
            return;
        }
        let _nothing_new = discard_unfinished();
        process::exit(INTERRUPTED.into());
    });
    if let Err(error) = installed {
        talk::note(&format!("Ctrl-C may leave a temporary file: {error}"));
    }
}

/// As long as this lives, the first Ctrl-C only makes [`is_stopped`] true.
pub(super) struct Watch(());

impl Watch {
    /// Begins to watch.
    pub(super) fn new() -> Self {
        WATCHED.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.store(false, Ordering::SeqCst);
    }
}

/// Whether there was a Ctrl-C while a [`Watch`] lived.
pub(super) fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
