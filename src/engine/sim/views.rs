//! What the simulated daemon shows: lists, inspect, files, logs and remembered events.

use jiff::Timestamp;

use super::super::{
    ContainerFilter, ContainerState, ContainerSummary, EngineEvent, EngineInfo, EngineKind, ImageSummary,
    LogChunk, LogOptions, PathStat,
};
use super::program;
use super::state::{Container, LogLine, State};
use super::verbs::binds;
use crate::model::ContainerStatus;

impl State {
    pub(super) fn info(&self) -> EngineInfo {
        let (kind, name, version) = match self.settings.podman {
            true => (EngineKind::Podman, "simulated podman 4.3", "4.3"),
            false => (EngineKind::Simulated, "simulated 20.10", "20.10"),
        };
        EngineInfo {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            api_version: "1.41".to_owned(),
            identity: "SIMULATED /var/lib/docker".to_owned(),
            system_time: Some(self.daemon_time()),
            default_log_driver: self.settings.default_log_driver.clone(),
            operating_system: "none".to_owned(),
            rootless: false,
            root_dir: "/var/lib/docker".to_owned(),
            warnings: Vec::new(),
        }
    }

    /// Newest first, as Docker lists them.
    pub(super) fn list(&self, filter: &ContainerFilter) -> Vec<ContainerSummary> {
        let now = self.now.wall;
        let mut list = match &self.stale_list {
            Some((until, list)) if now < *until => list.clone(),
            _ => self.summaries(),
        };
        list.retain(|one| {
            let labelled = filter
                .label
                .as_ref()
                .is_none_or(|(key, value)| one.labels.get(key) == Some(value));
            labelled && (filter.all || one.status.is_live())
        });
        list
    }

    pub(super) fn summaries(&self) -> Vec<ContainerSummary> {
        let mut containers: Vec<&Container> = self.containers.values().collect();
        containers.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
        containers.into_iter().map(|one| self.summary(one)).collect()
    }

    fn summary(&self, container: &Container) -> ContainerSummary {
        let status = self.status(&container.id).unwrap_or(ContainerStatus::Dead);
        ContainerSummary {
            id: container.id.clone(),
            name: container.name.clone(),
            image: container.request.spec.image.to_string(),
            image_id: container.image_id.clone(),
            status_text: status_text(container, &status, self.now.wall),
            status,
            created: container.created,
            labels: container.labels.clone(),
            command: container.argv.join(" "),
            ports: String::new(),
            own: false,
            version: 0,
        }
    }

    pub(super) fn inspect(&self, name_or_id: &str) -> Option<ContainerState> {
        let container = self.find(name_or_id)?;
        let checkpoint = container.checkpoint.clone();
        let spec = &container.request.spec;
        let environment = container.environment.iter();
        Some(ContainerState {
            id: container.id.clone(),
            name: container.name.clone(),
            image: spec.image.to_string(),
            image_id: container.image_id.clone(),
            labels: container.labels.clone(),
            status: self.status(&container.id)?,
            started_at: checkpoint.started_at,
            finished_at: checkpoint.finished_at,
            exit_code: checkpoint.exit_code,
            error: checkpoint.error,
            oom_killed: checkpoint.out_of_memory,
            ended_by_engine: false,
            node: String::new(),
            log_driver: container.log_driver.clone(),
            log_path: checkpoint.log_path,
            tty: spec.tty,
            environment: environment.map(|(key, value)| format!("{key}={value}")).collect(),
            entrypoint: Vec::new(),
            command: container.argv.clone(),
            working_dir: spec.working_dir.clone().unwrap_or_default(),
        })
    }

    pub(super) fn image_summaries(&self) -> Vec<ImageSummary> {
        let images = self.images.values();
        images
            .map(|image| ImageSummary {
                id: image.id.clone(),
                tags: image.tags.iter().cloned().collect(),
                created: image.created,
                size_bytes: 4_000_000,
            })
            .collect()
    }

    /// The commands of [`program::COMMANDS`] and what was installed lie in `/bin`; besides them
    /// there are only folders. A bind source that has vanished hides everything, as on Docker.
    pub(super) fn stat_path(&self, name_or_id: &str, path: &str) -> Option<PathStat> {
        let container = self.find(name_or_id)?;
        let spec = &container.request.spec;
        if binds(spec).any(|(source, _)| !self.host_paths.contains(source)) {
            return None;
        }
        let folders = ["/", "/bin", "/etc", "/tmp", "/usr", "/usr/bin", "/var"];
        let mut mounted = spec.mounts.iter().map(|mount| mount.target.as_str());
        let is_dir = folders.contains(&path) || mounted.any(|target| target == path);
        let is_file = path.starts_with("/bin/") && program::is_executable(path, &self.installed);
        (is_dir || is_file).then(|| PathStat {
            is_dir,
            mode: 0o755,
            link_target: String::new(),
        })
    }

    /// Events that the daemon remembers. Without both ends it tells of none, as Docker does.
    pub(super) fn remembered(
        &self,
        label: &(String, String),
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Vec<EngineEvent> {
        if since.is_none() && until.is_none() {
            return Vec::new();
        }
        let ring = self.daemon.ring.iter();
        ring.filter(|event| event.labels.get(&label.0) == Some(&label.1))
            .filter(|event| since.is_none_or(|since| event.at >= since))
            .filter(|event| until.is_none_or(|until| event.at <= until))
            .cloned()
            .collect()
    }

    /// Which of a container's lines such a read begins with: the tail is cut once, so that lines
    /// which come later do not move it.
    pub(super) fn first_line(&self, id: &str, options: &LogOptions) -> usize {
        let lines = self
            .containers
            .get(id)
            .map_or(&[][..], |container| &container.output);
        let wanted: Vec<usize> = (0..lines.len())
            .filter(|at| is_wanted(&lines[*at], options))
            .collect();
        let Some(tail) = options.tail else {
            return 0;
        };
        let skipped = wanted
            .len()
            .saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
        wanted.get(skipped).copied().unwrap_or(lines.len())
    }

    /// The next line from `from` on, and where to go on after it.
    pub(super) fn line(&self, id: &str, from: usize, options: &LogOptions) -> Option<(LogChunk, usize)> {
        let lines = &self.containers.get(id)?.output;
        let at = (from..lines.len()).find(|at| is_wanted(&lines[*at], options))?;
        Some((chunk(&lines[at], options.timestamps), at + 1))
    }
}

fn is_wanted(line: &LogLine, options: &LogOptions) -> bool {
    options.since.is_none_or(|since| line.at >= since) && options.until.is_none_or(|until| line.at <= until)
}

fn chunk(line: &LogLine, timestamps: bool) -> LogChunk {
    let text = match timestamps {
        true => format!("{:.9} {}", line.at, line.text),
        false => line.text.clone(),
    };
    LogChunk {
        stream: line.stream,
        bytes: text.into(),
    }
}

fn status_text(container: &Container, status: &ContainerStatus, now: Timestamp) -> String {
    let checkpoint = &container.checkpoint;
    let ago = |at: Option<Timestamp>| at.map_or(0, |at| now.duration_since(at).as_secs().max(0));
    match status {
        ContainerStatus::Created | ContainerStatus::Pending(_) | ContainerStatus::Starting => {
            "Created".to_owned()
        }
        ContainerStatus::Running => format!("Up {}", words(ago(checkpoint.started_at))),
        ContainerStatus::Exited => {
            let since = words(ago(checkpoint.finished_at));
            format!("Exited ({}) {since} ago", checkpoint.exit_code)
        }
        ContainerStatus::Removing => "Removal In Progress".to_owned(),
        ContainerStatus::Dead => "Dead".to_owned(),
        ContainerStatus::Paused => "Paused".to_owned(),
        ContainerStatus::Restarting => "Restarting".to_owned(),
        ContainerStatus::Other(word) => word.clone(),
    }
}

/// Docker's rough words for a duration (go-units `HumanDuration`), as far as tests need them.
fn words(seconds: i64) -> String {
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
