//! `export`: the jobs of a directory in the words of another scheduler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::kubernetes::Target;
use crate::manifest;
use crate::model::{EngineName, Instance};
use crate::transfer::{Destination, export};

use super::App;
use super::args::{DirArg, TextOrJson, dir};
use super::declared::{Manifests, contents_of};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::import::write;
use super::output::{print, printable, talk, talk_raw};
use super::plugin::DockerFlags;
use super::settings::{LogFormat, Settings};
use super::validate::shape;

/// Write the jobs for another scheduler: Kubernetes, Compose itself, or cron
///
/// What has no form there is an error at its line, and nothing is written then; `--skip-unsupported`
/// leaves such jobs out. Secrets are written as they are: mind where the output goes. Asks no engine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// CronJobs as YAML; a Compose file for the engine's own jobs; or lines that call `trigger`
    #[arg(long, value_enum)]
    to: To,

    /// Only the jobs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Leave out jobs that have no form there, instead of writing nothing
    #[arg(long)]
    skip_unsupported: bool,

    /// Where to write [default: stdout]
    #[arg(short, long, value_name = "FILE", value_parser = dir)]
    output: Option<PathBuf>,

    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,

    /// How to report what does not fit: as people read it, or one JSON object for each, on stderr
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Kubernetes,
    Compose,
    Crontab,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler export jobs --to kubernetes --namespace batch > cronjobs.yaml
  docker-scheduler export jobs --to crontab --skip-unsupported";

/// # Errors
/// When the manifests have errors, or a job has no form there.
pub fn run(args: Args, app: &App) -> CommandResult {
    let dir = args.dir.dir.unwrap_or_else(|| PathBuf::from("schedules.d"));
    let manifests = Manifests::read(app, &dir)?;
    let files = manifests.files.clone();
    let prefix = format!("{}/", dir.display().to_string().trim_end_matches('/'));
    let mut jobs = manifests.without_errors()?.jobs;
    jobs.retain(|name, _| {
        args.project
            .as_deref()
            .is_none_or(|project| name.project() == project)
    });
    if jobs.is_empty() {
        return Err(CommandError::new(
            ErrorKind::Manifests,
            format!("there is no job in `{}`", dir.display()),
        ));
    }
    let to = match args.to {
        To::Kubernetes => Destination::Kubernetes(Target {
            namespace: app.settings().namespace.clone(),
            instance: app.settings().instance.as_ref().map(ToString::to_string),
            contents: contents_of(jobs.values()),
        }),
        To::Crontab => {
            if let Some(limit) = app.caps().running {
                talk(&format!(
                    "note: {limit} containers run at a time, says the operator's file: at that limit `trigger` refuses a start, and none waits"
                ));
            }
            Destination::Crontab(call(app, &dir)?, app.engine_name())
        }
        To::Compose => {
            one_project(jobs.keys().map(|name| name.project()).collect())?;
            Destination::Compose
        }
    };
    let exported = export(&jobs, &files.texts(), &to, app.now());
    match args.format {
        TextOrJson::Text => talk_raw(&manifest::pictures(
            &exported.report,
            &files.texts(),
            &prefix,
            true,
        )),
        TextOrJson::Json => {
            for found in &exported.report {
                talk_raw(&format!("{}\n", super::output::to_json(&shape(found))?));
            }
        }
    }
    let left_out = jobs.len() - exported.jobs;
    if exported.jobs == 0 || (left_out > 0 && !args.skip_unsupported) {
        let message = format!(
            "{left_out} of {} jobs have no form there, and nothing is written",
            jobs.len()
        );
        return Err(
            CommandError::new(ErrorKind::Manifests, message).hint("`--skip-unsupported` leaves them out")
        );
    }
    match &args.output {
        None => print(&exported.text)?,
        Some(path) => write(path, &exported.text, args.force)?,
    }
    if left_out > 0 {
        talk(&format!("{left_out} of {} jobs are left out", jobs.len()));
    }
    Ok(Exit::OK)
}

/// The command of a crontab's lines, with all that it was told here and would not know there: cron has
/// neither these variables nor this folder. The usual operator's file is found again.
fn call(app: &App, dir: &Path) -> Result<Vec<String>, CommandError> {
    let (settings, config) = (app.settings(), app.config());
    let Settings {
        engine,
        kube_context,
        namespace,
        host,
        context,
        config: file,
        instance,
        state,
        host_dir,
        take_over: _, // once
        log_level: _, // what goes wrong, as for a mail
        log_format,
        color: _, // there is no terminal
        docker,
    } = settings;
    let mut words = of_docker(docker, |name| std::env::var(name).ok())?;
    let found = std::env::var_os("PATH").unwrap_or_default();
    words.push(program(
        std::env::current_exe().ok().as_deref(),
        std::env::split_paths(&found),
    )?);
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), value]);
        }
    };
    let (host, context) = match (host, context) {
        (None, None) => of_variables(|name| std::env::var(name).ok()),
        (host, context) => (host.clone(), context.clone()),
    };
    flag("--log-level", Some(String::from("warn")));
    if *log_format == LogFormat::Json {
        flag("--log-format", Some(String::from("json")));
    }
    flag("--config", file.as_deref().map(absolute).transpose()?);
    flag(
        "--engine",
        unlike(*engine, config.engine).map(|engine| engine.as_str().to_owned()),
    );
    flag(
        "--kube-context",
        unlike(kube_context.clone(), config.kube_context.clone()),
    );
    flag("--namespace", unlike(namespace.clone(), config.namespace.clone()));
    flag("--host", unlike(host, config.host.clone()));
    flag("--context", unlike(context, config.context.clone()));
    let instance = unlike(instance.clone(), config.instance.clone());
    let instance = instance.filter(|name| config.instance.is_some() || *name != Instance::default());
    flag("--instance", instance.map(|name| name.to_string()));
    let state = unlike(state.clone(), config.state.clone());
    flag("--state", state.as_deref().map(absolute).transpose()?);
    flag("--host-dir", host_dir.as_deref().map(absolute).transpose()?);
    words.push(String::from("trigger"));
    // On Kubernetes a job starts as it was applied.
    if app.engine_name() != EngineName::Kubernetes {
        words.extend([String::from("--dir"), absolute(dir)?]);
    }
    // The job's output and exit code, as if cron had run it.
    words.extend(["--wait", "--logs"].map(String::from));
    Ok(words)
}

/// This program, as cron finds it: by its name where every cron looks, else by its whole path. Of a link to it
/// in a folder of `PATH` the link is named, since what it points to may be of one version alone.
fn program(
    running: Option<&Path>,
    mut folders: impl Iterator<Item = PathBuf>,
) -> Result<String, CommandError> {
    const NAME: &str = "docker-scheduler";
    let Some(running) = running else {
        return Ok(String::from(NAME));
    };
    let is_this = |path: &PathBuf| path.canonicalize().is_ok_and(|real| real == running);
    let linked = folders.find_map(|folder| Some(folder.join(NAME)).filter(is_this));
    let path = linked.as_deref().unwrap_or(running);
    let is_usual = ["/usr/bin", "/bin"]
        .iter()
        .any(|usual| path.parent() == Some(Path::new(usual)));
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_usual => Ok(name.to_owned()),
        _ => absolute(path),
    }
}

/// What the operator's file does not say by itself.
fn unlike<T: PartialEq>(value: Option<T>, config: Option<T>) -> Option<T> {
    value.filter(|value| Some(value) != config.as_ref())
}

/// The engine that the docker CLI's variables name: a host, or else a context.
fn of_variables(variable: impl Fn(&str) -> Option<String>) -> (Option<String>, Option<String>) {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    match set("DOCKER_HOST") {
        Some(host) => (Some(host), None),
        None => (None, set("DOCKER_CONTEXT")),
    }
}

/// What else the docker CLI was told, by flags or by variables: where its logins and contexts are, and how an engine
/// is known. There are no flags of ours for these.
fn of_docker(
    told: &DockerFlags,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, CommandError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let one = |flag: bool, name: &str| flag.then(|| String::from("1")).or_else(|| set(name));
    let folder = |told: Option<PathBuf>, name: &str| {
        let path = told.or_else(|| set(name).map(PathBuf::from));
        path.as_deref().map(absolute).transpose()
    };
    let found = [
        ("DOCKER_CONFIG", folder(told.config.clone(), "DOCKER_CONFIG")?),
        ("DOCKER_TLS", one(told.tls, "DOCKER_TLS")),
        ("DOCKER_TLS_VERIFY", one(told.tls_verify, "DOCKER_TLS_VERIFY")),
        ("DOCKER_CERT_PATH", folder(None, "DOCKER_CERT_PATH")?),
    ];
    let mut words: Vec<String> = found
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
        .collect();
    if !words.is_empty() {
        words.insert(0, String::from("env"));
    }
    Ok(words)
}

fn absolute(path: &Path) -> Result<String, CommandError> {
    let whole = std::path::absolute(path).ok();
    let text = whole.as_deref().and_then(Path::to_str).map(str::to_owned);
    text.ok_or_else(|| {
        CommandError::usage(format!(
            "the path `{}` has no form in a crontab",
            printable(&path.display().to_string())
        ))
    })
}

/// A Compose file is of one project.
fn one_project(projects: BTreeSet<&str>) -> Result<(), CommandError> {
    if projects.len() == 1 {
        return Ok(());
    }
    let names: Vec<&str> = projects.into_iter().collect();
    Err(
        CommandError::usage("a Compose file is of one project, and there are several").hint(format!(
            "name one with `--project`: {}",
            printable(&names.join(", "))
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_was_told_goes_into_the_lines() {
        let none = of_docker(&DockerFlags::default(), |_| Some(String::new()));
        assert_eq!(none.unwrap(), Vec::<String>::new());
        let told = DockerFlags {
            tls_verify: true,
            ..DockerFlags::default()
        };
        let found = of_docker(&told, |name| {
            (name == "DOCKER_CONFIG").then(|| String::from("/srv/its own"))
        });
        assert_eq!(
            found.unwrap(),
            ["env", "DOCKER_CONFIG=/srv/its own", "DOCKER_TLS_VERIFY=1"]
        );
    }

    #[test]
    fn cron_is_told_where_the_program_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let real = root.join("1.2/docker-scheduler");
        std::fs::create_dir(root.join("1.2")).unwrap();
        std::fs::write(&real, "").unwrap();
        let of = |running: &Path, folders: &[&Path]| {
            let folders = folders.iter().map(|folder| folder.to_path_buf());
            program(Some(running), folders).unwrap()
        };
        // Where cron looks, and nowhere else.
        assert_eq!(
            of(Path::new("/usr/bin/docker-scheduler"), &[]),
            "docker-scheduler"
        );
        assert_eq!(of(Path::new("/bin/ds"), &[]), "ds");
        for path in [
            "/usr/local/bin/docker-scheduler",
            "/home/a b/50%/docker-scheduler",
        ] {
            assert_eq!(of(Path::new(path), &[Path::new("/usr/bin")]), path);
        }
        assert_eq!(program(None, std::iter::empty()).unwrap(), "docker-scheduler");
        // A plugin's folder is none of `PATH`; another program of that name is not this one.
        let other = root.join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("docker-scheduler"), "").unwrap();
        assert_eq!(of(&real, &[&other]), real.to_str().unwrap());
        #[cfg(unix)]
        {
            let bin = root.join("bin");
            std::fs::create_dir(&bin).unwrap();
            let link = bin.join("docker-scheduler");
            std::os::unix::fs::symlink(&real, &link).unwrap();
            assert_eq!(of(&real, &[&other, &bin]), link.to_str().unwrap());
        }
    }

    #[test]
    fn a_host_counts_before_a_context() {
        let of = |set: &[(&str, &str)]| {
            of_variables(|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let (host, context) = (("DOCKER_HOST", "tcp://a:1"), ("DOCKER_CONTEXT", "b"));
        assert_eq!(of(&[host, context]), (Some(String::from("tcp://a:1")), None));
        assert_eq!(
            of(&[("DOCKER_HOST", ""), context]),
            (None, Some(String::from("b")))
        );
        assert_eq!(of(&[]), (None, None));
    }
}
