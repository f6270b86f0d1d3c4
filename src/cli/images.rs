//! `list images`: all images of the engine, as the engine knows them.

use jiff::Timestamp;

use crate::engine::{ImageSummary, Observe};
use crate::wire::{self, Shape as _};

use super::App;
use super::args::{Filter, check_filters, check_times, matches_filters, time_or_age};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{Column, ListArgs, Listing, Row, quoted, short_id, to_json};
use super::words;
use crate::model::Glob;

/// List the images of the engine
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Accepted as in Docker; all images are always listed
    #[arg(short, long)]
    all: bool,

    /// Show the N newest alone
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,

    /// Only images that match: reference=NAME[:TAG] (`*` stands for anything), dangling=true|false,
    /// since=TIME, until=TIME (made after and before it)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<Filter>,

    #[command(flatten)]
    list: ListArgs,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler list images
  docker-scheduler list images -f reference='postgres:*' -q";

const COLUMNS: &[Column] = &[
    Column {
        heading: "REPOSITORY",
        field: "Repository",
    },
    Column {
        heading: "TAG",
        field: "Tag",
    },
    Column {
        heading: "IMAGE ID",
        field: "ID",
    },
    Column {
        heading: "CREATED",
        field: "CreatedSince",
    },
    Column {
        heading: "SIZE",
        field: "Size",
    },
];

/// What Docker prints for a part that an image does not have.
const NONE: &str = "<none>";

pub async fn run(args: Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &["reference", "dangling", "since", "until"])?;
    check_times(&args.filter, &["since", "until"], app.now())?;
    check_truths(&args.filter)?;
    args.list.check(COLUMNS, wire::Image::FIELDS)?;
    let engine = app.engine().await?;
    let images = fetch(engine.as_ref()).await?;
    listing(&images, &args, app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

async fn fetch(engine: &dyn Observe) -> Result<Vec<ImageSummary>, CommandError> {
    engine
        .list_images()
        .await
        .map_err(|error| CommandError::engine("list the images", &error))
}

/// Newest first, one row for each tag.
fn listing(images: &[ImageSummary], args: &Args, now: Timestamp) -> Result<Listing, CommandError> {
    let mut shapes: Vec<wire::Image> = images
        .iter()
        .flat_map(shapes_of)
        .filter(|image| matches_filters(&args.filter, |key, value| matches(image, key, value, now)))
        .collect();
    shapes.sort_by(|a, b| {
        b.created_at
            .cmp(&a.created_at)
            .then_with(|| (&a.repository, &a.tag, &a.id).cmp(&(&b.repository, &b.tag, &b.id)))
    });
    shapes.truncate(args.last.unwrap_or(usize::MAX));
    let rows = shapes
        .iter()
        .map(|image| row(image, args.list.no_trunc, now))
        .collect::<Result<_, _>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Image::FIELDS,
        spare: &["CREATED"],
        rows,
    })
}

fn shapes_of(image: &ImageSummary) -> Vec<wire::Image> {
    let shape = |repository, tag| wire::Image {
        v: wire::VERSION,
        id: image.id.clone(),
        repository,
        tag,
        created_at: image.created,
        size_bytes: image.size_bytes,
    };
    if image.tags.is_empty() {
        return vec![shape(None, None)];
    }
    image
        .tags
        .iter()
        .map(|reference| {
            // The last colon after the last slash: a registry's port comes before it.
            let name_start = reference.rfind('/').map_or(0, |slash| slash + 1);
            match reference[name_start..].rfind(':') {
                Some(colon) => shape(
                    Some(reference[..name_start + colon].to_owned()),
                    Some(reference[name_start + colon + 1..].to_owned()),
                ),
                None => shape(Some(reference.clone()), None),
            }
        })
        .collect()
}

/// `dangling` is true or false.
fn check_truths(filters: &[Filter]) -> Result<(), CommandError> {
    let wrong = filters
        .iter()
        .find(|filter| filter.key == "dangling" && !matches!(filter.value.as_str(), "true" | "false"));
    match wrong {
        None => Ok(()),
        Some(filter) => Err(CommandError::usage(format!(
            "{} is no value for the filter `dangling`",
            quoted(&filter.value)
        ))
        .caused_by("use true or false")),
    }
}

fn matches(image: &wire::Image, key: &str, value: &str, now: Timestamp) -> bool {
    let repository = image.repository.as_deref().unwrap_or_default();
    let tag = image.tag.as_deref().unwrap_or_default();
    match key {
        "reference" => {
            let glob = Glob::new(value);
            glob.matches(repository) || glob.matches(&format!("{repository}:{tag}"))
        }
        "dangling" => (value == "true") == image.repository.is_none(),
        "since" => time_or_age(value, now).is_ok_and(|since| image.created_at >= since),
        "until" => time_or_age(value, now).is_ok_and(|until| image.created_at < until),
        _ => false,
    }
}

fn row(image: &wire::Image, no_trunc: bool, now: Timestamp) -> Result<Row, CommandError> {
    let id = if no_trunc {
        image.id.clone()
    } else {
        short_id(&image.id)
    };
    Ok(Row {
        key: id.clone(),
        cells: vec![
            image.repository.clone().unwrap_or_else(|| NONE.to_owned()),
            image.tag.clone().unwrap_or_else(|| NONE.to_owned()),
            id,
            words::ago(image.created_at, now),
            words::size(image.size_bytes),
        ],
        json: to_json(image)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str], created: &str) -> ImageSummary {
        ImageSummary {
            id: format!("sha256:{id}"),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            created: created.parse().unwrap(),
            size_bytes: 4_260_000,
        }
    }

    fn cells(filters: &[&str], last: Option<usize>) -> Vec<Vec<String>> {
        let images = [
            image(
                "0123456789abcdef",
                &["busybox:latest", "localhost:5000/a/b:1.2"],
                "2026-11-20T00:00:00Z",
            ),
            image("fedcba9876543210", &[], "2026-11-22T00:00:00Z"),
        ];
        let args = Args {
            all: false,
            last,
            filter: filters.iter().map(|filter| filter.parse().unwrap()).collect(),
            list: ListArgs::default(),
        };
        let now = "2026-11-23T00:00:00Z".parse().unwrap();
        let listing = listing(&images, &args, now).unwrap();
        listing.rows.into_iter().map(|row| row.cells).collect()
    }

    #[test]
    fn every_tag_has_a_row_and_a_dangling_image_has_one_too() {
        assert_eq!(
            cells(&[], None),
            [
                ["<none>", "<none>", "fedcba987654", "24 hours ago", "4.26MB"],
                ["busybox", "latest", "0123456789ab", "3 days ago", "4.26MB"],
                [
                    "localhost:5000/a/b",
                    "1.2",
                    "0123456789ab",
                    "3 days ago",
                    "4.26MB"
                ],
            ]
        );
    }

    #[test]
    fn filters_select_rows() {
        assert_eq!(cells(&["dangling=true"], None).len(), 1);
        assert_eq!(cells(&["reference=busybox"], None).len(), 1);
        assert_eq!(cells(&["reference=localhost:5000/a/b:1.2"], None).len(), 1);
        assert_eq!(cells(&["reference=nope"], None).len(), 0);
        assert_eq!(cells(&["reference=busy*:la*"], None).len(), 1);
        assert_eq!(cells(&["since=2026-11-21T00:00:00Z"], None).len(), 1);
        assert_eq!(cells(&["until=2d"], None).len(), 2);
        assert_eq!(cells(&[], Some(1))[0][2], "fedcba987654", "the newest");
        assert_eq!(cells(&[], Some(0)).len(), 0);
    }
}
