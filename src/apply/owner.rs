//! Which process wrote an intent, and whether it still lives.

use crate::model::Owner;

/// This process. Where there is no `/proc` the boot id and the start time are empty, and a pid
/// alone then tells processes apart.
#[must_use]
pub fn current() -> Owner {
    let pid = std::process::id();
    Owner {
        boot_id: boot_id(),
        pid,
        pid_started: started(pid).unwrap_or(0),
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
    owner.boot_id == boot_id() && started(owner.pid) == Some(owner.pid_started)
}

/// Clock ticks since boot at which a process started (proc_pid_stat(5), field 22).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold blanks and parentheses itself: count from its end.
    let after_command = &stat[stat.rfind(')')? + 1..];
    after_command.split_whitespace().nth(19)?.parse().ok()
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
