//! Each check on a set-up that is well, and on one that is not.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::model::{Fleet, FleetNode};
use crate::policy::Rules;

fn now() -> Timestamp {
    "2026-11-23T01:30:00Z".parse().unwrap()
}

/// All is well.
fn case() -> Case {
    Case {
        now: now(),
        instance: "default".to_owned(),
        host: Host {
            user: "root".to_owned(),
            ..Host::default()
        },
        operator: OperatorFile {
            path: Some(PathBuf::from("/etc/docker-scheduler/config.yaml")),
            found: OperatorFound::Read {
                writable_by_others: false,
                rules: Rules::default(),
            },
        },
        logins: Logins::Read {
            path: PathBuf::from("/root/.docker/config.json"),
            registries: 1,
            missing_helpers: Vec::new(),
        },
        engine_name: EngineName::Docker,
        engine: Engine::Answers(Box::new(Answers {
            host: "unix:///var/run/docker.sock".to_owned(),
            chosen_by: "the default".to_owned(),
            name: "docker 20.10.24".to_owned(),
            api_version: "1.41".to_owned(),
            log_driver: "json-file".to_owned(),
            clock_ahead: Some(SignedDuration::ZERO),
            identity: "ABCD /var/lib/docker".to_owned(),
            questions: vec![Question {
                what: "list containers",
                refused: None,
            }],
            lock: Some("ledger-1".to_owned()),
            ..Answers::default()
        })),
        disks: vec![Disk {
            whose: "the ledger",
            path: PathBuf::from("/var/lib"),
            free_bytes: 80 << 30,
            free_files: Some(1_000_000),
        }],
        state: StateFolder {
            path: Some(PathBuf::from("/var/lib/docker-scheduler/default")),
            found: StateFound::There {
                mode: 0o700,
                writable: true,
            },
            file_system: FileSystem::Local,
        },
        ledger: LedgerCase::Open(Box::new(Ledger {
            id: "ledger-1".to_owned(),
            engine: Some("ABCD /var/lib/docker".to_owned()),
            last_alive: Some(now()),
            watched_by: Some("process 7".to_owned()),
            jobs: 3,
            ..Ledger::default()
        })),
        manifests: Manifests {
            dir: PathBuf::from("schedules.d"),
            found: ManifestsFound::Read {
                files: 2,
                jobs: 3,
                errors: 0,
                warnings: 0,
            },
            file_system: FileSystem::Local,
        },
    }
}

fn engine(case: &mut Case) -> &mut Answers {
    match &mut case.engine {
        Engine::Answers(answers) => answers,
        Engine::Cluster(_) | Engine::Away { .. } => panic!("it answers"),
    }
}

fn ledger(case: &mut Case) -> &mut Ledger {
    match &mut case.ledger {
        LedgerCase::Open(ledger) => ledger,
        other => panic!("it is open: {other:?}"),
    }
}

/// What is not well, a line each: `check state: message`.
fn complaints(case: &Case) -> Vec<String> {
    examine(case)
        .into_iter()
        .filter(|one| one.finding.state != State::Ok)
        .map(|one| {
            let wrong = matches!(one.finding.state, State::Warning | State::Error);
            // What a job's own words say is the hint there.
            assert!(
                !wrong || !one.finding.hints.is_empty() || one.check == "jobs",
                "no advice: {one:?}"
            );
            format!(
                "{} {}: {}",
                one.check,
                one.finding.state.as_str(),
                one.finding.message
            )
        })
        .collect()
}

#[track_caller]
fn check(change: impl FnOnce(&mut Case), expected: &[&str]) {
    let mut case = case();
    change(&mut case);
    assert_eq!(complaints(&case), expected);
}

#[test]
fn a_set_up_that_is_well() {
    check(|_| {}, &[]);
    let names: std::collections::BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len(), "a name for each check");
    for check in CHECKS {
        assert!(!(check.run)(&case()).is_empty(), "`{}` says nothing", check.name);
    }
}

#[test]
fn before_the_first_apply_nothing_is_wrong() {
    check(
        |case| {
            case.operator.found = OperatorFound::Absent;
            case.logins = Logins::Absent;
            engine(case).lock = None;
            case.state.found = StateFound::Absent;
            case.ledger = LedgerCase::Absent;
            case.manifests.found = ManifestsFound::Missing;
        },
        &["manifests note: `schedules.d` does not exist"],
    );
}

#[test]
fn an_engine_that_is_away_is_one_error_and_leaves_the_rest_unknown() {
    check(
        |case| {
            case.engine = Engine::Away {
                why: vec![
                    "cannot reach the Docker engine at `unix:///x`".into(),
                    "no such file".into(),
                ],
                hints: vec!["start it".into()],
            };
        },
        &[
            "engine error: cannot reach the Docker engine at `unix:///x`: no such file",
            "api unknown: the engine does not answer",
            "permissions unknown: the engine does not answer",
            "platform unknown: the engine does not answer",
            "swarm unknown: the engine does not answer",
            "clock unknown: the engine does not answer",
            "log-driver unknown: the engine does not answer",
            "instance unknown: the engine does not answer",
        ],
    );
}

#[test]
fn what_an_engine_can_have_wrong() {
    check(
        |case| engine(case).api_version = "1.40".into(),
        &["api error: API 1.40 is older than 1.41"],
    );
    check(
        |case| engine(case).api_version = "new".into(),
        &["api warning: the engine says its API is `new`, which is no version"],
    );
    check(
        |case| engine(case).questions[0].refused = Some("403 Forbidden".into()),
        &["permissions error: cannot list containers: 403 Forbidden"],
    );
    check(
        |case| engine(case).log_driver = "none".into(),
        &["log-driver warning: the engine's log driver is `none`: the output of runs is lost"],
    );
    check(
        |case| engine(case).clock_ahead = Some(SignedDuration::from_secs(-240)),
        &["clock warning: the engine's clock is 4m behind this machine's"],
    );
    check(
        |case| engine(case).clock_ahead = Some(SignedDuration::from_secs(3)),
        &["clock warning: the engine's clock is 3s ahead of this machine's"],
    );
    check(
        |case| engine(case).clock_ahead = Some(SignedDuration::from_secs(2)),
        &[],
    );
}

/// Three managers that are well.
fn three_managers(case: &mut Case) -> &mut Fleet {
    let node = |name: &str| FleetNode {
        name: name.to_owned(),
        is_manager: true,
        is_reachable: true,
        state: "ready".to_owned(),
        availability: "active".to_owned(),
    };
    let engine = engine(case);
    engine.lock = None;
    engine.fleet.insert(Fleet {
        nodes: ["east", "north", "west"].map(node).to_vec(),
        tasks_kept: Some(5),
        unused_files: Vec::new(),
    })
}

#[test]
fn what_a_swarm_can_have_wrong() {
    check(
        |case| {
            three_managers(case);
        },
        &[],
    );
    check(
        |case| {
            let lost = &mut three_managers(case).nodes[2];
            lost.is_reachable = false;
            lost.state = "down".into();
        },
        &[
            "swarm warning: 3 managers, not reachable: west; with one more lost, nothing can be started",
            "swarm warning: down: west",
        ],
    );
    check(
        |case| three_managers(case).nodes.truncate(1),
        &["swarm note: 1 manager: with one of them lost, nothing can be started"],
    );
    check(
        |case| {
            for node in &mut three_managers(case).nodes {
                node.availability = "drain".into();
            }
        },
        &[
            "swarm error: no node takes tasks: every run waits, and is `missed` at its deadline",
            "swarm note: takes no new tasks: east, north, west",
        ],
    );
    check(
        |case| three_managers(case).tasks_kept = Some(1),
        &[
            "swarm error: the Swarm keeps 1 ended task of a service: results and output of runs would go with the others before they are read, and no run is started",
        ],
    );
    check(|case| three_managers(case).tasks_kept = Some(-1), &[]);
    check(
        |case| three_managers(case).unused_files = vec!["ds-db-1f".into()],
        &["swarm note: 1 secret or config of ours that no run refers to: ds-db-1f"],
    );
    check(
        |case| {
            three_managers(case);
            engine(case).jobs_there = vec!["shop.backup".into(), "shop.old".into()];
            ledger(case).job_names = vec!["shop.backup".into()];
        },
        &["swarm note: runs of jobs that this ledger does not know: shop.old"],
    );
}

#[test]
fn platforms_that_differ_are_named() {
    let notes = |change: fn(&mut Case)| {
        let mut case = case();
        change(&mut case);
        let found = complaints(&case);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let podman = notes(|case| {
        engine(case).name = "podman 4.3.1".into();
        engine(case).differences = vec![("log times are whole seconds", "`logs --since` is as coarse")];
    });
    assert!(
        podman.starts_with("platform note: podman 4.3.1 is not quite Docker:"),
        "{podman}"
    );
    assert!(notes(|case| engine(case).rootless = true).starts_with("platform note: a rootless engine"));
    let desktop = notes(|case| engine(case).operating_system = "Docker Desktop".into());
    assert!(desktop.starts_with("platform note: Docker Desktop"), "{desktop}");
    assert!(notes(|case| case.host.wsl = true).starts_with("platform note: WSL"));
    let said = notes(|case| engine(case).warnings = vec!["WARNING: No swap limit support".into()]);
    assert_eq!(said, "platform note: the engine says: No swap limit support");
    let short_lived = notes(|case| {
        engine(case).rootless = true;
        case.host.lingers = Some(false);
    });
    assert!(short_lived.starts_with("platform warning"), "{short_lived}");
}

#[test]
fn a_clock_behind_the_ledger_is_an_error() {
    check(
        |case| ledger(case).last_alive = Some("2026-11-23T06:30:00Z".parse().unwrap()),
        &["clock error: this machine's clock is 5h behind what the ledger has already seen"],
    );
}

#[test]
fn disks_that_fill_up() {
    check(
        |case| case.disks[0].free_bytes = 500 << 20,
        &["disk warning: 500 MiB free where the ledger writes (`/var/lib`)"],
    );
    check(
        |case| case.disks[0].free_bytes = 1 << 20,
        &["disk error: 1 MiB free where the ledger writes (`/var/lib`)"],
    );
    check(
        |case| case.disks[0].free_files = Some(7),
        &["disk warning: only 7 inodes are free where the ledger writes (`/var/lib`)"],
    );
}

#[test]
fn the_operators_file_and_what_it_allows() {
    check(
        |case| {
            case.operator.found = OperatorFound::Read {
                writable_by_others: true,
                rules: Rules {
                    allow_privileged: true,
                    bind_roots: vec![PathBuf::from("/")],
                    ..Rules::default()
                },
            };
        },
        &[
            "config error: `/etc/docker-scheduler/config.yaml` can be written by others",
            "policy note: who may write manifests can take over this host: allow_privileged, bind_roots: [/]",
        ],
    );
    check(
        |case| {
            case.operator.found = OperatorFound::Broken {
                why: "the operator's file has errors".into(),
                hints: vec!["mend it".into()],
            };
        },
        &[
            "config error: the operator's file has errors",
            "policy unknown: the operator's file cannot be used",
        ],
    );
}

#[test]
fn logins_that_cannot_be_had() {
    check(
        |case| {
            case.logins = Logins::Read {
                path: PathBuf::from("/c.json"),
                registries: 1,
                missing_helpers: vec!["docker-credential-pass".into()],
            };
        },
        &[
            "logins warning: `/c.json` names the credential helper `docker-credential-pass`, which is not in PATH",
        ],
    );
    check(
        |case| {
            case.logins = Logins::Unreadable {
                path: PathBuf::from("/c.json"),
                why: "no JSON".into(),
            };
        },
        &["logins warning: `/c.json` cannot be read: no JSON"],
    );
}

#[test]
fn a_state_folder_that_cannot_hold_a_ledger() {
    let path = "`/var/lib/docker-scheduler/default`";
    let with = |found: StateFound, expected: &str| {
        check(|case| case.state.found = found, &[&format!("state {expected}")]);
    };
    with(
        StateFound::CannotBeMade("`/var/lib` cannot be written".into()),
        &format!("error: {path} cannot be made: `/var/lib` cannot be written"),
    );
    with(
        StateFound::There {
            mode: 0o755,
            writable: true,
        },
        &format!("warning: {path} can be read by others (mode 755)"),
    );
    with(
        StateFound::There {
            mode: 0o700,
            writable: false,
        },
        &format!("error: {path} cannot be written"),
    );
    with(
        StateFound::Unreadable("denied".into()),
        &format!("error: {path} cannot be looked at: denied"),
    );
    for (kind, words) in [
        (FileSystem::Network, "lies on a network or shared file system"),
        (FileSystem::Memory, "lies in memory and is lost with the machine"),
        (
            FileSystem::ContainerLayer,
            "lies in this container's own layer and is lost with it",
        ),
    ] {
        check(
            |case| case.state.file_system = kind,
            &[&format!("state warning: {path} {words}")],
        );
    }
    check(
        |case| case.state.path = None,
        &["state error: there is no place for the ledger: no home directory"],
    );
}

#[test]
fn a_ledger_that_is_not_ours_to_use() {
    check(
        |case| ledger(case).engine = Some("other".into()),
        &["ledger error: the ledger belongs to another engine (`other`); this one is `ABCD /var/lib/docker`"],
    );
    check(
        |case| engine(case).lock = Some("ledger-2".into()),
        &["instance error: the instance `default` on this engine belongs to another ledger: ledger-2"],
    );
    check(
        |case| case.ledger = LedgerCase::Absent,
        &["instance error: the instance `default` on this engine belongs to another ledger: ledger-1"],
    );
    check(
        |case| case.ledger = LedgerCase::Broken("the ledger `/x` is damaged: page 3".into()),
        &[
            "ledger error: the ledger `/x` is damaged: page 3",
            "instance unknown: the ledger cannot be read",
            "watch unknown: the ledger cannot be read",
            "jobs unknown: the ledger cannot be read",
        ],
    );
}

#[test]
fn nobody_watches() {
    let unwatched = |case: &mut Case, last: &str| {
        ledger(case).watched_by = None;
        ledger(case).last_alive = Some(last.parse().unwrap());
    };
    check(|case| unwatched(case, "2026-11-23T01:29:00Z"), &[]);
    check(
        |case| unwatched(case, "2026-11-20T01:30:00Z"),
        &["watch warning: nobody watches; a scheduler last looked 3d ago"],
    );
    check(
        |case| {
            unwatched(case, "2026-11-20T01:30:00Z");
            ledger(case).jobs = 0;
        },
        &[],
    );
    check(
        |case| {
            ledger(case).watched_by = None;
            ledger(case).last_alive = None;
        },
        &["watch warning: nobody watches, and nobody ever has"],
    );
}

#[test]
fn a_watch_that_is_there_may_still_start_nothing() {
    let beat = |case: &mut Case, age: Option<u64>, trouble: Option<&str>| {
        ledger(case).heartbeat = Some(Heartbeat {
            age: age.map(Duration::from_secs),
            trouble: trouble.map(|why| ("2026-11-23T01:20:00Z".parse().unwrap(), why.to_owned())),
        });
    };
    check(|case| beat(case, Some(20), None), &[]);
    check(|case| beat(case, Some(120), None), &[]);
    check(
        |case| beat(case, Some(121), None),
        &["watch error: process 7 watches, and has not stirred for 121 seconds"],
    );
    check(
        |case| beat(case, None, Some("the engine is away")),
        &["watch error: process 7 watches, and has not stirred since the machine was booted"],
    );
    check(
        |case| beat(case, Some(1), Some("the engine is away")),
        &["watch error: process 7 watches, and has started nothing for 10m: the engine is away"],
    );
}

#[test]
fn manifests_and_jobs_that_need_a_person() {
    check(
        |case| {
            case.manifests.found = ManifestsFound::Read {
                files: 2,
                jobs: 1,
                errors: 2,
                warnings: 0,
            };
        },
        &["manifests error: `schedules.d`: 2 errors in 2 files with 1 good job"],
    );
    check(
        |case| case.manifests.found = ManifestsFound::Missing,
        &["manifests error: `schedules.d` does not exist"],
    );
    check(
        |case| {
            ledger(case).unarmed = vec![Unarmed {
                job: "shop.report".into(),
                since: "2026-11-23T01:27:00Z".parse().unwrap(),
                attempts: 3,
                why: "no such image: report:2".into(),
            }];
            ledger(case).unknown_runs = vec!["shop.backup.20261123T013000Z".into()];
        },
        &[
            "jobs error: `shop.report` cannot be armed (tried 3 times, last 3m ago): no such image: report:2",
            "jobs warning: nobody knows how the run `shop.backup.20261123T013000Z` ended, and it holds its job",
        ],
    );
}

/// All is well in a cluster.
fn cluster_case() -> Case {
    let right = |what: &str, is_optional| Right {
        what: what.to_owned(),
        for_what: "`plan`",
        is_optional,
        may: Ok(true),
    };
    Case {
        engine_name: EngineName::Kubernetes,
        engine: Engine::Cluster(Box::new(Cluster {
            host: "https://10.0.0.1:6443".to_owned(),
            chosen_by: "the context prod".to_owned(),
            version: "v1.36.4+k3s1".to_owned(),
            batch: Ok(vec!["v1".to_owned()]),
            namespace: "batch".to_owned(),
            namespace_found: Ok(true),
            rights: vec![right("list cronjobs", false), right("list secrets", true)],
            clock_ahead: Some(SignedDuration::ZERO),
            objects: Ok(Objects {
                cron_jobs: 3,
                ..Objects::default()
            }),
        })),
        ..case()
    }
}

#[track_caller]
fn check_cluster(change: impl FnOnce(&mut Cluster), expected: &[&str]) {
    let mut case = cluster_case();
    match &mut case.engine {
        Engine::Cluster(cluster) => change(cluster),
        Engine::Answers(_) | Engine::Away { .. } => panic!("it answers"),
    }
    assert_eq!(complaints(&case), expected);
}

#[test]
fn a_cluster_that_is_well() {
    check_cluster(|_| {}, &[]);
    let names: std::collections::BTreeSet<&str> = CLUSTER_CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CLUSTER_CHECKS.len(), "a name for each check");
    for check in CLUSTER_CHECKS {
        assert!(
            !(check.run)(&cluster_case()).is_empty(),
            "`{}` says nothing",
            check.name
        );
    }
}

#[test]
fn a_cluster_that_is_away_is_one_error() {
    let case = Case {
        engine: Engine::Away {
            why: vec!["cannot reach the cluster at `https://x`".into()],
            hints: vec!["ask kubectl".into()],
        },
        ..cluster_case()
    };
    let unknown = ["api", "namespace", "permissions", "clock", "objects", "jobs"];
    let unknown = unknown.map(|check| format!("{check} unknown: the engine does not answer"));
    let mut expected = vec!["engine error: cannot reach the cluster at `https://x`".to_owned()];
    expected.extend(unknown);
    assert_eq!(complaints(&case), expected);
}

#[test]
fn what_a_cluster_can_have_wrong() {
    check_cluster(
        |cluster| cluster.batch = Ok(vec!["v1beta1".into()]),
        &["api error: it does not serve CronJobs of batch/v1"],
    );
    check_cluster(
        |cluster| cluster.version = "v1.26.9".into(),
        &["api error: v1.26.9 is older than 1.27, whose CronJobs have no time zones"],
    );
    check_cluster(
        |cluster| cluster.version = "nginx".into(),
        &["api warning: it says its version is `nginx`, which is none"],
    );
    check_cluster(
        |cluster| cluster.namespace_found = Ok(false),
        &["namespace error: there is no namespace `batch`"],
    );
    check_cluster(
        |cluster| cluster.namespace_found = Err("no answer".into()),
        &["namespace unknown: nobody says whether `batch` is there: no answer"],
    );
    check_cluster(
        |cluster| cluster.rights.iter_mut().for_each(|right| right.may = Ok(false)),
        &[
            "permissions error: may not list cronjobs, for `plan`",
            "permissions note: may not list secrets, for `plan`",
        ],
    );
    check_cluster(
        |cluster| {
            cluster
                .rights
                .iter_mut()
                .for_each(|right| right.may = Err("no answer".into()))
        },
        &["permissions unknown: nobody says whether it may list cronjobs: no answer"],
    );
    check_cluster(
        |cluster| cluster.clock_ahead = Some(SignedDuration::from_secs(-240)),
        &["clock warning: the cluster's clock is 4m behind this machine's"],
    );
    check_cluster(
        |cluster| cluster.clock_ahead = Some(SignedDuration::from_secs(2)),
        &[],
    );
    check_cluster(
        |cluster| cluster.clock_ahead = None,
        &["clock unknown: the cluster does not say what time it is"],
    );
    check_cluster(
        |cluster| {
            cluster.objects = Ok(Objects {
                cron_jobs: 1,
                strays: vec![("CronJob `a`".into(), "it names no instance".into())],
                undeclared: vec!["CronJob `b`".into()],
                paused: vec![("shop.c".into(), "kubectl-patch".into())],
            });
        },
        &[
            "objects note: CronJob `a` carries our mark, and is left alone: it names no instance",
            "objects warning: CronJob `b` is ours, and no manifest declares its job",
            "jobs note: `shop.c` is suspended by kubectl-patch, and starts at no time",
        ],
    );
    check_cluster(
        |cluster| cluster.objects = Err("forbidden".into()),
        &[
            "objects unknown: its objects cannot be listed: forbidden",
            "jobs unknown: its objects cannot be listed: forbidden",
        ],
    );
}
