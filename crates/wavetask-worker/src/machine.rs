//! What the operating system says about memory: parsed from its text files by functions that tests can feed.

use std::path::Path;

/// Bytes of a `kB` field of `/proc/meminfo`.
fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A counter of `/proc/vmstat` or of a control group's `memory.events`.
fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Second field of `/proc/<pid>/statm`, in bytes.
fn resident_bytes_of(text: &str, page_bytes: u64) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page_bytes)
}

/// The smallest memory limit on the path of control groups that `/proc/self/cgroup` names, in bytes.
fn control_group_limit(own_groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let mut smallest: Option<u64> = None;
    for line in own_groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (base, file) = if hierarchy == "0" {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut folder = base.join(path.trim_start_matches('/'));
        loop {
            if let Some(limit) = read(&folder.join(file)).and_then(|text| text.trim().parse::<u64>().ok()) {
                smallest = Some(smallest.map_or(limit, |known| known.min(limit)));
            }
            if folder == base || !folder.pop() {
                break;
            }
        }
    }
    smallest
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Memory of this machine, or of the container it looks like, in bytes.
pub fn total_memory_bytes() -> Option<u64> {
    let total = meminfo_bytes(&read(Path::new("/proc/meminfo"))?, "MemTotal")?;
    let limit = read(Path::new("/proc/self/cgroup")).and_then(|groups| control_group_limit(&groups, read));
    Some(limit.map_or(total, |limit| limit.min(total)))
}

/// Memory that could be used now without swapping, in bytes.
pub fn available_memory_bytes() -> Option<u64> {
    meminfo_bytes(&read(Path::new("/proc/meminfo"))?, "MemAvailable")
}

/// Memory that solvers may use unless told otherwise: four fifths of the machine's, in bytes.
pub fn default_memory_bytes() -> u64 {
    const FALLBACK: u64 = 4 << 30;
    total_memory_bytes().map_or(FALLBACK, |total| total / 5 * 4)
}

/// Processor cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory that a process has now, in bytes.
pub fn resident_bytes(process: u32) -> Option<u64> {
    // SAFETY: sysconf has no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    resident_bytes_of(&read(Path::new(&format!("/proc/{process}/statm")))?, page)
}

/// How many processes the kernel has killed for want of memory since it started.
pub fn out_of_memory_kills() -> u64 {
    read(Path::new("/proc/vmstat")).and_then(|text| counter(&text, "oom_kill")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:       24576000 kB\nMemAvailable:    1024 kB\nMemAvailableX: 7 kB\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(1 << 20));
        assert_eq!(meminfo_bytes(text, "Mem"), None);
        assert_eq!(counter("oom_kill_disable 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(resident_bytes_of("100 25 3 1 0 9 0\n", 4096), Some(25 * 4096));
        assert_eq!(resident_bytes_of("", 4096), None);
    }

    #[test]
    fn the_smallest_limit_on_the_path_of_groups_counts() {
        let files = |path: &Path| {
            match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => Some("max\n"),
                "/sys/fs/cgroup/a/memory.max" => Some("5000\n"),
                "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes" => Some("3000\n"),
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => Some("9223372036854771712\n"),
                _ => None,
            }
            .map(str::to_owned)
        };
        assert_eq!(control_group_limit("0::/a/b\n", files), Some(5000));
        assert_eq!(control_group_limit("7:cpu:/q\n4:memory,x:/docker/x\n0::/\n", files), Some(3000));
        assert_eq!(control_group_limit("nonsense\n\n", files), None);
    }

    #[test]
    fn this_machine_answers() {
        assert!(total_memory_bytes().unwrap() > 1 << 26);
        assert!(available_memory_bytes().unwrap() > 0);
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 16);
        assert!(cores() >= 1);
    }
}
