//! Jobs of a scenario: `job shop.backup cron="30 2 * * *" zone=Europe/Berlin image=busybox:1`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use docker_scheduler::model::{
    Backoff, Concurrency, ContainerSpec, Desired, ExecTarget, FileKind, FileSource, History, Job, JobFile,
    JobName, MissedFires, Mount, MountKind, NetworkAttachment, OnNodeLoss, OnUnknown, Origin, Place, Policy,
    PullPolicy, Text, Trigger, Triggers, Which,
};
use docker_scheduler::schedule::{parse_days, parse_duration};

/// Declares a job, or edits it: what is not said is as if it had never been.
pub fn job(desired: &mut Desired, name: &str, keys: &[&str]) -> String {
    let job = build(&name.parse().unwrap(), keys);
    desired.jobs.insert(job.name.clone(), job);
    String::new()
}

/// `NAME000` and so on; `{h}` and `{m}` in a value are the hour and minute of its number.
pub fn jobs(desired: &mut Desired, count: u32, name: &str, keys: &[&str]) -> String {
    for number in 0..count {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| {
                key.replace("{h}", &(number / 60).to_string())
                    .replace("{m}", &(number % 60).to_string())
            })
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        job(desired, &format!("{name}{number:03}"), &keys);
    }
    String::new()
}

/// A job of that name; without a key for it, an image and a command that are always there.
pub fn build(name: &JobName, keys: &[&str]) -> Job {
    let mut built = Job {
        name: name.clone(),
        origin: Origin {
            file: format!("{}.yaml", name.project()),
            line: 4,
            commit: None,
        },
        triggers: Triggers {
            manual: true,
            schedule: Vec::new(),
        },
        policy: Policy::default(),
        container: ContainerSpec::of_image("busybox:1".parse().unwrap()),
        canonical: String::new(),
    };
    let zone = keys
        .iter()
        .find_map(|key| key.strip_prefix("zone="))
        .unwrap_or("UTC");
    for key in keys {
        let (key, value) = key
            .split_once('=')
            .unwrap_or_else(|| panic!("`{key}` has no value"));
        apply_key(&mut built, key, value, zone);
        let _ = writeln!(built.canonical, "{key}: {value}");
    }
    built
}

fn apply_key(job: &mut Job, key: &str, value: &str, zone: &str) {
    match key {
        "zone" => {}
        "cron" => job.triggers.schedule.push(Trigger::Cron {
            expression: value.to_owned(),
            timezone: zone.to_owned(),
            day_match: None,
        }),
        "every" => job.triggers.schedule.push(Trigger::Every {
            period: duration(value),
        }),
        "container" => job.container.place = place(value),
        "exec" => {
            job.container.place = Place::Exec(ExecTarget {
                which: target(value),
                only_project: None,
            });
        }
        "only-project" => {
            if let Place::Exec(target) = &mut job.container.place {
                target.only_project = Some(value.to_owned());
            }
        }
        "manual" => job.triggers.manual = value == "true",
        "image" => job.container.image = value.parse().unwrap(),
        "command" => {
            let words = shlex::split(value).unwrap();
            job.container.command = Some(words.into_iter().map(Text::plain).collect());
        }
        "pull" => job.container.pull_policy = pull_policy(value),
        "secret" => job.container.files.push(JobFile {
            kind: FileKind::Secret,
            name: "secret".to_owned(),
            target: "/run/secrets/secret".to_owned(),
            source: FileSource::Content {
                content: Text::sensitive(value),
                uid: 0,
                gid: 0,
                mode: 0o444,
            },
        }),
        "networks" => job.container.networks = value.split(',').map(network).collect(),
        "volume" => job.container.mounts.push(external_volume(value)),
        "timeout" => job.policy.timeout = Some(duration(value)),
        "grace" => job.container.stop_grace_period = Some(duration(value)),
        "node-loss" => {
            job.policy.on_node_loss = match value {
                "rerun" => OnNodeLoss::Rerun,
                _ => OnNodeLoss::Skip,
            }
        }
        "deadline" => job.policy.starting_deadline = Some(duration(value)),
        "hold" => job.policy.unknown_hold = Some(duration(value)),
        "missed" => {
            job.policy.missed_fires = match value {
                "one" => MissedFires::One,
                "skip" => MissedFires::Skip,
                "all" => MissedFires::All,
                other => panic!("no such policy: {other}"),
            }
        }
        "concurrency" => {
            job.policy.concurrency = match value {
                "forbid" => Concurrency::Forbid,
                "queue" => Concurrency::Queue,
                "allow" => Concurrency::Allow,
                "replace" => Concurrency::Replace,
                other => panic!("no such policy: {other}"),
            }
        }
        "retries" => job.policy.retries = value.parse().unwrap(),
        "backoff" => {
            let (initial, longest) = value.split_once(',').unwrap_or((value, "5m"));
            job.policy.backoff = Backoff {
                initial: duration(initial),
                longest: duration(longest),
            };
        }
        "unknown" => {
            job.policy.on_unknown = match value {
                "skip" => OnUnknown::Skip,
                "rerun" => OnUnknown::Rerun,
                other => panic!("no such policy: {other}"),
            }
        }
        "jitter" => job.policy.jitter = Some(duration(value)),
        "group" => job.policy.group = Some(value.to_owned()),
        "except" => job.triggers.schedule.push(Trigger::Except {
            days: value.split(',').map(|days| parse_days(days).unwrap()).collect(),
            timezone: zone.to_owned(),
        }),
        "suspend" => job.policy.suspend = value == "true",
        "success" => {
            job.policy.success_exit_codes = value
                .split(',')
                .map(|code| code.parse().unwrap())
                .collect::<BTreeSet<i64>>();
        }
        "history" => {
            let (succeeded, failed) = value.split_once(',').unwrap();
            job.policy.history = History {
                succeeded: succeeded.parse().unwrap(),
                failed: failed.parse().unwrap(),
            };
        }
        other => panic!("a job has no `{other}`"),
    }
}

/// `NAME`, or `PROJECT/SERVICE`.
fn target(text: &str) -> Which {
    match text.split_once('/') {
        None => Which::Container(text.to_owned()),
        Some((project, service)) => Which::Service {
            project: project.to_owned(),
            service: service.to_owned(),
        },
    }
}

fn place(word: &str) -> Place {
    match word {
        "fresh" => Place::Fresh,
        "reuse" => Place::Reuse,
        other => panic!("no such container: {other}"),
    }
}

fn pull_policy(word: &str) -> PullPolicy {
    match word {
        "always" => PullPolicy::Always,
        "missing" => PullPolicy::Missing,
        "never" => PullPolicy::Never,
        other => match other.strip_prefix("every_").map(parse_duration) {
            Some(Ok(period)) => PullPolicy::Every(period),
            _ => panic!("no such policy: {other}"),
        },
    }
}

fn network(name: &str) -> NetworkAttachment {
    NetworkAttachment {
        name: name.to_owned(),
        aliases: Vec::new(),
        ipv4_address: None,
        ipv6_address: None,
    }
}

fn external_volume(name: &str) -> Mount {
    Mount {
        kind: MountKind::Volume {
            name: Some(name.to_owned()),
            external: true,
            nocopy: false,
        },
        target: "/data".to_owned(),
        read_only: false,
    }
}

fn duration(text: &str) -> Duration {
    parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}
