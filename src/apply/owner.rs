//! Which process wrote an intent, and whether it still lives.

use crate::model::Owner;
use crate::os;

pub use crate::os::boot_id;

/// This process. Where there is no `/proc` the boot id and the start time are empty, and a pid
/// alone then tells processes apart.
#[must_use]
pub fn current() -> Owner {
    let pid = std::process::id();
    Owner {
        boot_id: boot_id(),
        pid,
        pid_started: os::process_started(pid).unwrap_or(0),
    }
}

/// Whether the process that wrote an intent still runs, so that its start request may be under way.
#[must_use]
pub fn is_alive(owner: &Owner) -> bool {
    owner.boot_id == boot_id() && os::process_started(owner.pid) == Some(owner.pid_started)
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
