//! Ctrl-C ends the program at once, but leaves no half file.

use std::process;

use common::files::discard_unfinished;

use super::talk;

/// The exit code of a process that an interrupt ended, by the shells' convention: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process at once and take what is half written with it.
///
/// For `main` only. If a handler cannot be installed, the system's own stays, which may leave a hidden temporary file.
pub fn exit_on_interrupt() {
    let installed = ctrlc::set_handler(|| {
        let _nothing_new = discard_unfinished();
        process::exit(INTERRUPTED);
    });
    if let Err(error) = installed {
        talk::note(&format!("Ctrl-C may leave a temporary file: {error}"));
    }
}
