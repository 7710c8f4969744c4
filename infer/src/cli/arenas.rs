//! Makes all threads share one arena of the allocator where address space is limited, as by `ulimit -v`.
//!
//! glibc gives each thread an arena that takes 64 MiB of address space, used or not. A few threads take all of a small limit.

/// Starts the program again with one arena, if address space is limited and nobody chose another number: glibc reads the
/// number only when a program starts. Elsewhere it does nothing.
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    start_again();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn start_again() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use impasto_engine::{ARENAS_VARIABLE, address_space_is_limited};

    if env::var_os(ARENAS_VARIABLE).is_some() || !address_space_is_limited() {
        return;
    }
    let mut words = env::args_os();
    if let (Ok(program), Some(name)) = (env::current_exe(), words.next()) {
        // It returns only if it fails. Then there are several arenas, and less memory is left.
        let _ = Command::new(program).arg0(name).args(words).env(ARENAS_VARIABLE, "1").exec();
    }
}
