//! Checks of a Swarm: its managers, its nodes, and what is left there.
//!
//! Two things cannot be seen through a manager: the clocks of other nodes, and whether their engines start
//! images without asking the registry (`DOCKER_SERVICE_PREFER_OFFLINE_IMAGE`).

use super::engine::answers;
use super::{Case, Finding, LedgerCase, counted};
use crate::model::{Fleet, FleetNode};

pub(super) fn swarm(case: &Case) -> Vec<Finding> {
    let Some(engine) = answers(case) else {
        return vec![Finding::unknown("the engine does not answer")];
    };
    let Some(fleet) = &engine.fleet else {
        return vec![Finding::ok("a single engine")];
    };
    let Fleet {
        nodes: all,
        tasks_kept,
        unused_files,
    } = fleet;
    let mut found = vec![managers(all)];
    found.extend(nodes(all));
    match tasks_kept {
        Some(kept) if (0..Fleet::TASKS_NEEDED).contains(kept) => found.push(
            Finding::error(format!(
                "the Swarm keeps {} of a service: results and output of runs would go with the others before they are read, and no run is started",
                counted(usize::try_from(*kept).unwrap_or_default(), "ended task")
            ))
            .hint("`docker swarm update --task-history-limit 5`, which is the default"),
        ),
        _ => {}
    }
    if !unused_files.is_empty() {
        found.push(
            Finding::note(format!(
                "{} of ours that no run refers to: {}",
                counted(unused_files.len(), "secret or config"),
                unused_files.join(", ")
            ))
            .hint("they go with the next run with secrets or configs that is deleted; `docker secret rm` and `docker config rm` do no harm"),
        );
    }
    found.extend(strays(case, &engine.jobs_there));
    found
}

fn managers(nodes: &[FleetNode]) -> Finding {
    let managers: Vec<&FleetNode> = nodes.iter().filter(|node| node.is_manager).collect();
    let away: Vec<&str> = managers
        .iter()
        .filter(|node| !node.is_reachable)
        .map(|node| node.name.as_str())
        .collect();
    let (all, reachable) = (managers.len(), managers.len() - away.len());
    let spare = reachable.saturating_sub(all / 2 + 1);
    let words = counted(all, "manager");
    match (away.is_empty(), spare) {
        (true, 0) => Finding::note(format!("{words}: with one of them lost, nothing can be started"))
            .hint("three managers can lose one, five two: `docker node promote NODE`"),
        (true, spare) => Finding::ok(format!("{words}, of which {spare} may be lost")),
        (false, spare) => {
            let who = away.join(", ");
            let then = match spare {
                0 => "with one more lost, nothing can be started".to_owned(),
                spare => format!("{spare} more may be lost"),
            };
            Finding::warning(format!("{words}, not reachable: {who}; {then}")).hint(
                "bring them back, or take them out: `docker node demote NODE`, then `docker node rm NODE`",
            )
        }
    }
}

fn nodes(nodes: &[FleetNode]) -> Vec<Finding> {
    let names = |which: &dyn Fn(&FleetNode) -> bool| -> Vec<&str> {
        let those = nodes.iter().filter(|node| which(node));
        those.map(|node| node.name.as_str()).collect()
    };
    let away = names(&|node| node.state != "ready");
    let closed = names(&|node| node.state == "ready" && node.availability != "active");
    let open = nodes.len() - away.len() - closed.len();
    let mut found = Vec::new();
    if open == 0 {
        found.push(
            Finding::error("no node takes tasks: every run waits, and is `missed` at its deadline")
                .hint("`docker node ls` says why; `docker node update --availability active NODE`"),
        );
    }
    if !away.is_empty() {
        found.push(
            Finding::warning(format!("down: {}", away.join(", ")))
                .hint("what ran there is `unknown: lost`; start its engine, or `docker node rm NODE`"),
        );
    }
    if !closed.is_empty() {
        found.push(Finding::note(format!(
            "takes no new tasks: {}",
            closed.join(", ")
        )));
    }
    if found.is_empty() {
        found.push(Finding::ok(format!("{} ready", counted(open, "node"))));
    }
    found
}

/// Services of jobs that nobody declares here any more keep their locks until a person takes them away.
fn strays(case: &Case, there: &[String]) -> Option<Finding> {
    let LedgerCase::Open(ledger) = &case.ledger else {
        return None;
    };
    let strays: Vec<&str> = there
        .iter()
        .filter(|job| !ledger.job_names.contains(job))
        .map(String::as_str)
        .collect();
    if strays.is_empty() {
        return None;
    }
    let found = Finding::note(format!(
        "runs of jobs that this ledger does not know: {}",
        strays.join(", ")
    ));
    Some(found.hint(
        "other schedulers of this instance may declare them; else `docker-scheduler down` removes them, and the locks of their slots",
    ))
}
