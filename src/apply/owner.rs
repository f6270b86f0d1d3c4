//! Which process wrote an intent, and whether it still lives.

use crate::engine::docker::start_time;
use crate::model::Owner;

/// This process. Where there is no `/proc` the boot id and the start time are empty, and a pid
/// alone then tells processes apart.
#[must_use]
pub fn current() -> Owner {
    let pid = std::process::id();
    Owner {
        boot_id: boot_id(),
        pid,
        pid_started: start_time(pid).unwrap_or(0),
    }
}

/// This boot of the machine; empty where the system does not say.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Whether the process that wrote an intent still runs, so that its start request may be under way.
#[must_use]
pub fn is_alive(owner: &Owner) -> bool {
    owner.boot_id == boot_id() && start_time(owner.pid) == Some(owner.pid_started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_with_the_same_pid_is_somebody_else() {
        let me = current();
        assert!(is_alive(&me));
        assert!(!is_alive(&Owner {
            pid_started: me.pid_started + 1,
            ..me.clone()
        }));
        assert!(!is_alive(&Owner {
            boot_id: "another boot".into(),
            ..me
        }));
    }
}
