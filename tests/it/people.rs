//! People at work on the same engine: they prune, delete, kill and start containers, delete images,
//! move tags and remove networks, at any moment under a running `watch`. What they undo is made
//! again; what they end is not run again; every slot has an outcome whose reason is theirs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::chaos::{Random, number_from};
use crate::judge::Faults;
use crate::rig::{Phase, Rig, WitnessLine};
use crate::scheduler::{Job, Scheduler, manifest, wait_until};

const NETWORK: &str = "people_net";
/// A tag of its own, which may be moved and deleted without ending the other jobs.
const TAG: &str = "busybox:people";

/// People on a rig, and what they did to the containers of one scheduler.
pub struct People<'a> {
    pub rig: &'a Rig,
    pub scheduler: &'a Scheduler<'a>,
    pub random: Random,
    pub deeds: Faults,
}

impl People<'_> {
    /// One thing that people do to containers.
    pub fn touch_a_container(&mut self) {
        match self.random.below(4) {
            0 => self.prune_containers(),
            1 => self.remove_a_container(),
            2 => self.start_what_is_armed(),
            _ => self.kill_a_container(),
        }
    }

    fn act(&mut self) {
        match self.random.below(9) {
            0 => self.prune_containers(),
            1 => self.prune_system(),
            2 | 3 => self.remove_a_container(),
            4 => self.start_what_is_armed(),
            5 => self.kill_a_container(),
            6 => self.delete_the_image(),
            7 => self.move_the_tag(),
            _ => self.remove_the_network(),
        }
    }

    fn some_container(&mut self, state: &str) -> Option<String> {
        let mut found = self.scheduler.containers();
        found.retain(|container| state.is_empty() || container["State"] == state);
        if found.is_empty() {
            return None;
        }
        let chosen = usize::try_from(self.random.below(found.len() as u64)).unwrap_or(0);
        found[chosen]["Id"].as_str().map(str::to_owned)
    }

    /// `docker container prune -f`
    fn prune_containers(&mut self) {
        let (_, text) = self.rig.post("/containers/prune", "");
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let deleted = answer["ContainersDeleted"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ids = deleted.iter().filter_map(|id| id.as_str().map(str::to_owned));
        self.deeds.ended.extend(ids);
    }

    /// `docker system prune -af`, and somebody pulls the image again.
    fn prune_system(&mut self) {
        self.prune_containers();
        self.rig.post("/networks/prune", "");
        self.rig.post(
            "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D",
            "",
        );
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        self.rig.import_images();
        tag(self.rig, crate::rig::IMAGE);
        self.rig.make_network(NETWORK);
    }

    /// `docker rm -f`
    fn remove_a_container(&mut self) {
        if let Some(id) = self.some_container("") {
            // Recorded first: whoever reads the outcome must find it.
            self.deeds.ended.insert(id.clone());
            self.rig
                .request("DELETE", &format!("/containers/{id}?force=1"), &[]);
        }
    }

    /// `docker start`
    fn start_what_is_armed(&mut self) {
        if let Some(id) = self.some_container("created") {
            let (status, _) = self.rig.post(&format!("/containers/{id}/start"), "");
            match status {
                204 => drop(self.deeds.started.insert(id)),
                // Ours was first, or it was gone.
                304 | 404 | 409 => {}
                _ => drop(self.deeds.failed_starts.insert(id)),
            }
        }
    }

    /// `docker kill`
    fn kill_a_container(&mut self) {
        if let Some(id) = self.some_container("running") {
            self.deeds.ended.insert(id.clone());
            self.rig.post(&format!("/containers/{id}/kill"), "");
        }
    }

    /// `docker rmi -f`, and it comes back.
    fn delete_the_image(&mut self) {
        self.rig.request("DELETE", &format!("/images/{TAG}?force=1"), &[]);
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        tag(self.rig, crate::rig::IMAGE);
    }

    fn move_the_tag(&mut self) {
        tag(self.rig, crate::rig::VOLUME_IMAGE);
        std::thread::sleep(Duration::from_millis(self.random.below(800)));
        tag(self.rig, crate::rig::IMAGE);
    }

    /// `docker network rm`, and somebody makes it again.
    fn remove_the_network(&mut self) {
        self.rig.request("DELETE", &format!("/networks/{NETWORK}"), &[]);
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        self.rig.make_network(NETWORK);
    }
}

/// A prune may have taken the image away in this moment: then another prune's import brings it back.
fn tag(rig: &Rig, image: &str) {
    let (repository, tag) = TAG.split_once(':').expect("a tagged reference");
    rig.post(&format!("/images/{image}/tag?repo={repository}&tag={tag}"), "");
}

/// Rhythm and work of each job.
const JOBS: [(&str, &str, &str); 4] = [
    ("short", "1s", "true"),
    ("long", "3s", "sleep 2.5"),
    ("tagged", "2s", "sleep 0.3"),
    ("networked", "2s", "sleep 0.3"),
];

#[test]
fn people_at_any_moment_double_and_lose_nothing() {
    let seed = number_from("CHAOS_SEED").unwrap_or_else(|| Timestamp::now().as_second().unsigned_abs());
    println!("CHAOS_SEED={seed}");
    let rig = Rig::start();
    rig.make_network(NETWORK);
    tag(&rig, crate::rig::IMAGE);
    let scheduler = Scheduler::new(&rig, "people-chaos");
    for (name, every, work) in JOBS {
        let job = Job {
            name,
            every,
            work,
            options: "history: {succeeded: 1, failed: 1}",
        };
        let mut text = manifest("folk", &rig.witness(name), &[job]);
        match name {
            "tagged" => text = text.replace(crate::rig::IMAGE, TAG),
            "networked" => {
                text = text.replace("network_mode: none", "networks: [given]");
                text.push_str(&format!(
                    "networks:\n  given: {{name: {NETWORK}, external: true}}\n"
                ));
            }
            _ => {}
        }
        scheduler.manifest(&format!("{name}.yaml"), &text);
    }
    let watching = scheduler.watch();
    wait_until("every job is known", || {
        scheduler.json(&["ls"]).len() == JOBS.len()
    });
    let known_since = Timestamp::now();
    let mut people = People {
        rig: &rig,
        scheduler: &scheduler,
        random: Random(seed),
        deeds: Faults::default(),
    };
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        people.act();
        std::thread::sleep(Duration::from_millis(people.random.below(500)));
    }
    let deeds = people.deeds;
    let before = scheduler.history().len();
    wait_until("it goes on when they have left", || {
        let history = scheduler.history();
        let newer = &history[..history.len() - before];
        JOBS.iter().all(|(name, ..)| {
            newer
                .iter()
                .any(|row| row["job"] == format!("folk.{name}") && row["outcome"] == "succeeded")
        })
    });
    let until = Timestamp::now();
    wait_until("everything that was due is settled", || {
        let open = |row: &Value| row["outcome"] == "running" && due(row) <= until;
        !scheduler.history().iter().any(open)
    });
    assert_eq!(watching.term(), 0);
    let history = scheduler.history();
    for (name, every, _) in JOBS {
        let job = Judged {
            rows: history
                .iter()
                .filter(|row| row["job"] == format!("folk.{name}"))
                .collect(),
            lines: rig.witness(name).lines(),
            deeds: &deeds,
        };
        let every_secs = every.trim_end_matches('s').parse().expect("seconds");
        job.every_slot_once(every_secs, known_since, until);
        job.nothing_twice();
        job.rows.iter().for_each(|row| job.explained(row, until));
    }
}

fn due(row: &Value) -> Timestamp {
    let text = row["due_at"].as_str().unwrap_or_default();
    text.parse().unwrap_or(Timestamp::MAX)
}

/// One job, its rows and its witness.
struct Judged<'a> {
    rows: Vec<&'a Value>,
    lines: Vec<WitnessLine>,
    deeds: &'a Faults,
}

impl Judged<'_> {
    fn every_slot_once(&self, every_secs: i64, known_since: Timestamp, until: Timestamp) {
        let first = (known_since.as_second() / every_secs + 1) * every_secs;
        for second in (first..=until.as_second()).step_by(usize::try_from(every_secs).unwrap_or(1)) {
            let slot = Timestamp::from_second(second).expect("a time").to_string();
            let rows = self.rows.iter().filter(|row| row["slot"] == slot).count();
            assert_eq!(rows, 1, "slot {slot}: {:#?}", self.rows);
        }
    }

    /// No container twice, and no slot twice by our doing: one that people start runs beside the
    /// count, and its slot is made again only when they then take it away before its time.
    fn nothing_twice(&self) {
        let (mut containers, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for line in self.lines.iter().filter(|line| line.phase == Phase::Begin) {
            assert!(
                containers.insert(&line.container),
                "ran twice: {line:?}\n{:#?}",
                self.rows
            );
            if !self.did(&self.deeds.started, &line.container) {
                assert!(slots.insert(&line.slot), "doubled: {line:?}\n{:#?}", self.rows);
            }
        }
    }

    fn did(&self, deeds: &BTreeSet<String>, container: &str) -> bool {
        !container.is_empty()
            && deeds
                .iter()
                .any(|id| id.starts_with(container) || container.starts_with(id))
    }

    /// Each outcome has a reason that is theirs, or none of anybody's fault.
    fn explained(&self, row: &Value, until: Timestamp) {
        let container = row["container"].as_str().unwrap_or_default();
        let reason = row["reason"].as_str().unwrap_or_default();
        let ended = |line: &WitnessLine| line.phase == Phase::End && container.starts_with(&line.container);
        let by_hand = self.lines.iter().any(|line| {
            line.phase == Phase::Begin
                && row["slot"] == *line.slot
                && self.did(&self.deeds.started, &line.container)
        });
        let fine = match row["outcome"].as_str().unwrap_or_default() {
            "running" => due(row) > until,
            "succeeded" => self.lines.iter().any(ended),
            "failed" => reason == "killed externally" && self.did(&self.deeds.ended, container),
            // What cannot be started without its network bears no witness of having been tried.
            "unknown" if reason == "started by hand" => {
                by_hand || (row["job"] == "folk.networked" && !self.deeds.failed_starts.is_empty())
            }
            "unknown" => reason.starts_with("lost: ") && self.did(&self.deeds.ended, container),
            "skipped" => [
                "previous run active since",
                "container people-chaos.folk.",
                "unknown run may still be running",
            ]
            .iter()
            .any(|text| reason.starts_with(text)),
            "missed" => !reason.is_empty(),
            "start_failed" => reason.contains(NETWORK),
            _ => false,
        };
        assert!(fine, "{row:#?}\n{:#?}\n{:#?}", self.deeds, self.lines);
    }
}
