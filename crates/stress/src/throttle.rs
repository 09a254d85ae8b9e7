//! Whether a quota of processor time holds this process back: containers get theirs from control groups, and an idle host
//! says nothing of it. Linux only, version 2 of control groups.

use std::fs;
use std::path::Path;

/// Microseconds that the process's control groups were held back, the groups above it included; nothing without a quota.
pub(crate) fn throttled_us() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own_group(&groups)?;
    let of_group = |group: &Path| {
        let folder = Path::new("/sys/fs/cgroup").join(group.strip_prefix("/").unwrap_or(group));
        throttled(&fs::read_to_string(folder.join("cpu.stat")).ok()?)
    };
    own.ancestors().filter_map(of_group).reduce(u64::saturating_add)
}

/// The path in the line of version 2, `0::/a/b`.
fn own_group(groups: &str) -> Option<&Path> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(Path::new)
}

/// A group that never had a quota has no periods.
fn throttled(stat: &str) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    number("nr_periods").filter(|periods| *periods > 0)?;
    number("throttled_usec")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_and_its_time_read() {
        let groups = "5:cpu:/old\n0::/user.slice/run-7.scope\n";
        assert_eq!(own_group(groups), Some(Path::new("/user.slice/run-7.scope")));
        assert_eq!(own_group("5:cpu:/old\n"), None);
        let stat = "usage_usec 900\nnr_periods 12\nnr_throttled 3\nthrottled_usec 45000\n";
        assert_eq!(throttled(stat), Some(45_000));
        assert_eq!(throttled(&stat.replace("periods 12", "periods 0")), None, "no quota");
        assert_eq!(throttled("usage_usec 900\n"), None, "the root has none");
    }
}
