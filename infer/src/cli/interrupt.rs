//! Ctrl-C ends the program at once, but never in the middle of a file.

use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::talk;

/// Held while a file is written.
static WRITING: Mutex<()> = Mutex::new(());

/// The exit code of a process that an interrupt ended, by the shells' convention: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process as soon as no file is half written.
///
/// For `main` only. If a handler cannot be installed, the system's own stays, which may leave a hidden temporary file.
pub fn exit_on_interrupt() {
    let installed = ctrlc::set_handler(|| {
        let _whole_files_only = while_writing();
        process::exit(INTERRUPTED);
    });
    if let Err(error) = installed {
        talk::note(&format!("Ctrl-C may leave a temporary file: {error}"));
    }
}

/// Puts off an interrupt until the guard is dropped.
pub(super) fn while_writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}
