//! What a target does once, before its first input.

use std::panic;

/// Where cargo keeps the sources of other projects' crates.
const FOREIGN: &str = "/registry/src/";

/// Lets panics of other projects' decoders unwind, because our code catches them and reports the file as damaged. A panic in
/// our own code, or one that nothing catches, still ends the run. With `FUZZ_SHOW_PANICS` set, every panic is printed.
///
/// Loops over rows run on the thread that calls them: handing a tiny picture to another thread takes longer than reading it.
pub fn start() {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("no pool was built before");
    let show = std::env::var_os("FUZZ_SHOW_PANICS").is_some();
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_foreign = info.location().is_some_and(|location| location.file().contains(FOREIGN));
        if !is_foreign {
            abort(info);
        } else if show {
            eprintln!("{info}");
        }
    }));
}
