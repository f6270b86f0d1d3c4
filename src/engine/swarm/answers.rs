//! Swarm's answers in our words. Fields that were left out become empty, never a guess.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::body::NOWHERE;
use crate::engine::{ContainerState, ContainerSummary};
use crate::model::{ContainerStatus, FleetNode, LABEL_RUN, StopNote};

/// `null` counts as left out.
fn null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A service, as far as we look.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub id: String,
    pub version: Version,
    #[serde(default, deserialize_with = "null")]
    pub created_at: String,
    pub spec: ServiceSpec,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub index: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceSpec {
    pub name: String,
    #[serde(default, deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null")]
    pub task_template: TaskSpec,
    #[serde(default, deserialize_with = "null")]
    mode: Mode,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mode {
    #[serde(deserialize_with = "null")]
    replicated: Replicated,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Replicated {
    replicas: Option<u64>,
}

impl ServiceSpec {
    /// It has its name, and is to have no task yet.
    fn is_reserved(&self) -> bool {
        self.mode.replicated.replicas == Some(0)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaskSpec {
    #[serde(deserialize_with = "null")]
    container_spec: ContainerSpec,
    #[serde(deserialize_with = "null")]
    placement: Placement,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerSpec {
    #[serde(deserialize_with = "null")]
    image: String,
    #[serde(rename = "TTY", deserialize_with = "null")]
    tty: bool,
    #[serde(deserialize_with = "null")]
    args: Vec<String>,
    #[serde(deserialize_with = "null")]
    secrets: Vec<Reference>,
    #[serde(deserialize_with = "null")]
    configs: Vec<Reference>,
}

/// A secret or a config of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Reference {
    #[serde(rename = "SecretID", deserialize_with = "null")]
    secret: String,
    #[serde(rename = "ConfigID", deserialize_with = "null")]
    config: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Placement {
    #[serde(deserialize_with = "null")]
    constraints: Vec<String>,
}

impl TaskSpec {
    /// Whether it stands for the end of a service: its tasks find no node.
    pub fn is_nowhere(&self) -> bool {
        self.placement.constraints.iter().any(|one| one == NOWHERE)
    }

    /// IDs of the secrets and configs that it refers to.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let secrets = self.container_spec.secrets.iter().map(|one| one.secret.as_str());
        let configs = self.container_spec.configs.iter().map(|one| one.config.as_str());
        secrets.chain(configs)
    }

    pub fn image(&self) -> &str {
        &self.container_spec.image
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(default, rename = "ServiceID", deserialize_with = "null")]
    pub service: String,
    #[serde(default, rename = "NodeID", deserialize_with = "null")]
    pub node: String,
    #[serde(default, deserialize_with = "null")]
    created_at: String,
    #[serde(default, deserialize_with = "null")]
    pub spec: TaskSpec,
    status: TaskStatus,
    #[serde(default, deserialize_with = "null")]
    desired_state: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskStatus {
    /// Required: what a task does is not to be guessed.
    state: String,
    #[serde(default, deserialize_with = "null")]
    timestamp: String,
    #[serde(default, deserialize_with = "null")]
    message: String,
    #[serde(default, deserialize_with = "null")]
    err: String,
    #[serde(default, deserialize_with = "null")]
    container_status: TaskContainer,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TaskContainer {
    #[serde(rename = "ContainerID", deserialize_with = "null")]
    id: String,
    /// 0 once it has ended.
    #[serde(rename = "PID", deserialize_with = "null")]
    pid: i64,
    #[serde(rename = "ExitCode", deserialize_with = "null")]
    exit_code: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Node {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(default, deserialize_with = "null")]
    updated_at: String,
    #[serde(default, deserialize_with = "null")]
    pub spec: NodeSpec,
    #[serde(default, deserialize_with = "null")]
    pub description: NodeDescription,
    #[serde(default, deserialize_with = "null")]
    status: NodeStatus,
    /// Of managers.
    #[serde(default)]
    manager_status: Option<ManagerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ManagerStatus {
    #[serde(deserialize_with = "null")]
    reachability: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeSpec {
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null")]
    pub role: String,
    #[serde(deserialize_with = "null")]
    pub availability: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeDescription {
    #[serde(deserialize_with = "null")]
    pub hostname: String,
    #[serde(deserialize_with = "null")]
    pub platform: NodePlatform,
    #[serde(deserialize_with = "null")]
    pub resources: NodeResources,
    #[serde(deserialize_with = "null")]
    pub engine: NodeEngine,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeEngine {
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodePlatform {
    #[serde(rename = "OS", deserialize_with = "null")]
    pub os: String,
    #[serde(rename = "Architecture", deserialize_with = "null")]
    pub arch: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeResources {
    #[serde(rename = "NanoCPUs", deserialize_with = "null")]
    pub nano_cpus: u64,
    #[serde(rename = "MemoryBytes", deserialize_with = "null")]
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NodeStatus {
    #[serde(deserialize_with = "null")]
    state: String,
    #[serde(deserialize_with = "null")]
    addr: String,
}

impl Node {
    pub fn is_down(&self) -> bool {
        self.status.state == "down"
    }

    /// Whether it takes tasks now.
    pub fn takes_tasks(&self) -> bool {
        self.status.state == "ready" && self.spec.availability == "active"
    }

    pub fn for_people(&self) -> FleetNode {
        FleetNode {
            name: node_name(self),
            is_manager: self.manager_status.is_some(),
            is_reachable: self
                .manager_status
                .as_ref()
                .is_some_and(|status| status.reachability == "reachable"),
            state: self.status.state.clone(),
            availability: self.spec.availability.clone(),
        }
    }

    pub fn address(&self) -> &str {
        &self.status.addr
    }
}

/// The states of a task that was given to a node and does not run yet.
const STARTING: [&str; 5] = ["assigned", "accepted", "preparing", "ready", "starting"];

impl Task {
    pub fn state(&self) -> &str {
        &self.status.state
    }

    /// Swarm has given it up, or wants its end.
    fn is_unwanted(&self) -> bool {
        matches!(self.desired_state.as_str(), "shutdown" | "remove" | "orphaned")
    }

    /// Whether it says more than its node can be asked for.
    pub fn needs_node(&self) -> bool {
        self.is_unwanted() && (self.state() == "running" || STARTING.contains(&self.state()))
    }

    /// What its last state says of its process. A node adds its error to the message of the step that went
    /// well last; a manager writes both anew.
    fn end(&self) -> End {
        let TaskStatus {
            state,
            message,
            err,
            container_status: container,
            timestamp: _,
        } = &self.status;
        let before_start = matches!(message.as_str(), "accepted" | "preparing" | "prepared");
        match state.as_str() {
            "complete" => End::Ran,
            // Had it been started, its container would be named.
            "shutdown" if container.id.is_empty() => End::NeverRan,
            "shutdown" => End::Ran,
            "rejected" if before_start => End::NeverRan,
            // A manager rejects also what runs: its node no longer meets a constraint.
            "rejected" => End::Untold,
            _ if err.starts_with("task: non-zero exit") => End::Ran,
            _ if message == "starting" && err.starts_with("starting container failed") => End::NeverRan,
            // What failed came after the start: a short process is over before its node has announced its
            // address ("failed to activate service binding"; 20.10: "network sandbox does not exist").
            _ => {
                let is_over = !container.id.is_empty() && container.pid == 0;
                let was_started = message == "started"
                    || container.exit_code != 0
                    || ["service binding", "network sandbox"]
                        .iter()
                        .any(|word| err.contains(word));
                match is_over && was_started {
                    true => End::Ran,
                    false => End::Untold,
                }
            }
        }
    }
}

/// What is known of the process of a task that is over.
enum End {
    /// It ran, and the code is its own.
    Ran,
    /// Proven, not only unseen.
    NeverRan,
    /// Swarm gave the task up, and listens no more to what its process does.
    Untold,
}

/// The one task of a service that carries out its run; none when it has not been made yet.
pub(super) fn task_of<'a>(service: &Service, tasks: &'a [Task]) -> Option<&'a Task> {
    tasks
        .iter()
        .filter(|task| task.service == service.id && !task.spec.is_nowhere())
        .max_by(|a, b| a.created_at.cmp(&b.created_at))
}

fn time(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

/// A run's state from its service, its task, and the node that has it.
pub(super) fn state_of(service: &Service, task: Option<&Task>, nodes: &[Node]) -> ContainerState {
    let spec = &service.spec.task_template;
    let mut state = ContainerState {
        id: service.spec.name.clone(),
        name: run_of(service),
        image: spec.image().to_owned(),
        image_id: String::new(),
        labels: service.spec.labels.clone(),
        status: ContainerStatus::Pending(String::new()),
        started_at: None,
        finished_at: None,
        exit_code: 0,
        error: String::new(),
        oom_killed: false,
        ended_by_engine: false,
        node: String::new(),
        log_driver: String::new(),
        log_path: String::new(),
        tty: spec.container_spec.tty,
        environment: Vec::new(),
        entrypoint: Vec::new(),
        command: spec.container_spec.args.clone(),
        working_dir: String::new(),
    };
    let Some(task) = task else {
        let noted = StopNote::read(&service.spec.labels).is_some();
        if service.spec.is_reserved() && !noted {
            state.status = match spec.is_nowhere() {
                true => ContainerStatus::Removing,
                false => ContainerStatus::Created,
            };
        } else if spec.is_nowhere() {
            state.status = ContainerStatus::Exited;
            state.ended_by_engine = true;
            state.error = "it was ended before it had a task".to_owned();
        }
        return state;
    };
    let node = nodes.iter().find(|node| node.id == task.node);
    state.node = node.map_or_else(|| task.node.clone(), node_name);
    let at = time(&task.status.timestamp);
    let lost = task.needs_node() && node.is_none_or(Node::is_down);
    match task.state() {
        // What it does, and whether it goes on, nobody can say. It was seen down when its node's record
        // last changed.
        "running" if lost => {
            state.status = ContainerStatus::Dead;
            state.started_at = at;
            state.finished_at = node.and_then(|node| time(&node.updated_at));
        }
        "running" => {
            state.status = ContainerStatus::Running;
            state.started_at = at;
        }
        word if STARTING.contains(&word) && lost => {
            state.status = ContainerStatus::Dead;
            state.finished_at = node.and_then(|node| time(&node.updated_at));
        }
        // Its container is being started, or runs and is not healthy yet, for as long as that takes: Swarm tells
        // no more. A start that fails says so afterwards.
        "starting" => {
            state.status = ContainerStatus::Running;
            state.started_at = at;
        }
        word if STARTING.contains(&word) => state.status = ContainerStatus::Starting,
        "new" | "allocated" | "pending" => {
            // Without an error, nobody has looked for a node yet.
            state.status = ContainerStatus::Pending(task.status.err.clone());
        }
        "orphaned" => {
            state.status = ContainerStatus::Dead;
            state.finished_at = at;
        }
        "complete" | "failed" | "rejected" | "shutdown" => {
            state.finished_at = at;
            let said = |or: String| match task.status.err.as_str() {
                "" => or,
                text => text.to_owned(),
            };
            match task.end() {
                End::NeverRan => {
                    state.status = ContainerStatus::Exited;
                    state.error = said(format!("its task was {} before it ran", task.state()));
                }
                End::Untold => {
                    state.status = ContainerStatus::Dead;
                    state.error = said(format!("its task was {}", task.state()));
                }
                End::Ran => {
                    state.status = ContainerStatus::Exited;
                    state.exit_code = task.status.container_status.exit_code;
                    // The time of its start went with its last state: it was given out no later.
                    state.started_at = time(&task.created_at).min(at);
                }
            }
            state.ended_by_engine = task.state() == "shutdown";
        }
        word => state.status = ContainerStatus::Other(word.to_owned()),
    }
    state
}

fn node_name(node: &Node) -> String {
    match node.description.hostname.as_str() {
        "" => node.id.clone(),
        name => name.to_owned(),
    }
}

fn run_of(service: &Service) -> String {
    let run = service.spec.labels.get(LABEL_RUN);
    run.unwrap_or(&service.spec.name).clone()
}

pub(super) fn summary_of(service: &Service, task: Option<&Task>, nodes: &[Node]) -> ContainerSummary {
    let state = state_of(service, task, nodes);
    let status_text = match (&state.status, task) {
        (ContainerStatus::Pending(why), _) => format!("Pending: {why}"),
        (ContainerStatus::Exited, _) if state.error.is_empty() => {
            format!("Exited ({}) on {}", state.exit_code, state.node)
        }
        (ContainerStatus::Exited, _) => state.error.clone(),
        (ContainerStatus::Dead, _) if state.error.is_empty() => format!("Lost with {}", state.node),
        (ContainerStatus::Dead, _) => format!("Given up on {}: {}", state.node, state.error),
        (_, Some(task)) => format!("{} on {}", task.state(), state.node),
        (_, None) => String::new(),
    };
    ContainerSummary {
        id: state.id,
        name: state.name,
        image: state.image,
        image_id: state.image_id,
        status: state.status,
        status_text,
        created: time(&service.created_at).unwrap_or_default(),
        labels: state.labels,
        command: state.command.join(" "),
        ports: String::new(),
        own: false,
        version: service.version.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service() -> Service {
        serde_json::from_value(json!({
            "ID": "s", "Version": {"Index": 3}, "CreatedAt": "2026-11-27T07:16:01Z",
            "Spec": {"Name": "shop--a--x", "Labels": null,
                     "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Placement": {}}},
        }))
        .unwrap()
    }

    fn task(changes: Value) -> Task {
        let mut whole = json!({
            "ID": "t", "ServiceID": "s", "NodeID": "n", "CreatedAt": "2026-11-27T07:16:01.3Z",
            "Spec": {}, "DesiredState": "running",
            "Status": {"State": "running", "Timestamp": "2026-11-27T07:16:02Z", "Message": "started"},
        });
        for (key, value) in changes.as_object().unwrap() {
            if let (Some(old), Some(new)) = (whole[key].as_object_mut(), value.as_object()) {
                old.extend(new.clone());
            } else {
                whole[key] = value.clone();
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    fn node(state: &str) -> Node {
        serde_json::from_value(json!({
            "ID": "n", "UpdatedAt": "2026-11-27T08:00:00Z", "Status": {"State": state},
            "Description": {"Hostname": "east"},
        }))
        .unwrap()
    }

    fn seen(changes: Value, node_state: &str) -> ContainerState {
        state_of(&service(), Some(&task(changes)), &[node(node_state)])
    }

    /// As measured on 20.10.
    #[test]
    fn each_state_of_a_task_has_its_meaning() {
        let ready = |changes| seen(changes, "ready");
        assert_eq!(ready(json!({})).status, ContainerStatus::Running);
        let word = |state: &str| ready(json!({"Status": {"State": state}}));
        assert_eq!(word("preparing").status, ContainerStatus::Starting);
        let unhealthy_yet = word("starting");
        assert_eq!(unhealthy_yet.status, ContainerStatus::Running);
        assert!(unhealthy_yet.started_at.is_some());
        let failed = ready(
            json!({"Status": {"State": "failed", "Err": "task: non-zero exit (3)",
            "ContainerStatus": {"ContainerID": "c", "ExitCode": 3}}}),
        );
        assert_eq!((failed.status, failed.exit_code), (ContainerStatus::Exited, 3));
        assert_eq!((failed.error.as_str(), failed.started_at.is_some()), ("", true));
        let no_command = ready(json!({"Status": {"State": "failed", "Message": "starting",
            "Err": "starting container failed: no such file",
            "ContainerStatus": {"ContainerID": "c", "ExitCode": 127}}}));
        assert_eq!(no_command.started_at, None);
        assert_eq!(no_command.error, "starting container failed: no such file");
        // Its exit code is 0.
        let rejected = ready(json!({"Status": {"State": "rejected", "Message": "preparing",
            "Err": "No such image: x"}}));
        assert_eq!(
            (rejected.started_at, rejected.error.as_str()),
            (None, "No such image: x")
        );
        let stopped = ready(json!({"DesiredState": "shutdown", "Status": {"State": "shutdown",
            "Message": "shutdown", "ContainerStatus": {"ContainerID": "c", "ExitCode": 7}}}));
        assert!(stopped.ended_by_engine && stopped.exit_code == 7 && stopped.started_at.is_some());
        let pending = ready(json!({"Status": {"State": "pending", "Err": "no suitable node"}}));
        assert_eq!(
            pending.status,
            ContainerStatus::Pending("no suitable node".to_owned())
        );
    }

    /// The words are moby's, of 20.10 and 29.
    #[test]
    fn that_a_task_never_ran_is_said_only_where_it_is_proven() {
        let ended = |state: &str, message: &str, err: &str, container: Value| {
            let seen = seen(
                json!({"DesiredState": "shutdown", "Status": {"State": state, "Message": message,
                    "Err": err, "ContainerStatus": container}}),
                "ready",
            );
            let ran = seen.started_at.is_some();
            (seen.status, ran.then_some(seen.exit_code))
        };
        let container = |pid: i64, code: i64| json!({"ContainerID": "c", "PID": pid, "ExitCode": code});
        let binding = "failed to activate service binding for container a.1.t: sandbox not found";
        let sandbox = "network sandbox does not exist for container a.1.t";
        let (over, untold) = (ContainerStatus::Exited, ContainerStatus::Dead);
        for err in [binding, sandbox] {
            let of = |pid, code| ended("failed", "starting", err, container(pid, code));
            assert_eq!(of(0, 0), (over.clone(), Some(0)), "its code is its own");
            assert_eq!(of(0, 3), (over.clone(), Some(3)));
            assert_eq!(of(77, 0), (untold.clone(), None), "it runs on");
        }
        let unhealthy = "task: non-zero exit (137): dockerexec: unhealthy container";
        assert_eq!(
            ended("failed", "starting", unhealthy, container(0, 137)),
            (over.clone(), Some(137))
        );
        let refused = "starting container failed: exec: no such file";
        assert_eq!(
            ended("failed", "starting", refused, container(0, 127)),
            (over.clone(), None)
        );
        // Whether it was removed before its start or after its end, nobody can say.
        let gone = "No such container: a.1.t";
        assert_eq!(
            ended("failed", "starting", gone, container(0, 0)),
            (untold.clone(), None)
        );
        // What is known of it is from when it ran: the 0 is not its code.
        assert_eq!(
            ended("failed", "started", gone, container(77, 0)),
            (untold.clone(), None)
        );
        let enforcer = "task rejected by constraint enforcer";
        let unmet = "assigned node no longer meets constraints";
        assert_eq!(
            ended("rejected", enforcer, unmet, container(77, 0)),
            (untold, None)
        );
        assert_eq!(
            ended("rejected", "preparing", "No such image: x", Value::Null),
            (over, None)
        );
    }

    #[test]
    fn a_reserved_service_waits_until_it_is_begun_given_up_or_concluded() {
        let seen = |replicas: u64, constraints: &[&str], note: bool| {
            let mut labels = BTreeMap::new();
            if note {
                let note = StopNote {
                    outcome: crate::model::Outcome::Cancelled,
                    reason: "because".to_owned(),
                };
                labels.extend(note.labels());
            }
            let service: Service = serde_json::from_value(json!({
                "ID": "s", "Version": {"Index": 3},
                "Spec": {"Name": "shop--a--x", "Labels": labels, "Mode": {"Replicated": {"Replicas": replicas}},
                         "TaskTemplate": {"Placement": {"Constraints": constraints}}},
            }))
            .unwrap();
            state_of(&service, None, &[]).status
        };
        assert_eq!(seen(0, &[], false), ContainerStatus::Created);
        assert_eq!(seen(0, &[NOWHERE], false), ContainerStatus::Removing);
        assert_eq!(seen(0, &[NOWHERE], true), ContainerStatus::Exited);
        assert_eq!(seen(1, &[], false), ContainerStatus::Pending(String::new()));
        assert_eq!(seen(1, &[NOWHERE], false), ContainerStatus::Exited);
    }

    #[test]
    fn a_run_is_lost_only_when_its_node_is_down_and_swarm_has_given_it_up() {
        let given_up = json!({"DesiredState": "shutdown"});
        assert_eq!(seen(given_up.clone(), "down").status, ContainerStatus::Dead);
        assert_eq!(seen(given_up, "ready").status, ContainerStatus::Running);
        assert_eq!(seen(json!({}), "down").status, ContainerStatus::Running);
    }

    #[test]
    fn the_task_that_stands_for_the_end_is_not_the_run() {
        let run = task(json!({"ID": "run"}));
        let end = task(json!({"ID": "end", "CreatedAt": "2026-11-27T07:20:00Z",
            "Spec": {"Placement": {"Constraints": [NOWHERE]}}}));
        let tasks = [end, run];
        assert_eq!(
            task_of(&service(), &tasks).map(|task| task.id.as_str()),
            Some("run")
        );
    }
}
