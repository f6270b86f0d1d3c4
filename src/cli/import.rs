//! `import`: schedules of other programs, as a manifest and a report of what it lacks.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::manifest::{self, Diagnostic, EnvFile, Files, ManifestFile, PathFact};
use crate::os;
use crate::schedule::{check_every, check_timezone, parse_duration};
use crate::transfer::{self, Imported, Options, Place, Source, Times};

use super::App;
use super::args::{NameArg, TextOrJson, dir};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::output::{print, quoted, talk, talk_raw, to_json};
use super::validate::shape;

/// Bring schedules along: from a crontab, ofelia, Compose labels, Kubernetes or a container
///
/// Writes a manifest to stdout (or to a file, with `-o`), and to stderr everything that it could not
/// carry over, by line. Nothing is started, and nothing is changed where the schedules come from: take
/// them away there once the manifest does their work. Ends with 3 when there was nothing to import.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// A crontab of a user, or of the system (/etc/crontab, /etc/cron.d)
    #[command(after_long_help = OF_CRONTAB)]
    Crontab(Crontab),
    /// The INI file of ofelia, of either edition
    #[command(after_long_help = OF_OFELIA)]
    Ofelia(OneFile),
    /// A Compose file with labels of ofelia, chadburn, deck-chores or swarm-cronjob, or with x-cron
    #[command(after_long_help = OF_COMPOSE)]
    Compose(OneFile),
    /// CronJobs of Kubernetes, with the ConfigMaps and Secrets they use
    #[command(after_long_help = OF_KUBERNETES)]
    Kubernetes(OneFile),
    /// A container of this engine
    #[command(after_long_help = OF_CONTAINER)]
    Container(Container),
}

/// Each of these is run by a test.
const OF_CRONTAB: &str = r"Examples:
  docker-scheduler import crontab /etc/crontab --image debian:bookworm --timezone Europe/Berlin
  docker-scheduler import crontab tab --exec-container nextcloud -o jobs/tab.yaml";
const OF_OFELIA: &str = r"Examples:
  docker-scheduler import ofelia config.ini --project legacy";
const OF_COMPOSE: &str = r"Examples:
  docker-scheduler import compose compose.yaml -o jobs/imported.yaml";
const OF_KUBERNETES: &str = r"Examples:
  docker-scheduler import kubernetes cronjobs.yaml --format json";
const OF_CONTAINER: &str = r"Examples:
  docker-scheduler import container backup --schedule '30 2 * * *' --timezone Europe/Berlin";

#[derive(Debug, clap::Args)]
struct OneFile {
    /// What to read; `-` is stdin
    #[arg(value_parser = dir)]
    file: PathBuf,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Crontab {
    /// What to read; `-` is stdin
    #[arg(value_parser = dir)]
    file: PathBuf,

    /// Run commands of the host in new containers of this image, by a shell
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["exec_container", "exec_service"])]
    image: Option<crate::model::ImageRef>,

    /// Run commands of the host inside this container
    #[arg(long, value_name = "NAME", conflicts_with = "exec_service")]
    exec_container: Option<NameArg>,

    /// Run commands of the host inside the container of this Compose service
    #[arg(long, value_name = "NAME", requires = "exec_project")]
    exec_service: Option<NameArg>,

    /// The Compose project of that service
    #[arg(long, value_name = "NAME", requires = "exec_service")]
    exec_project: Option<NameArg>,

    /// Each line names a user before its command [default: for /etc/crontab and /etc/cron.d/*]
    #[arg(long, conflicts_with = "user")]
    system: bool,

    /// No line names a user
    #[arg(long)]
    user: bool,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Container {
    /// Its name or ID
    name: NameArg,

    /// When the job starts, as a cron expression; may be given several times
    #[arg(long, value_name = "CRON")]
    schedule: Vec<String>,

    /// How often the job starts
    #[arg(long, value_name = "DURATION", value_parser = every)]
    every: Option<u64>,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Where to write the manifest [default: stdout]
    #[arg(short, long, value_name = "FILE", value_parser = dir)]
    output: Option<PathBuf>,

    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,

    /// The project of the new jobs [default: made of the name of what is read]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Time zone of schedules that name none
    #[arg(long, value_name = "ZONE", value_parser = timezone)]
    timezone: Option<String>,

    /// How to report what was lost: as people read it, or one JSON object for each
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

pub fn timezone(text: &str) -> Result<String, String> {
    match check_timezone(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.message),
    }
}

fn every(text: &str) -> Result<u64, String> {
    let period = parse_duration(text).map_err(|error| error.message)?;
    check_every(period).map_err(|error| error.to_string())?;
    Ok(period.as_secs())
}

/// # Errors
/// When there is nothing to import, or a file cannot be read or written.
pub async fn run(args: Args, app: &App) -> CommandResult {
    match args.from {
        From::Crontab(args) => crontab(args, app),
        From::Ofelia(args) => one_file(Source::Ofelia, &args, app),
        From::Compose(args) => one_file(Source::Compose, &args, app),
        From::Kubernetes(args) => one_file(Source::Kubernetes, &args, app),
        From::Container(args) => container(args, app).await,
    }
}

fn crontab(args: Crontab, app: &App) -> CommandResult {
    let mut options = args.output.options(&args.file);
    let named = |name: NameArg| name.as_str().to_owned();
    options.system = args.system || (!args.user && is_of_system(&args.file));
    options.place = match (
        args.image,
        args.exec_container,
        args.exec_service,
        args.exec_project,
    ) {
        (Some(image), ..) => Some(Place::Image(image.to_string())),
        (_, Some(container), ..) => Some(Place::Container(named(container))),
        (_, _, Some(service), Some(project)) => Some(Place::Service {
            service: named(service),
            project: named(project),
        }),
        _ => None,
    };
    from_file(Source::Crontab, &args.file, &options, &args.output, app)
}

/// Where cron keeps crontabs with users in them.
fn is_of_system(file: &Path) -> bool {
    let path = os::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    path == Path::new("/etc/crontab") || path.parent() == Some(Path::new("/etc/cron.d"))
}

fn one_file(source: Source, args: &OneFile, app: &App) -> CommandResult {
    let mut options = args.output.options(&args.file);
    if source == Source::Compose {
        let real = os::canonicalize(&args.file).ok();
        let beside = real.and_then(|file| Some(file.parent()?.join(".env")));
        options.dot_env = match beside.map(fs::read_to_string).transpose() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                talk(&format!(
                    "warning: cannot read the `.env` beside the file: {error}"
                ));
                None
            }
        };
    }
    from_file(source, &args.file, &options, &args.output, app)
}

fn from_file(source: Source, file: &Path, options: &Options, output: &Output, app: &App) -> CommandResult {
    let text = read(file)?;
    let name = file.display().to_string();
    let imported = transfer::import(source, &name, &text, options);
    finish(&imported, &name, &text, output, app)
}

async fn container(args: Container, app: &App) -> CommandResult {
    let engine = app.observer().await?;
    let name = args.name.as_str();
    let described = engine
        .describe(name)
        .await
        .map_err(|error| CommandError::engine(&format!("inspect {}", quoted(name)), &error))?
        .ok_or_else(|| {
            CommandError::new(
                ErrorKind::Manifests,
                format!("there is no container {}", quoted(name)),
            )
        })?;
    let times = Times {
        schedules: args.schedule,
        every: args.every,
    };
    let options = args.output.options(Path::new(name));
    let imported =
        transfer::import_container(&described.container, described.image.as_ref(), &times, &options);
    finish(&imported, &format!("container {name}"), "", &args.output, app)
}

impl Output {
    fn options(&self, file: &Path) -> Options {
        let real = os::canonicalize(file).ok();
        let folder = real.as_deref().and_then(Path::parent).and_then(Path::file_name);
        Options {
            project: self.project.clone(),
            timezone: self.timezone.clone(),
            folder: folder.map(|name| name.to_string_lossy().into_owned()),
            ..Options::default()
        }
    }
}

fn read(file: &Path) -> Result<String, CommandError> {
    let failed = |why: String| {
        CommandError::new(ErrorKind::Manifests, format!("cannot read `{}`", file.display())).caused_by(why)
    };
    let mut bytes = Vec::new();
    let limit = manifest::MAX_BYTES + 1;
    let read = if file == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > manifest::MAX_BYTES {
        return Err(failed(format!("it is larger than {} bytes", manifest::MAX_BYTES)));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(String::from("it is not a text in UTF-8")))?;
    // Editors of Windows put a mark in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Writes the manifest, and says what it lacks and what `validate` has to say about it.
fn finish(imported: &Imported, name: &str, text: &str, output: &Output, app: &App) -> CommandResult {
    if imported.jobs > 0 {
        match &output.output {
            None => print(&imported.text)?,
            Some(path) => write(path, &imported.text, output.force)?,
        }
    }
    say(&imported.report, &BTreeMap::from([(name, text)]), output.format)?;
    if imported.jobs == 0 {
        let message = format!("nothing of `{name}` could be imported");
        return Err(CommandError::new(ErrorKind::Manifests, message));
    }
    let file = output.output.as_deref();
    let refused = refused(imported, file, app);
    let shown = shown(file);
    say(
        &refused,
        &BTreeMap::from([(shown.as_str(), imported.text.as_str())]),
        output.format,
    )?;
    talk(&closing(imported, refused.len()));
    Ok(Exit::OK)
}

fn closing(imported: &Imported, refused: usize) -> String {
    let plural =
        |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let errors = imported.report.iter().filter(|found| found.is_error()).count();
    let mut line = format!("imported {}", plural(imported.jobs, "job", "jobs"));
    if errors > 0 {
        line.push_str(&format!(
            "; {} not",
            plural(errors, "entry could", "entries could")
        ));
    }
    let rest = imported.report.len() - errors;
    if rest > 0 {
        line.push_str(&format!(
            "; {}",
            plural(rest, "thing to look at", "things to look at")
        ));
    }
    if refused > 0 {
        line.push_str(&format!(
            "; `validate` will refuse {}",
            plural(refused, "thing", "things")
        ));
    }
    line
}

fn say(found: &[Diagnostic], texts: &BTreeMap<&str, &str>, format: TextOrJson) -> Result<(), CommandError> {
    match format {
        TextOrJson::Text => talk_raw(&manifest::pictures(found, texts, "", true)),
        TextOrJson::Json => {
            for diagnostic in found {
                talk_raw(&format!("{}\n", to_json(&shape(diagnostic))?));
            }
        }
    }
    Ok(())
}

fn shown(file: Option<&Path>) -> String {
    file.unwrap_or(Path::new("the new manifest"))
        .display()
        .to_string()
}

/// What the real reader refuses with this operator's policy. It is taken for granted that the paths of
/// its mounts are there; env files and those of secrets may be missing, where it is known what they lie beside.
fn refused(imported: &Imported, file: Option<&Path>, app: &App) -> Vec<Diagnostic> {
    // The parent of a bare name is empty.
    let parent = file.and_then(Path::parent);
    let parent = parent.map(|folder| {
        if folder == Path::new("") {
            Path::new(".")
        } else {
            folder
        }
    });
    let folder = parent.and_then(|folder| os::canonicalize(folder).ok());
    let mut files = Files {
        manifests: vec![ManifestFile {
            path: shown(file),
            folder: folder.unwrap_or_else(|| PathBuf::from("/")),
            text: Ok(imported.text.clone()),
            dot_env: None,
            env_files: BTreeMap::new(),
            commit: None,
            stale: false,
        }],
        paths: BTreeMap::new(),
    };
    let settings = app.manifest_settings(None);
    let mut loaded = manifest::load(&files, &settings);
    // The second reading has what the first one asked for.
    let secrets = std::mem::take(&mut loaded.wants.secrets);
    for path in std::mem::take(&mut loaded.wants.paths) {
        let fact = PathFact {
            real: path.clone(),
            exists: file.is_none() || !secrets.contains(&path) || path.exists(),
            holds: None,
        };
        files.paths.insert(path, fact);
    }
    for path in loaded.wants.env_files.into_values().flatten() {
        let found = if file.is_some() && !path.exists() {
            EnvFile::Missing
        } else {
            EnvFile::Text {
                real: path.clone(),
                text: String::new(),
            }
        };
        files.manifests[0].env_files.insert(path, found);
    }
    let loaded = manifest::load(&files, &settings);
    loaded
        .diagnostics
        .into_iter()
        .filter(Diagnostic::is_error)
        .collect()
}

/// Writes a file, over another only by `force`.
///
/// # Errors
/// When it exists, or cannot be written.
pub fn write(path: &Path, text: &str, force: bool) -> Result<(), CommandError> {
    let result = if force {
        fs::write(path, text)
    } else {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
    };
    result.map_err(|error| {
        let failed =
            CommandError::failed(format!("cannot write `{}`", path.display())).caused_by(error.to_string());
        match error.kind() {
            io::ErrorKind::AlreadyExists => failed.hint("`--force` writes over it"),
            io::ErrorKind::NotFound => failed.hint("make its folder first"),
            _ => failed,
        }
    })
}
