//! Where an engine is known to differ from Docker, as far as it matters to a schedule: measured, for
//! `doctor` and the documentation. Pure.

use super::EngineKind;

/// One way in which an engine differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// What it does.
    pub what: &'static str,
    /// What that means for jobs, or what to do about it.
    pub so: &'static str,
}

/// Podman 4.3, the one of Debian 12, over its Docker API.
const PODMAN: [Difference; 8] = [
    Difference {
        what: "the log driver `local` is refused, and wrong options of a log driver are ignored",
        so: "leave `logging` out, or name `json-file`, `journald` or `none`",
    },
    Difference {
        what: "`gpus`, `runtime` and volume drivers are ignored in silence",
        so: "jobs that need them belong on Docker",
    },
    Difference {
        what: "a missing network fails when the container is made, and not when it starts",
        so: "it is told when the job is armed, as elsewhere",
    },
    Difference {
        what: "there is no update of a container before Podman 5, so no mark before a start",
        so: "after a crash, events that outlive its service tell whether a container ran",
    },
    Difference {
        what: "log times are whole seconds",
        so: "`logs --since` and `--until` are as coarse",
    },
    Difference {
        what: "`podman rmi -f` removes armed containers with their image",
        so: "they are made again; a slot that is due meanwhile is late or missed",
    },
    Difference {
        what: "a look for a program in an image takes some 50 ms for each folder of its PATH",
        so: "a job that runs every few seconds may be armed late: name programs by their whole path",
    },
    Difference {
        what: "the service ends when nobody asks it anything, unless it is started with `--time 0`",
        so: "enable `podman.socket`, which starts it again",
    },
];

/// The known differences of a kind of engine; none where it is what this program was made for.
#[must_use]
pub fn differences(kind: EngineKind) -> &'static [Difference] {
    match kind {
        EngineKind::Podman => &PODMAN,
        EngineKind::Docker | EngineKind::Swarm | EngineKind::Simulated => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_all_of_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/podman.md");
        let text = std::fs::read_to_string(path).unwrap();
        for Difference { what, so } in differences(EngineKind::Podman) {
            let row = format!("| {what} | {so} |");
            assert!(text.contains(&row), "{path} lacks the row\n{row}");
        }
    }
}
