//! The peak memory of this process. Known on Linux only.

use std::fs;

/// The peak resident memory in bytes since the process started or [`reset_peak_memory`] was called.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Resets the peak to the present memory. False where that is not possible.
#[must_use]
pub fn reset_peak_memory() -> bool {
    // `man 5 proc_pid_clear_refs`: 5, since Linux 4.0, sets the peak to the present resident memory.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes_and_other_text_is_ignored() {
        assert_eq!(parse("Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t 3 kB\n"), Some(12 * 1024));
        assert_eq!(parse("VmHWM:\t 12 MB\n"), None);
        assert_eq!(parse("VmRSS:\t 12 kB\n"), None);
    }
}
