//! Ctrl-C ends the program at once, but leaves no half file. What serves others may first finish what is under way.

use std::process;
use std::sync::{Mutex, PoisonError};

use common::files::discard_unfinished;

use super::talk;

/// The exit code of a process that an interrupt ended, by the shells' convention: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Called by the first interrupt instead of ending the process.
static DEFERRED: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process at once and take what is half written with it.
///
/// For `main` only. If a handler cannot be installed, the system's own stays, which may leave a hidden temporary file.
pub fn exit_on_interrupt() {
    let installed = ctrlc::set_handler(|| {
        let deferred = DEFERRED.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = deferred {
            return stop();
        }
        let _nothing_new = discard_unfinished();
        process::exit(INTERRUPTED);
    });
    if let Err(error) = installed {
        talk::note(&format!("Ctrl-C may leave a temporary file: {error}"));
    }
}

/// Has the next interrupt call `stop` instead; the one after it ends the process at once.
pub(super) fn defer(stop: impl FnOnce() + Send + 'static) {
    *DEFERRED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
}
