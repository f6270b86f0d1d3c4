//! `list containers`: what runs on the engine, and with `-a` all of ours in every state.
//!
//! Opens no ledger: this is what the engine says, not what was recorded.

use jiff::Timestamp;

use crate::engine::{ContainerFilter, ContainerSummary, Observe};
use crate::model::{ContainerStatus, LABEL_JOB, LABEL_MANAGED_BY, LABEL_PROJECT, MANAGED_BY};
use crate::wire::{self, Shape as _};

use super::App;
use super::args::{
    Filter, check_filters, check_times, check_words, matches_filters, matches_labels, time_or_age,
};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{Column, ListArgs, Listing, Row, short_id, to_json, truncated};
use super::words;

/// List the running containers of the engine, or all of the scheduler's
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The scheduler's containers in every state, instead of everything that runs
    #[arg(short, long)]
    all: bool,

    /// Show the N newest alone
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,

    /// Only containers that match: name=TEXT, id=ID, image=NAME, status=WORD (or state=), label=KEY[=VALUE],
    /// job=NAME, project=NAME, since=TIME, until=TIME (made after and before it)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<Filter>,

    #[command(flatten)]
    list: ListArgs,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler list containers
  docker-scheduler list containers -a -f job=shop.backup";

const COLUMNS: &[Column] = &[
    Column {
        heading: "CONTAINER ID",
        field: "ID",
    },
    Column {
        heading: "IMAGE",
        field: "Image",
    },
    Column {
        heading: "COMMAND",
        field: "Command",
    },
    Column {
        heading: "CREATED",
        field: "RunningFor",
    },
    Column {
        heading: "STATUS",
        field: "Status",
    },
    Column {
        heading: "PORTS",
        field: "Ports",
    },
    Column {
        heading: "NAMES",
        field: "Names",
    },
];

const FILTERS: [&str; 10] = [
    "name", "id", "image", "status", "state", "label", "job", "project", "since", "until",
];

/// States that engines name; the last three are Podman's.
const STATES: [&str; 11] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
    "stopping",
    "stopped",
    "initialized",
    "configured",
];

/// Docker cuts a command there.
const COMMAND_WIDTH: usize = 20;

pub async fn run(args: Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &FILTERS)?;
    check_times(&args.filter, &["since", "until"], app.now())?;
    for key in ["status", "state"] {
        check_words(&args.filter, key, &STATES)?;
    }
    args.list.check(COLUMNS, wire::Container::FIELDS)?;
    let engine = app.engine().await?;
    let containers = fetch(engine.as_ref(), args.all).await?;
    listing(containers, &args, app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

async fn fetch(engine: &dyn Observe, all: bool) -> Result<Vec<ContainerSummary>, CommandError> {
    let filter = ContainerFilter {
        all,
        label: all.then(|| (LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned())),
    };
    engine
        .list_containers(&filter)
        .await
        .map_err(|error| CommandError::engine("list the containers", &error))
}

/// Newest first.
fn listing(
    mut containers: Vec<ContainerSummary>,
    args: &Args,
    now: Timestamp,
) -> Result<Listing, CommandError> {
    containers
        .retain(|container| matches_filters(&args.filter, |key, value| matches(container, key, value, now)));
    containers.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    containers.truncate(args.last.unwrap_or(usize::MAX));
    let rows = containers
        .into_iter()
        .map(|container| row(container, args.list.no_trunc, now))
        .collect::<Result<_, _>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Container::FIELDS,
        spare: &["PORTS", "CREATED", "COMMAND"],
        rows,
    })
}

fn matches(container: &ContainerSummary, key: &str, value: &str, now: Timestamp) -> bool {
    match key {
        "name" => container.name.contains(value),
        "id" => container.id.starts_with(value),
        "image" => container.image == value || container.image.split(':').next() == Some(value),
        "status" | "state" => state_word(&container.status) == value,
        "since" => time_or_age(value, now).is_ok_and(|since| container.created >= since),
        "until" => time_or_age(value, now).is_ok_and(|until| container.created < until),
        _ => matches_labels(&container.labels, key, value),
    }
}

fn row(container: ContainerSummary, no_trunc: bool, now: Timestamp) -> Result<Row, CommandError> {
    let job = match (
        container.labels.get(LABEL_PROJECT),
        container.labels.get(LABEL_JOB),
    ) {
        (Some(project), Some(job)) => Some(format!("{project}.{job}")),
        _ => None,
    };
    let shape = wire::Container {
        v: wire::VERSION,
        id: container.id,
        name: container.name,
        image: container.image,
        command: container.command,
        created_at: container.created,
        state: state_word(&container.status).to_owned(),
        status: container.status_text,
        ports: container.ports,
        job,
        labels: container.labels,
    };
    let (id, command) = if no_trunc {
        (shape.id.clone(), shape.command.clone())
    } else {
        (short_id(&shape.id), truncated(&shape.command, COMMAND_WIDTH))
    };
    Ok(Row {
        key: id.clone(),
        cells: vec![
            id,
            shape.image.clone(),
            format!("\"{command}\""),
            words::ago(shape.created_at, now),
            shape.status.clone(),
            shape.ports.clone(),
            shape.name.clone(),
        ],
        json: to_json(&shape)?,
    })
}

fn state_word(status: &ContainerStatus) -> &str {
    match status {
        ContainerStatus::Created => "created",
        ContainerStatus::Pending(_) => "pending",
        ContainerStatus::Starting => "starting",
        ContainerStatus::Running => "running",
        ContainerStatus::Paused => "paused",
        ContainerStatus::Restarting => "restarting",
        ContainerStatus::Removing => "removing",
        ContainerStatus::Exited => "exited",
        ContainerStatus::Dead => "dead",
        ContainerStatus::Other(word) => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, created: &str) -> ContainerSummary {
        ContainerSummary {
            id: format!("{name}0123456789abcdef"),
            name: name.into(),
            image: "busybox:1.36".into(),
            image_id: "sha256:00".into(),
            status: ContainerStatus::Running,
            status_text: "Up 5 minutes".into(),
            created: created.parse().unwrap(),
            labels: [
                (LABEL_PROJECT.to_owned(), "shop".to_owned()),
                (LABEL_JOB.to_owned(), "backup".to_owned()),
            ]
            .into(),
            command: "sh -c 'sleep 1000000'".into(),
            ports: String::new(),
            own: false,
            version: 0,
        }
    }

    fn args(filters: &[&str], last: Option<usize>) -> Args {
        Args {
            all: false,
            last,
            filter: filters.iter().map(|filter| filter.parse().unwrap()).collect(),
            list: ListArgs::default(),
        }
    }

    fn rows(args: &Args) -> Vec<Row> {
        let containers = vec![
            container("web", "2026-11-22T23:00:00Z"),
            container("db", "2026-11-22T23:55:00Z"),
        ];
        listing(containers, args, "2026-11-23T00:00:00Z".parse().unwrap())
            .unwrap()
            .rows
    }

    #[test]
    fn the_newest_comes_first_and_long_texts_are_cut() {
        let rows = rows(&args(&[], None));
        assert_eq!(
            rows[0].cells,
            [
                "db0123456789",
                "busybox:1.36",
                "\"sh -c 'sleep 100000…\"",
                "5 minutes ago",
                "Up 5 minutes",
                "",
                "db"
            ]
        );
        assert!(
            rows[0].json.contains(r#""job":"shop.backup""#),
            "{}",
            rows[0].json
        );
    }

    #[test]
    fn filters_and_last_select_rows() {
        let names = |filters: &[&str], last| -> Vec<String> {
            rows(&args(filters, last))
                .into_iter()
                .map(|row| row.cells[6].clone())
                .collect()
        };
        assert_eq!(names(&[], Some(1)), ["db"]);
        assert_eq!(names(&[], Some(0)), Vec::<String>::new());
        assert_eq!(names(&["name=we"], None), ["web"]);
        assert_eq!(names(&["image=busybox"], None).len(), 2);
        assert_eq!(names(&["status=exited"], None).len(), 0);
        assert_eq!(names(&["label=docker-scheduler.job=backup"], None).len(), 2);
        assert_eq!(names(&["label=nope"], None).len(), 0);
        assert_eq!(names(&["job=backup", "state=running"], None).len(), 2);
        assert_eq!(
            names(&["job=shop.backup", "project=blog"], None).len(),
            0,
            "both must match"
        );
        assert_eq!(names(&["since=30m"], None), ["db"]);
        assert_eq!(names(&["until=30m"], None), ["web"]);
    }
}
