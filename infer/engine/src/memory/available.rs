//! How much memory this process can still get: the least of what the machine has, what the control groups allow (cgroups, the
//! limits of containers), and what the limits of the process allow (`ulimit -v` and `-d`).
//!
//! All of it is read from `/proc` and the cgroup file systems; see proc(5), cgroups(7), and the kernel's documents
//! `cgroup-v2.rst` and `cgroup-v1/memory.rst`. Systems without them report nothing.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use procfs_core::process::{LimitValue, Limits, MountInfo, Status};
use procfs_core::{FromRead, Meminfo, ProcessCGroups};

/// [`default_memory`] takes one part in this many of the available memory.
const SHARE: u64 = 2;

/// Default in bytes if the system does not report available memory.
const UNKNOWN: u64 = 2 << 30;

/// Bytes of address space that the stack of a thread takes, used or not.
const STACK: u64 = 2 << 20;

/// Bytes of address space that an arena of glibc's allocator takes, used or not.
const ARENA: u64 = 64 << 20;

/// The variable that limits the number of arenas, see mallopt(3). By default there may be one for each thread.
pub const ARENAS_VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Threads beside those that paint: they read and write files, and talk.
const OTHER_THREADS: u64 = 4;

/// Where address space is short, threads get no arena of their own once about this much is left.
const SHORT_SPACE: u64 = 64 << 20;

/// The default memory limit of painting, in bytes: half of what this process can still get.
///
/// The system is asked once, so that memory an engine keeps for the next picture does not count as used.
#[must_use]
pub fn default_memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| available(Path::new("/")).unwrap_or(UNKNOWN) / SHARE)
}

/// Whether the address space of this process is limited, as `ulimit -v` does.
#[must_use]
pub fn address_space_is_limited() -> bool {
    let limits = Limits::from_file("/proc/self/limits");
    limits.is_ok_and(|limits| matches!(limits.max_address_space.soft_limit, LimitValue::Value(_)))
}

/// Bytes that this process can still get, by the files below `root`.
fn available(root: &Path) -> Option<u64> {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64 + OTHER_THREADS;
    let arenas = env::var(ARENAS_VARIABLE).ok().and_then(|arenas| arenas.parse::<u64>().ok());
    let arenas = arenas.map_or(threads, |arenas| arenas.clamp(1, threads) - 1);
    let for_threads = threads * STACK + arenas * ARENA;
    [of_machine(root), of_process(root, for_threads), of_groups(root)].into_iter().flatten().min()
}

fn of_machine(root: &Path) -> Option<u64> {
    Meminfo::from_file(root.join("proc/meminfo")).ok()?.mem_available
}

/// What the limits of the process leave of its address space and its data, if threads still to come take `for_threads` bytes of
/// address space.
fn of_process(root: &Path, for_threads: u64) -> Option<u64> {
    let limits = Limits::from_file(root.join("proc/self/limits")).ok()?;
    // Without it the process counts as empty.
    let status = Status::from_file(root.join("proc/self/status")).ok();
    let used = |kibibytes: fn(&Status) -> Option<u64>| status.as_ref().and_then(kibibytes).unwrap_or(0) << 10;
    let left = |limit: LimitValue, used: u64| match limit {
        LimitValue::Unlimited => None,
        LimitValue::Value(bytes) => Some(bytes.saturating_sub(used)),
    };
    let space = left(limits.max_address_space.soft_limit, used(|status| status.vmsize))
        .map(|left| left.saturating_sub(for_threads).max(SHORT_SPACE.min(left / 4)));
    let data = left(limits.max_data_size.soft_limit, used(|status| status.vmdata));
    [space, data].into_iter().flatten().min()
}

/// The files of a control group in one version of the file system.
struct GroupFiles {
    limits: &'static [&'static str],
    usage: &'static str,
    /// The entry of `memory.stat` that counts cached files, which make room where memory is needed.
    cached: &'static str,
}

const VERSION_1: GroupFiles =
    GroupFiles { limits: &["memory.limit_in_bytes"], usage: "memory.usage_in_bytes", cached: "total_inactive_file" };
const VERSION_2: GroupFiles =
    GroupFiles { limits: &["memory.max", "memory.high"], usage: "memory.current", cached: "inactive_file" };

/// What the control groups of this process leave, in either version, where they are mounted.
fn of_groups(root: &Path) -> Option<u64> {
    let groups = ProcessCGroups::from_file(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let left = mounts.lines().filter_map(|line| MountInfo::from_line(line).ok()).filter_map(|mount| {
        let is_memory = |controllers: &[String]| controllers.iter().any(|name| name == "memory");
        let (files, group) = match mount.fs_type.as_str() {
            "cgroup" if mount.super_options.contains_key("memory") => {
                (VERSION_1, groups.0.iter().find(|group| is_memory(&group.controllers))?)
            }
            "cgroup2" => (VERSION_2, groups.0.iter().find(|group| group.hierarchy == 0)?),
            _ => return None,
        };
        let top = root.join(mount.mount_point.strip_prefix("/").ok()?);
        let below = below_mount(&group.pathname, &mount.root);
        // Every group above has a say too.
        let groups = below.ancestors().map(|below| top.join(below));
        groups.filter_map(|group| files.left(&group)).min()
    });
    left.min()
}

/// Where a group is below the mount point. In a container the part of the path outside it is not mounted, or is `/..`.
fn below_mount(group: &str, mounted: &str) -> PathBuf {
    let below = Path::new(group).strip_prefix(mounted).unwrap_or(Path::new(""));
    let below = below.strip_prefix("/").unwrap_or(below);
    let is_inside = below.components().all(|component| matches!(component, Component::Normal(_)));
    if is_inside { below.to_owned() } else { PathBuf::new() }
}

impl GroupFiles {
    /// Bytes that a group leaves; `None` without a limit.
    fn left(&self, group: &Path) -> Option<u64> {
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = self.limits.iter().filter_map(|name| number(name)).min()?;
        let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = statistics.lines().find_map(|line| line.strip_prefix(self.cached)?.trim().parse::<u64>().ok());
        let used = number(self.usage).unwrap_or(0).saturating_sub(cached.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1 << 20;

    /// A machine with 8 GiB available, and these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\nBuffers: 1 kB\nCached: 1 kB\n\
                       SwapCached: 0 kB\nActive: 1 kB\nInactive: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nDirty: 0 kB\n\
                       Writeback: 0 kB\nMapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\nVmallocTotal: 0 kB\n\
                       VmallocUsed: 0 kB\nVmallocChunk: 0 kB\n";
        for (name, text) in [("proc/meminfo", meminfo)].iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn mebibytes(files: &[(&str, &str)]) -> u64 {
        available(machine(files).path()).unwrap() / MEBIBYTE
    }

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn without_a_limit_it_is_what_the_machine_has() {
        assert_eq!(mebibytes(&[]), 8192);
        let none = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "1000000\n"),
        ];
        assert_eq!(mebibytes(&none), 8192);
        assert_eq!(available(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn a_containers_limit_counts_in_version_2() {
        let container = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "262144000\n"),
            ("sys/fs/cgroup/memory.current", "104857600\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\nactive_file 5\ninactive_file 52428800\n"),
        ];
        assert_eq!(mebibytes(&container), 200);
        // Outside the cgroup name space the path is that of the host.
        let outside = [&[("proc/self/cgroup", "0::/../../machine.slice/x\n")], &container[1..]].concat();
        assert_eq!(mebibytes(&outside), 200);
        let throttled = [&container[..], &[("sys/fs/cgroup/memory.high", "157286400\n")]].concat();
        assert_eq!(mebibytes(&throttled), 100);
    }

    #[test]
    fn the_tightest_of_the_groups_above_counts() {
        let group = "sys/fs/cgroup/user.slice/run-1.scope";
        let [max, current] = ["memory.max", "memory.current"].map(|name| format!("{group}/{name}"));
        let nested = [
            ("proc/self/cgroup", "0::/user.slice/run-1.scope\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            (&max, "314572800\n"),
            (&current, "0\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "max\n"),
        ];
        assert_eq!(mebibytes(&nested), 300);
        let above = [&nested[..4], &[("sys/fs/cgroup/user.slice/memory.max", "104857600\n")]].concat();
        assert_eq!(mebibytes(&above), 100);
    }

    #[test]
    fn a_containers_limit_counts_in_version_1() {
        let container = [
            ("proc/self/cgroup", "9:name=systemd:/x\n4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n0::/\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n\
                 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\nodd line\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "262144000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 52428800\n"),
        ];
        assert_eq!(mebibytes(&container), 200);
        let unlimited =
            [&container[..2], &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]].concat();
        assert_eq!(mebibytes(&unlimited), 8192);
    }

    #[test]
    fn the_limits_of_the_process_count() {
        let limits = |space: &str, data: &str| {
            let line = |name: &str, soft: &str| format!("{name:<26}{soft:<21}unlimited            bytes\n");
            let mut text = "Limit                     Soft Limit           Hard Limit           Units\n".to_owned();
            for name in [
                "cpu time",
                "file size",
                "stack size",
                "core file size",
                "resident set",
                "processes",
                "open files",
                "locked memory",
                "file locks",
                "pending signals",
                "msgqueue size",
                "realtime timeout",
            ] {
                text += &line(&format!("Max {name}"), "unlimited");
            }
            text += &(line("Max data size", data) + &line("Max address space", space));
            text + "Max nice priority         0                    0\nMax realtime priority     0                    0\n"
        };
        let of = |space: &str, data: &str, for_threads: u64| {
            let root = machine(&[("proc/self/limits", &limits(space, data))]);
            of_process(root.path(), for_threads * MEBIBYTE).map(|bytes| bytes / MEBIBYTE)
        };
        assert_eq!(of("unlimited", "unlimited", 2), None);
        assert_eq!(of("unlimited", "104857600", 2), Some(100));
        assert_eq!(of("1048576000", "unlimited", 2), Some(998));
        assert_eq!(of("1048576000", "unlimited", 2000), Some(64), "threads leave some space");
        assert_eq!(of("104857600", "unlimited", 2000), Some(25));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_reports_something_and_its_own_files_can_be_read() {
        assert!(available(Path::new("/")).is_some_and(|bytes| bytes > MEBIBYTE));
        assert!(Status::from_file("/proc/self/status").is_ok_and(|status| status.vmsize.is_some()));
        assert!(Limits::from_file("/proc/self/limits").is_ok());
    }
}
