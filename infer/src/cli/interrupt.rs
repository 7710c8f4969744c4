//! Ctrl-C ends the program at once, but leaves no half file. What serves others may first finish what is under way, and a
//! clip that is being painted ends after the frame in hand.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use impasto_files::discard_unfinished;

use super::talk;

/// The exit code of a process that an interrupt ended, by the shells' convention: 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

type Stop = Box<dyn FnOnce() + Send>;

/// Called by the first interrupt instead of ending the process.
static DEFERRED: Mutex<Option<Stop>> = Mutex::new(None);
/// Whether an interrupt came while a [`Watch`] lived.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C (and SIGTERM, SIGHUP) end the process at once and take what is half written with it.
///
/// For `main` only. If a handler cannot be installed, the system's own stays, which may leave a hidden temporary file.
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
        talk::note(&format!("Ctrl-C may leave a temporary file: {error}"));
    }
}

/// Has the next interrupt call `stop` instead; the one after it ends the process at once.
pub(super) fn defer(stop: impl FnOnce() + Send + 'static) {
    *deferred() = Some(Box::new(stop));
}

fn deferred() -> MutexGuard<'static, Option<Stop>> {
    DEFERRED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this lives, the first Ctrl-C only makes [`is_stopped`] true.
pub(super) struct Watch(());

impl Watch {
    /// Begins to watch.
    pub(super) fn new() -> Self {
        defer(|| {
            STOPPED.store(true, Ordering::SeqCst);
            talk::note("stopping after this frame; once more ends at once");
        });
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *deferred() = None;
    }
}

/// Whether there was a Ctrl-C while a [`Watch`] lived.
pub(super) fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
