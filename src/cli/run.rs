//! `run`: a one-off container, its output ours, its exit code ours.
//!
//! No schedule, no ledger, no lock: the loop never looks at its container, which carries two labels
//! that say whose it is. Exit codes of our own are those of `docker run`: 125 the engine or this
//! program failed, 126 the command cannot be invoked, 127 it was not found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::engine::{self, CreateRequest, Engine, EngineError, LogChunk, LogStream, SharedEngine};
use crate::manifest;
use crate::model::{
    ContainerName, ContainerSpec, ImageRef, LABEL_MANAGED_BY, LABEL_TRIGGER, MANAGED_BY, Mount, MountKind,
    Text, validate_container_ref,
};

use super::App;
use super::error::{CommandError, CommandResult, ErrorKind, Exit, RunFailure};
use super::interrupt::Interrupts;
use super::output::{print_line, quoted, short_id, talk};
use super::pull;

/// Run a command in a new container, once
///
/// The image is pulled when the engine does not have it. The container's output is this command's
/// output, and its exit code this command's exit code; 125, 126 and 127 mean what they mean to
/// `docker run`. A command given as one text is split as a shell would.
#[derive(Debug, clap::Args)]
#[command(override_usage = "docker-scheduler run [OPTIONS] IMAGE [COMMAND...]")]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Print the container's ID and leave it running
    #[arg(short, long, conflicts_with = "rm")]
    detach: bool,

    /// Delete the container when it has ended
    #[arg(long)]
    rm: bool,

    /// Set a variable in the container; KEY alone takes this shell's value
    #[arg(short, long = "env", value_name = "KEY[=VALUE]", value_parser = parse_env)]
    env: Vec<EnvArg>,

    /// Mount a folder (absolute or ./relative) or a named volume
    #[arg(short, long = "volume", value_name = "[SOURCE:]TARGET[:ro]", value_parser = parse_volume)]
    volume: Vec<VolumeArg>,

    /// Network to join
    #[arg(long, value_name = "NETWORK", value_parser = parse_network)]
    network: Option<String>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,

    /// The image, and the command to run in it (the image's own without one)
    #[arg(
        value_name = "IMAGE",
        required = true,
        num_args = 1..,
        trailing_var_arg = true
    )]
    image_and_command: Vec<String>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler run ubuntu:latest 'echo hello world'
  docker-scheduler run --rm -v data:/data -e LEVEL=9 alpine tar -cf - /data";

/// The value of [`LABEL_TRIGGER`] on a container of `run`, which the loop never looks at.
pub const TRIGGER_RUN: &str = "run";

/// How long a container may go on after the end of its output before that is said.
const ENDING: Duration = Duration::from_secs(2);

/// How long an engine that went away may take to come back before we give up on its container.
const ENGINE_AWAY: Duration = Duration::from_secs(30);

pub async fn run(args: Args, app: &App) -> CommandResult {
    let request = request(&args, &std::env::current_dir().unwrap_or_default(), &|name| {
        std::env::var(name).ok()
    })?;
    let of_run = |error: CommandError| match error.kind() {
        ErrorKind::Run(_) => error,
        _ => error.with_kind(ErrorKind::Run(RunFailure::Engine)),
    };
    let engine = app.engine().await.map_err(of_run)?;
    execute(&engine, &request, &args).await.map_err(of_run)
}

async fn execute(engine: &SharedEngine, request: &CreateRequest, args: &Args) -> CommandResult {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        present = ensure_image(engine.as_ref(), &request.spec.image) => present?,
        () = interrupts.next() => return Ok(Exit::CANCELLED),
    }
    // Not to be interrupted: the engine would make the container all the same.
    let created = create(engine.as_ref(), request).await?;
    if args.detach {
        start(engine.as_ref(), &created).await?;
        print_line(&created)?;
        return Ok(Exit::OK);
    }
    let exit = attended(engine, &created, &mut interrupts).await;
    if args.rm && !matches!(&exit, Err(error) if error.kind() == ErrorKind::EngineUnreachable) {
        delete(engine.as_ref(), &created).await;
    }
    exit
}

/// Pulls the image when the engine does not have it.
async fn ensure_image(engine: &dyn Engine, image: &ImageRef) -> Result<(), CommandError> {
    let known = engine
        .image_id(image)
        .await
        .map_err(|error| CommandError::engine(&format!("look for the image `{image}`"), &error))?;
    if known.is_none() {
        pull::pull(engine, image).await?;
    }
    Ok(())
}

async fn create(engine: &dyn Engine, request: &CreateRequest) -> Result<String, CommandError> {
    let created = engine
        .create(request)
        .await
        .map_err(|error| CommandError::engine("create the container", &error))?;
    for warning in &created.warnings {
        talk(&format!("warning: {warning}"));
    }
    Ok(created.id)
}

/// Starts the container, passes its output on, and waits for its end.
async fn attended(engine: &SharedEngine, id: &str, interrupts: &mut Interrupts) -> CommandResult {
    let output = engine
        .attach(id)
        .await
        .map_err(|error| CommandError::engine("attach to the container", &error))?;
    start(engine.as_ref(), id).await?;

    let mut ended = Box::pin(follow(engine, id, output));
    tokio::select! {
        code = &mut ended => return Ok(Exit::of_container(code?)),
        () = interrupts.next() => talk("stopping the container; once more to kill it"),
    }
    // It may still write, and its last lines are wanted.
    tokio::select! {
        (_, ended) = async { tokio::join!(stop(engine.as_ref(), id), &mut ended) } => {
            return ended.map(|_| Exit::CANCELLED);
        }
        () = interrupts.next() => talk("killing the container; once more to leave it"),
    }
    // No longer read: a reader of ours that does not read would hold up everybody.
    drop(ended);
    tokio::select! {
        killed = kill(engine.as_ref(), id) => killed.map(|_| Exit::CANCELLED),
        () = interrupts.next() => {
            talk(&format!("left the container {} behind", short_id(id)));
            Ok(Exit::CANCELLED)
        }
    }
}

/// One start call. What the engine says of a command that it cannot run decides the exit code.
async fn start(engine: &dyn Engine, id: &str) -> Result<(), CommandError> {
    let Err(error) = engine.start(id).await else {
        return Ok(());
    };
    let failure = match &error {
        EngineError::Refused { message, .. } => start_failure(message),
        _ => RunFailure::Engine,
    };
    Err(CommandError::engine("start the container", &error).with_kind(ErrorKind::Run(failure)))
}

/// Reads the engine's words as `docker run` does (`toStatusError` of its CLI).
fn start_failure(message: &str) -> RunFailure {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        RunFailure::NotFound
    } else if says(&["permission denied", "is a directory", "exec format error"]) {
        RunFailure::CannotInvoke
    } else {
        RunFailure::Engine
    }
}

/// Passes the output on until it ends, then gives the exit code. When nobody reads our output any
/// more, the container is stopped, as a command of a local pipe would be.
async fn follow(
    engine: &SharedEngine,
    id: &str,
    mut output: BoxStream<'static, engine::Result<LogChunk>>,
) -> Result<i64, CommandError> {
    let mut stdout = tokio::io::stdout();
    let mut stderr = tokio::io::stderr();
    let mut was_said = false;
    while let Some(chunk) = output.next().await {
        let written = match chunk {
            Ok(chunk) => match chunk.stream {
                LogStream::Stdout => pass_on(&mut stdout, &chunk.bytes).await,
                LogStream::Stderr => pass_on(&mut stderr, &chunk.bytes).await,
            },
            Err(error) => {
                talk(&format!("warning: the container's output was cut off: {error}"));
                was_said = true;
                break;
            }
        };
        if let Err(error) = written {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                talk(&format!(
                    "warning: failed to write the container's output: {error}"
                ));
            }
            // An engine that cannot get rid of the output never sees the container's end.
            drop(output);
            stop(engine.as_ref(), id).await;
            was_said = true;
            break;
        }
    }
    let mut ended = std::pin::pin!(wait(engine.as_ref(), id));
    if !was_said {
        match tokio::time::timeout(ENDING, &mut ended).await {
            Ok(ended) => return ended,
            // Its processes closed it, or something between the engine and us ended a quiet connection.
            Err(_) => talk(&format!(
                "note: its output has ended, and the container runs on; `docker logs {}` has what it still writes",
                short_id(id)
            )),
        }
    }
    ended.await
}

async fn pass_on(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// The exit code once the container has ended. Its output may end before: a process can close it.
async fn wait(engine: &dyn Engine, id: &str) -> Result<i64, CommandError> {
    let mut pause = Duration::from_millis(20);
    let mut away = Duration::ZERO;
    loop {
        match engine.inspect(id).await {
            Ok(Some(state)) if state.status.is_live() => away = Duration::ZERO,
            Ok(Some(state)) => return Ok(state.exit_code),
            Ok(None) => {
                return Err(CommandError::failed(format!(
                    "the container {} was deleted before its exit code was read",
                    short_id(id)
                )));
            }
            Err(error) if away >= ENGINE_AWAY => {
                return Err(CommandError::engine("wait for the container", &error)
                    .hint(format!("the container {} may still be running", short_id(id))));
            }
            Err(_) => away += pause,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

async fn kill(engine: &dyn Engine, id: &str) -> Result<i64, CommandError> {
    engine
        .kill(id)
        .await
        .map_err(|error| CommandError::engine("kill the container", &error))?;
    wait(engine, id).await
}

async fn stop(engine: &dyn Engine, id: &str) {
    if let Err(error) = engine.stop(id, None).await {
        talk(&format!("warning: failed to stop the container: {error}"));
    }
}

/// `--rm`. The run's own result stands, whatever becomes of this.
async fn delete(engine: &dyn Engine, id: &str) {
    if let Err(error) = engine.remove(id, true).await {
        talk(&format!(
            "warning: failed to delete the container {}: {error}",
            short_id(id)
        ));
    }
}

/// One `-e`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EnvArg {
    key: String,
    /// `None`: this process's own value, if it has one.
    value: Option<String>,
}

fn parse_env(text: &str) -> Result<EnvArg, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err(String::from("a variable needs a name"));
    }
    if text.contains('\0') || key.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(String::from(
            "a variable's name holds no white space or control character",
        ));
    }
    Ok(EnvArg {
        key: key.to_owned(),
        value,
    })
}

/// One `-v`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct VolumeArg {
    source: Source,
    target: String,
    read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Anonymous,
    Volume(String),
    Folder(PathBuf),
}

fn parse_volume(text: &str) -> Result<VolumeArg, String> {
    if text.chars().any(char::is_control) {
        return Err(String::from("it holds a control character"));
    }
    let parts = manifest::volume_parts(text, cfg!(windows));
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(String::from("use [SOURCE:]TARGET[:ro]")),
    };
    if !target.starts_with('/') || target == "/" {
        return Err(String::from(
            "the target must be an absolute path in the container, and not `/`",
        ));
    }
    let read_only = match mode {
        "" | "rw" => false,
        "ro" => true,
        _ => return Err(format!("{} is no mode; use `ro` or `rw`", quoted(mode))),
    };
    let source = match source {
        None => Source::Anonymous,
        Some("") => return Err(String::from("the source is empty")),
        Some(path) if !path.starts_with('~') && manifest::is_path(path, cfg!(windows)) => {
            Source::Folder(PathBuf::from(path))
        }
        Some(name) => {
            validate_container_ref(name).map_err(|error| format!("the volume's name: {}", error.why))?;
            Source::Volume(name.to_owned())
        }
    };
    Ok(VolumeArg {
        source,
        target: target.to_owned(),
        read_only,
    })
}

/// A name, an ID, or one of Docker's modes (`host`, `none`, `container:NAME`).
fn parse_network(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("container:").unwrap_or(text);
    validate_container_ref(name).map_err(|error| error.why.to_owned())?;
    Ok(text.to_owned())
}

/// The create call. `variable` reads this process's environment.
fn request(
    args: &Args,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<CreateRequest, CommandError> {
    let (image, command) = args
        .image_and_command
        .split_first()
        .ok_or_else(|| CommandError::usage("an image is needed"))?;
    let mut spec = ContainerSpec::of_image(image.parse::<ImageRef>()?);
    spec.command = split_command(command)?.map(|words| words.into_iter().map(Text::plain).collect());
    spec.network_mode.clone_from(&args.network);
    spec.mounts = args.volume.iter().map(|volume| mount(volume, folder)).collect();
    spec.environment = args
        .env
        .iter()
        .map(|env| {
            // Without a value it takes away the image's own, as with `docker run`.
            let value = env.value.clone().or_else(|| variable(&env.key));
            (env.key.clone(), value.map(Text::sensitive))
        })
        .collect();
    Ok(CreateRequest {
        name: args.name.clone(),
        spec,
        labels: BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
            (LABEL_TRIGGER.to_owned(), TRIGGER_RUN.to_owned()),
        ]),
        environment: BTreeMap::new(),
        attach: !args.detach,
        reserved: false,
    })
}

/// `None`: the image's own command. One text is split as a shell would, several are words already.
fn split_command(command: &[String]) -> Result<Option<Vec<String>>, CommandError> {
    let words = match command {
        [] => return Ok(None),
        [text] => shlex::split(text).ok_or_else(|| {
            CommandError::usage(format!("the command {} has an open quote", quoted(text)))
                .hint("to pass it as one word, quote it once more")
        })?,
        words => words.to_vec(),
    };
    if words.is_empty() {
        return Err(
            CommandError::usage("the command is empty").hint("leave it out to run the image's own command")
        );
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(CommandError::usage("the command holds a zero byte"));
    }
    Ok(Some(words))
}

fn mount(volume: &VolumeArg, folder: &Path) -> Mount {
    let kind = match &volume.source {
        Source::Anonymous => volume_mount(None),
        Source::Volume(name) => volume_mount(Some(name.clone())),
        Source::Folder(path) => MountKind::Bind {
            source: absolute(folder, path),
            create_host_path: true,
        },
    };
    Mount {
        kind,
        target: volume.target.clone(),
        read_only: volume.read_only,
    }
}

fn volume_mount(name: Option<String>) -> MountKind {
    MountKind::Volume {
        name,
        external: false,
        nocopy: false,
    }
}

/// Without `.` and `..`, which the engine would refuse; symbolic links stay as they are.
fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                whole.pop();
            }
            other => whole.push(other),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &[&str]) -> Result<CreateRequest, String> {
        let args = Line::try_parse_from(std::iter::once(&"run").chain(line))
            .map_err(|error| error.to_string())?
            .args;
        request(&args, Path::new("/home/me"), &|name| {
            (name == "HOME").then(|| String::from("/home/me"))
        })
        .map_err(|error| error.message().to_owned())
    }

    fn command(line: &[&str]) -> Option<Vec<String>> {
        let words = parsed(line).unwrap().spec.command?;
        Some(words.iter().map(|word| word.expose().to_owned()).collect())
    }

    #[test]
    fn one_text_is_split_as_a_shell_would() {
        assert_eq!(
            command(&["ubuntu:latest", "echo hello world"]).unwrap(),
            ["echo", "hello", "world"]
        );
        assert_eq!(
            command(&["u", "sh -c 'echo \"a b\" | wc'"]).unwrap(),
            ["sh", "-c", "echo \"a b\" | wc"]
        );
        assert_eq!(command(&["u"]), None);
        assert!(parsed(&["u", "echo 'open"]).unwrap_err().contains("open quote"));
        assert!(parsed(&["u", "  "]).unwrap_err().contains("empty"));
    }

    #[test]
    fn several_words_are_passed_as_they_are() {
        assert_eq!(
            command(&["u", "echo", "a b", "-d"]).unwrap(),
            ["echo", "a b", "-d"]
        );
        assert_eq!(
            command(&["u", "sh", "-c", "exit 3"]).unwrap(),
            ["sh", "-c", "exit 3"]
        );
        assert_eq!(command(&["--", "u", "-x", "--rm"]).unwrap(), ["-x", "--rm"]);
        assert_eq!(command(&["u", "--rm"]).unwrap(), ["--rm"]);
    }

    #[test]
    fn a_wrong_flag_before_the_image_is_not_the_image() {
        assert!(parsed(&["--rmm", "u"]).is_err());
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["-d", "--rm", "u"]).is_err());
        assert!(parsed(&["../images/x"]).is_err());
        assert!(parsed(&["--name", "../images/x", "u"]).is_err());
    }

    #[test]
    fn variables_come_from_the_flag_or_from_this_shell() {
        let environment = parsed(&["-e", "A=1=2", "-e", "HOME", "-e", "UNSET", "-e", "B=", "u"])
            .unwrap()
            .spec
            .environment;
        let values: Vec<(&str, Option<&str>)> = environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref().map(Text::expose)))
            .collect();
        let wanted = [
            ("A", Some("1=2")),
            ("B", Some("")),
            ("HOME", Some("/home/me")),
            ("UNSET", None),
        ];
        assert_eq!(values, wanted);
        assert!(parsed(&["-e", "=x", "u"]).is_err());
        assert!(parsed(&["-e", "", "u"]).is_err());
    }

    #[test]
    fn volumes_are_folders_names_or_nameless() {
        let mounts = parsed(&[
            "-v",
            "./data/../x:/a",
            "-v",
            "backups:/b:ro",
            "-v",
            "/c",
            "-v",
            "/h:/d",
            "u",
        ])
        .unwrap()
        .spec
        .mounts;
        let bind = |path: &str| MountKind::Bind {
            source: PathBuf::from(path),
            create_host_path: true,
        };
        assert_eq!(mounts[0].kind, bind("/home/me/x"));
        assert_eq!(mounts[1].kind, volume_mount(Some("backups".into())));
        assert!(mounts[1].read_only && !mounts[0].read_only);
        assert_eq!(mounts[2].kind, volume_mount(None));
        assert_eq!(mounts[3].kind, bind("/h"));
        for bad in [
            "",
            "a",
            "a:b",
            ":/x",
            "a:/",
            "a:/x:zz",
            "a:/x:ro:z",
            "a b:/x",
            "a\n:/x",
        ] {
            assert!(parse_volume(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn its_container_says_whose_it_is_and_no_more() {
        let request = parsed(&["u"]).unwrap();
        let labels: Vec<(&str, &str)> = request
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            labels,
            [
                ("docker-scheduler.managed-by", "docker-scheduler"),
                ("docker-scheduler.trigger", "run")
            ]
        );
    }

    #[test]
    fn networks_are_names_or_modes() {
        assert!(parse_network("host").is_ok() && parse_network("container:web").is_ok());
        for bad in ["", "a b", "container:", "../x"] {
            assert!(parse_network(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_engines_words_decide_between_126_and_127() {
        assert_eq!(
            start_failure(r#"exec: "nope": executable file not found in $PATH: unknown"#),
            RunFailure::NotFound
        );
        assert_eq!(
            start_failure(r#"exec: "/nope": stat /nope: no such file or directory"#),
            RunFailure::NotFound
        );
        assert_eq!(
            start_failure(r#"exec: "/etc": permission denied: unknown"#),
            RunFailure::CannotInvoke
        );
        assert_eq!(start_failure("network x not found"), RunFailure::Engine);
    }
}
