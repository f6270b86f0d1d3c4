//! A run's name as Swarm takes it: `shop--backup--20261123T013000Z`.
//!
//! A service's name is a DNS label of at most 63 characters, without dots, and no two of them differ in
//! case alone. It is the lock among schedulers, so it is a function of the run's name and of nothing else,
//! and no two runs share one: what cannot be written plainly keeps a readable head and ends in a hash of
//! the whole.

use sha2::{Digest, Sha256};

use crate::model::ContainerName;

/// Longer names are refused.
const LONGEST: usize = 63;

/// Stands for the dot between the parts of a run's name.
const SEPARATOR: &str = "--";

/// Hexadecimal digits of the hash: 80 bits.
const HASH_DIGITS: usize = 20;

/// The service that carries out that run.
#[must_use]
pub fn service_name(run: &ContainerName) -> String {
    let parts: Vec<&str> = run.as_str().split('.').collect();
    let plain = parts.join(SEPARATOR);
    if plain.len() <= LONGEST && parts.iter().all(|part| is_plain(part)) {
        return plain;
    }
    let hash = hex::encode(Sha256::digest(run.as_str().as_bytes()));
    let tail = format!("--h{}", &hash[..HASH_DIGITS]);
    let head: String = plain.chars().take(LONGEST - tail.len()).collect();
    format!("{}{tail}", head.trim_end_matches(['-', '_']))
}

/// Whether a part can be told apart again, also where case does not count.
fn is_plain(part: &str) -> bool {
    let is_slot = part.len() == 16 && part.ends_with('Z') && part.as_bytes().get(8) == Some(&b'T');
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).count();
    let ends_well = part.ends_with(|c: char| c.is_ascii_alphanumeric());
    let lower = (is_slot && digits(part) == 14) || !part.chars().any(|c| c.is_ascii_uppercase());
    ends_well && lower && !part.contains(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Instance, JobName, Slot};

    fn of(instance: &str, job: &str, attempt: u32) -> String {
        let instance: Instance = instance.parse().unwrap();
        let job: JobName = job.parse().unwrap();
        let slot: Slot = "2026-11-23T01:30:00Z".parse().unwrap();
        service_name(&ContainerName::of_slot(&instance, &job, slot, attempt))
    }

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(of("default", "shop.backup", 0), "shop--backup--20261123T013000Z");
        assert_eq!(
            of("lab", "shop.night-ly", 2),
            "lab--shop--night-ly--20261123T013000Z--r2"
        );
    }

    /// What differs as a run differs as a service, whatever its length and case; Swarm takes all of them.
    #[test]
    fn no_two_runs_share_a_name() {
        let long = "j".repeat(63);
        let jobs = [
            "shop.backup",
            "shop.Backup",
            "shop.BACKUP",
            "shop-backup.x",
            "shop.backup-x",
            "shop.a--b",
            "shop--a.b",
            "shop.a-",
            "shop.a_",
            "shop.a",
            &format!("shop.{long}"),
            &format!("shop.{}k", &long[1..]),
        ];
        let mut seen = BTreeSet::new();
        for instance in ["default", "lab", "Lab", "shop"] {
            for job in jobs {
                for attempt in [0, 1] {
                    let name = of(instance, job, attempt);
                    assert!(name.len() <= LONGEST, "{name}");
                    let edge = |c: char| c.is_ascii_alphanumeric();
                    assert!(name.starts_with(edge) && name.ends_with(edge), "{name}");
                    assert!(
                        name.chars()
                            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'),
                        "{name}"
                    );
                    assert!(seen.insert(name.to_ascii_lowercase()), "{instance} {job}: {name}");
                }
            }
        }
    }
}
