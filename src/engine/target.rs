//! Containers that somebody else runs, as targets of a command: which one is meant, and whether it
//! has the program.

use super::{ContainerState, ContainerSummary, EngineError, Observe, PathStat};
use crate::model::{ContainerStatus, ExecTarget, TargetState, Which};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
/// Of `docker compose run`: not the service itself.
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// Which of these containers (all of the engine's, in every state) is meant, and whether it runs.
#[must_use]
pub fn find_target(containers: &[ContainerSummary], target: &ExecTarget) -> TargetState {
    let label = |one: &ContainerSummary, key: &str| one.labels.get(key).cloned().unwrap_or_default();
    let mut found: Vec<&ContainerSummary> = match &target.which {
        Which::Container(name) => containers.iter().filter(|one| one.name == *name).collect(),
        Which::Service { project, service } => containers
            .iter()
            .filter(|one| label(one, PROJECT) == *project && label(one, SERVICE) == *service)
            .filter(|one| !label(one, ONE_OFF).eq_ignore_ascii_case("true"))
            .collect(),
    };
    let number = |one: &ContainerSummary| label(one, NUMBER).parse().unwrap_or(u64::MAX);
    let runs = |one: &ContainerSummary| one.status == ContainerStatus::Running;
    found.sort_by_key(|one| (!runs(one), number(one), one.name.clone()));
    let Some(first) = found.first() else {
        return TargetState::NotReady(match &target.which {
            Which::Container(name) => format!("there is no container {name}"),
            Which::Service { project, service } => {
                format!("there is no container of service {service} in project {project}")
            }
        });
    };
    if first.own {
        // Whoever runs a command there has the engine.
        return TargetState::NotReady(format!("container {} is the scheduler's own", first.name));
    }
    if let Some(project) = &target.only_project
        && label(first, PROJECT) != *project
    {
        return TargetState::NotReady(ExecTarget::foreign(&first.name, project));
    }
    if !runs(first) {
        // Without the engine's own words, which say how long ago and so are others at each look.
        return TargetState::NotReady(format!("container {} is not running", first.name));
    }
    TargetState::Ready {
        id: first.id.clone(),
        name: first.name.clone(),
        image_id: first.image_id.clone(),
    }
}

/// What a look along PATH tells of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// It is there, or the engine cannot be asked: that is not held against the job.
    Found,
    NotExecutable(String),
    Missing,
}

/// Looks for a program in a container's file system.
///
/// # Errors
/// When the engine is away.
pub async fn find_program(
    engine: &dyn Observe,
    container: &str,
    program: &str,
    state: &ContainerState,
) -> Result<Program, EngineError> {
    let mut found = Program::Missing;
    for path in candidates(program, state) {
        match lookup(engine, container, &path).await {
            Ok(Some(stat)) if !stat.is_dir && stat.mode & 0o111 != 0 => return Ok(Program::Found),
            Ok(Some(_)) => found = Program::NotExecutable(path),
            Ok(None) => {}
            Err(error) if error.is_unreachable() => return Err(error),
            Err(_) => return Ok(Program::Found),
        }
    }
    Ok(found)
}

/// Where a program would be found: itself when it is a path, else along PATH.
fn candidates(program: &str, state: &ContainerState) -> Vec<String> {
    let in_dir = |dir: &str, name: &str| format!("{}/{name}", dir.trim_end_matches('/'));
    if program.starts_with('/') {
        return vec![program.to_owned()];
    }
    if program.contains('/') {
        return vec![in_dir(
            if state.working_dir.is_empty() {
                "/"
            } else {
                &state.working_dir
            },
            program,
        )];
    }
    let path = state
        .environment
        .iter()
        .rev()
        .find_map(|pair| pair.strip_prefix("PATH="));
    // The engine's own default for an image without one.
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path.split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| in_dir(dir, program))
        .collect()
}

/// Follows symbolic links inside the container, a few of them.
async fn lookup(engine: &dyn Observe, id: &str, path: &str) -> Result<Option<PathStat>, EngineError> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let Some(stat) = engine.stat_path(id, &path).await? else {
            return Ok(None);
        };
        if stat.link_target.is_empty() {
            return Ok(Some(stat));
        }
        path = if stat.link_target.starts_with('/') {
            stat.link_target
        } else {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            format!("{parent}/{}", stat.link_target)
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn container(name: &str, status: ContainerStatus, labels: &[(&str, &str)]) -> ContainerSummary {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ContainerSummary {
            id: format!("id-{name}"),
            name: name.to_owned(),
            image: "busybox".to_owned(),
            image_id: "sha256:0".to_owned(),
            status_text: "Exited (0) 2 hours ago".to_owned(),
            status,
            created: Timestamp::UNIX_EPOCH,
            labels: labels.collect(),
            command: String::new(),
            ports: String::new(),
            own: false,
            version: 0,
        }
    }

    fn of_service(name: &str, number: &str, status: ContainerStatus) -> ContainerSummary {
        container(
            name,
            status,
            &[(PROJECT, "cloud"), (SERVICE, "app"), (NUMBER, number)],
        )
    }

    fn service() -> ExecTarget {
        ExecTarget {
            which: Which::Service {
                project: "cloud".to_owned(),
                service: "app".to_owned(),
            },
            only_project: None,
        }
    }

    fn chosen(containers: &[ContainerSummary], target: &ExecTarget) -> String {
        match find_target(containers, target) {
            TargetState::Ready { name, .. } => name,
            TargetState::NotReady(why) => format!("! {why}"),
        }
    }

    #[test]
    fn of_a_scaled_service_the_lowest_number_that_runs() {
        let all = [
            of_service("cloud-app-10", "10", ContainerStatus::Running),
            of_service("cloud-app-2", "2", ContainerStatus::Running),
            of_service("cloud-app-1", "1", ContainerStatus::Exited),
        ];
        assert_eq!(chosen(&all, &service()), "cloud-app-2");
        assert_eq!(
            chosen(&all[2..], &service()),
            "! container cloud-app-1 is not running"
        );
        assert_eq!(
            chosen(&[], &service()),
            "! there is no container of service app in project cloud"
        );
    }

    #[test]
    fn a_one_off_container_of_compose_is_not_the_service() {
        let mut one_off = of_service("cloud-app-run-1", "1", ContainerStatus::Running);
        one_off.labels.insert(ONE_OFF.to_owned(), "True".to_owned());
        assert!(chosen(&[one_off], &service()).starts_with('!'));
    }

    #[test]
    fn nobody_runs_a_command_in_the_schedulers_own_container() {
        let mut own = of_service("cloud-app-1", "1", ContainerStatus::Running);
        own.own = true;
        assert_eq!(
            chosen(&[own], &service()),
            "! container cloud-app-1 is the scheduler's own"
        );
    }

    #[test]
    fn a_container_of_another_project_is_the_operators_to_allow() {
        let named = |only_project: Option<&str>| ExecTarget {
            which: Which::Container("db".to_owned()),
            only_project: only_project.map(str::to_owned),
        };
        let theirs = [container("db", ContainerStatus::Running, &[(PROJECT, "cloud")])];
        let nobodys = [container("db", ContainerStatus::Running, &[])];
        assert_eq!(chosen(&theirs, &named(Some("cloud"))), "db");
        assert_eq!(chosen(&theirs, &named(None)), "db");
        for containers in [&theirs, &nobodys] {
            let why = chosen(containers, &named(Some("shop")));
            assert!(why.contains("`policy.exec: [db]`"), "{why}");
        }
    }
}
