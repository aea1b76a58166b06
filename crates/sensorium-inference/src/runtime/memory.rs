//! Whether a model's weights fit into the memory that is there.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::error::{Error, Kind, Result};

/// Refuses files of so many `bytes`, those of `what`, where they are more than the memory that nobody uses: the machine would do nothing but swap, or end
/// the process.
///
/// # Errors
/// [`Kind::Limit`] with both numbers.
pub(crate) fn check_room(what: &str, bytes: u64) -> Result<()> {
    let memory = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    // What a container may take beside what it has; files that are only kept in memory give way. Weights may take more than their files.
    let own = memory.cgroup_limits().filter(|limits| limits.total_memory > 0);
    let own = own.map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
    check(what, bytes, memory.available_memory().min(own))
}

fn check(what: &str, bytes: u64, free: u64) -> Result<()> {
    // Zero where the system does not say.
    if free == 0 || bytes <= free {
        return Ok(());
    }
    Err(Error::new(Kind::Limit, format!("{what} takes {bytes} bytes, and {free} bytes of memory are free"))
        .with_hint("export it as fp16, int8 or int4, run it on a GPU, or behind an endpoint"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_larger_than_memory_are_refused_with_the_number() {
        let error = check("llama", 70_000_000_000, 20_000_000_000).expect_err("refused");
        assert_eq!(error.to_string(), "llama takes 70000000000 bytes, and 20000000000 bytes of memory are free");
        assert!(check("a", 1, 1).is_ok() && check("a", 1, 0).is_ok());
        assert!(check_room("a", 1).is_ok() && check_room("a", u64::MAX).is_err());
    }
}
