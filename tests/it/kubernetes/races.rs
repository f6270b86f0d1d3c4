//! Somebody else acts between the look at a cluster and what follows from it.

use std::collections::BTreeSet;

use docker_scheduler::cluster::{Cluster, Selection, carry_out, look};
use docker_scheduler::kubernetes::{self, Conflicts, Contents, Plan};
use docker_scheduler::manifest::Settings;
use docker_scheduler::model::{Desired, Instance, Trigger};
use docker_scheduler::source;
use serde_json::json;

use super::{BACKUP, Bench, version};

/// A connection to the bench's namespace, and the plan for its manifests.
fn planned(bench: &Bench) -> (Cluster, Plan) {
    planned_with(bench, |_| {})
}

fn planned_with(bench: &Bench, change: impl FnOnce(&mut Desired)) -> (Cluster, Plan) {
    let jobs = bench.home.path().join("jobs");
    let (_, mut loaded) = source::load(&jobs, &Settings::default()).expect("manifests");
    change(&mut loaded.desired);
    let selection = Selection {
        context: None,
        namespace: Some(bench.namespace.clone()),
    };
    bench.runtime.block_on(async {
        let cluster = Cluster::connect(&selection).await.expect("a cluster");
        let instance = Instance::default();
        let (nobody, contents) = (BTreeSet::new(), Contents::default());
        let seen = look(
            &cluster,
            &loaded.desired,
            &nobody,
            &contents,
            &instance,
            Conflicts::Force,
        );
        let seen = seen.await.expect("a look");
        let plan = kubernetes::plan(&loaded.desired, &seen, &instance, jiff::Timestamp::now());
        (cluster, plan)
    })
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_came_after_the_plan_is_not_written_over() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    let (cluster, plan) = planned(&bench);
    assert_eq!(plan.steps.len(), 1);
    // Of their own, and with nothing that applying would call a conflict.
    let mut twin = plan.steps[0].applied[0].object.clone();
    twin["metadata"] = json!({"name": "shop-backup"});
    twin["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] = json!("theirs");
    bench.create(twin.clone());
    let theirs = bench.cron_job("shop-backup");
    let reports = bench.runtime.block_on(carry_out(&cluster, &plan));
    let (what, error) = reports[0].failed.as_ref().expect("a refusal");
    assert_eq!(what, "apply CronJob `shop-backup`");
    assert_eq!(error.code(), Some(409), "{error}");
    assert_eq!(
        version(&bench.cron_job("shop-backup")),
        version(&theirs),
        "it is as they made it"
    );
    let next = bench.run(&["apply", "jobs"]);
    assert!(next.stderr.contains("is there already, and not ours"), "{next:?}");

    // Of its own it makes one all the same.
    bench.delete("CronJob", "shop-backup");
    let (cluster, plan) = planned(&bench);
    let reports = bench.runtime.block_on(carry_out(&cluster, &plan));
    assert!(reports[0].failed.is_none(), "{reports:?}");
    assert!(bench.run(&["plan", "jobs"]).ok().contains("no changes"));

    // One that came in the place of ours is not ours either.
    bench.declare("shop.yaml", &BACKUP.replace("busybox:1", "busybox:2"));
    let (cluster, plan) = planned(&bench);
    bench.delete("CronJob", "shop-backup");
    bench.create(twin);
    let theirs = bench.cron_job("shop-backup");
    let reports = bench.runtime.block_on(carry_out(&cluster, &plan));
    let (_, error) = reports[0].failed.as_ref().expect("a refusal");
    assert_eq!(error.code(), Some(422), "its uid is another: {error}");
    assert_eq!(version(&bench.cron_job("shop-backup")), version(&theirs));
}

/// What our own reader would let through by mistake is known before anything is written.
#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_bad_schedule_is_refused_by_the_dry_run() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    for (expression, zone) in [("61 * * * *", "UTC"), ("0 3 * * *", "Europe/Nowhere")] {
        let (_, plan) = planned_with(&bench, |desired| {
            let job = desired.jobs.values_mut().next().expect("a job");
            job.triggers.schedule = vec![Trigger::Cron {
                expression: expression.to_owned(),
                timezone: zone.to_owned(),
                day_match: None,
            }];
        });
        assert!(plan.steps.is_empty(), "{plan:?}");
        let (job, finding) = &plan.refused[0];
        assert_eq!(
            (job.to_string().as_str(), finding.key),
            ("shop.backup", "triggers.schedule")
        );
        assert!(
            finding.message.contains("the cluster refuses it: `spec."),
            "{finding:?}"
        );
    }
    assert!(bench.list("CronJob").is_empty());
}
