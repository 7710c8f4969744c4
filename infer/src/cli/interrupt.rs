//! Ctrl-C ends the program at once, without leaving incomplete files. A server first finishes running requests, and a clip
//! ends after the current frame.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use impasto_files::discard_unfinished;

use super::talk;

/// The exit code after an interrupt, by the convention of shells: 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

type Stop = Box<dyn FnOnce() + Send>;

/// Called by the first interrupt instead of ending the process.
static DEFERRED: Mutex<Option<Stop>> = Mutex::new(None);
/// Whether an interrupt arrived while a [`Watch`] existed.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process at once and remove incomplete files.
///
/// For `main` only. If no handler can be installed, the system's default handler stays, which may leave a temporary file
/// behind.
pub fn exit_on_interrupt() {
    let installed = ctrlc::set_handler(|| {
        let deferred = deferred().take();
        if let Some(stop) = deferred {
            return stop();
        }
        let _nothing_new = discard_unfinished();
        process::exit(INTERRUPTED.into());
    });
    if let Err(error) = installed {
        talk::note(&format!("Ctrl-C may leave a temporary file behind: {error}"));
    }
}

/// Makes the next interrupt call `stop` instead. The one after it ends the process at once.
pub(super) fn defer(stop: impl FnOnce() + Send + 'static) {
    *deferred() = Some(Box::new(stop));
}

fn deferred() -> MutexGuard<'static, Option<Stop>> {
    DEFERRED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this exists, the first Ctrl-C only makes [`is_stopped`] true.
pub(super) struct Watch(());

impl Watch {
    /// Starts watching.
    pub(super) fn new() -> Self {
        defer(|| {
            STOPPED.store(true, Ordering::SeqCst);
            talk::note("stopping after this frame; press Ctrl-C again to stop immediately");
        });
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *deferred() = None;
    }
}

/// Whether Ctrl-C was pressed while a [`Watch`] existed.
pub(super) fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
