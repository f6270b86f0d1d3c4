//! The real binary under test: manifests, a state folder and an instance of its own on a rig's
//! engine, commands that run to their end, and a `watch` that can be signalled and killed.
//!
//! Nothing here judges; a process that a failed test leaves behind is ended when its value is
//! dropped, and by the rig's janitor at the latest (its command line names the rig's folder).

// Not every test module uses every part.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::proxy::Proxy;
use crate::rig::{IMAGE, Rig, Witness};

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One instance of docker-scheduler on a rig.
pub struct Scheduler<'a> {
    pub rig: &'a Rig,
    pub instance: String,
    manifests: PathBuf,
    config: PathBuf,
    state: PathBuf,
    /// Where the program is told that the engine is.
    host: String,
    pub witness: Witness,
}

/// What a command that ran to its end left.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl<'a> Scheduler<'a> {
    pub fn new(rig: &'a Rig, instance: &str) -> Scheduler<'a> {
        let folder = rig.folder(instance);
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests).expect("create the manifests' folder");
        let config = folder.join("config.yaml");
        // The witness's folder lies outside of the manifests', which only an operator may allow.
        let roots = folder.parent().and_then(Path::parent).expect("a rig's folder");
        let text = format!(
            "policy:\n  bind_roots: [\"{}\"]\n",
            roots.join("witness").display()
        );
        fs::write(&config, text).expect("write the operator's file");
        Scheduler {
            rig,
            instance: instance.to_owned(),
            manifests,
            config,
            state: folder.join("state"),
            host: rig.host(),
            witness: rig.witness(instance),
        }
    }

    /// It talks to the engine of another rig.
    pub fn at(mut self, rig: &Rig) -> Scheduler<'a> {
        self.host = rig.host();
        self
    }

    /// Its operator has chosen a Swarm, which the rig is a manager of.
    pub fn on_swarm(self) -> Scheduler<'a> {
        let mut text = fs::read_to_string(&self.config).expect("read the operator's file");
        text.push_str("engine: swarm\n");
        fs::write(&self.config, text).expect("write the operator's file");
        self
    }

    /// Its operator allows these, by their keys under `policy`.
    pub fn allowing(self, keys: &[&str]) -> Scheduler<'a> {
        let mut text = fs::read_to_string(&self.config).expect("read the operator's file");
        for key in keys {
            writeln!(text, "  {key}: true").expect("written");
        }
        fs::write(&self.config, text).expect("write the operator's file");
        self
    }

    /// The program reaches the engine through `proxy`; this helper itself goes past it.
    pub fn through(mut self, proxy: &Proxy) -> Scheduler<'a> {
        self.host = proxy.host();
        self
    }

    /// The ledger's folder.
    pub fn ledger(&self) -> PathBuf {
        self.state.join(&self.instance)
    }

    /// Keeps the ledger somewhere else.
    pub fn with_state(mut self, state: &Path) -> Scheduler<'a> {
        state.clone_into(&mut self.state);
        self
    }

    /// The same instance on the same engine with another ledger.
    pub fn with_other_ledger(&self) -> Scheduler<'a> {
        let mut other = Scheduler::new(self.rig, &self.instance);
        other.state = self.state.with_file_name("other-state");
        other
    }

    pub fn dir(&self) -> &Path {
        &self.manifests
    }

    /// Writes a manifest as git and editors do: beside it, then renamed over it.
    pub fn manifest(&self, file: &str, text: &str) {
        let beside = self.manifests.join(format!(".{file}.new"));
        fs::write(&beside, text).expect("write a manifest");
        fs::rename(beside, self.manifests.join(file)).expect("rename a manifest");
    }

    pub fn remove_manifest(&self, file: &str) {
        fs::remove_file(self.manifests.join(file)).expect("remove a manifest");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-scheduler"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.state)
            .env("TZ", "UTC")
            .arg("--config")
            .arg(&self.config)
            .arg("--state")
            .arg(&self.state)
            .args(["--instance", &self.instance, "--host", &self.host])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; one that takes the directory is given ours.
    pub fn run(&self, args: &[&str]) -> Ended {
        ended(self.in_dir(args).output().expect("run docker-scheduler"))
    }

    /// As [`Scheduler::run`], and it must end with 0.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.ends(0, args).stdout
    }

    /// As [`Scheduler::run`], and it must end with `code`.
    #[track_caller]
    pub fn ends(&self, code: i32, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "`{}`: {ended:#?}", args.join(" "));
        ended
    }

    /// A command that goes on beside the test.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.in_dir(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-scheduler")
    }

    pub fn in_dir(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        match args.first() {
            // The manifests are elsewhere.
            Some(_) if args.contains(&"--git") => {}
            Some(&("apply" | "plan" | "watch" | "validate")) => {
                command.arg(&self.manifests);
            }
            Some(&("trigger" | "rerun")) => {
                command.arg("--dir").arg(&self.manifests);
            }
            _ => {}
        }
        command
    }

    pub fn watch(&self) -> Watching {
        self.watch_with(&[])
    }

    /// Starts a `watch` and waits until it says that it is ready.
    #[track_caller]
    pub fn watch_with(&self, flags: &[&str]) -> Watching {
        let watching = self.spawn_watch(flags);
        watching.says("watches");
        watching
    }

    /// Starts a `watch`, ready or not.
    pub fn spawn_watch(&self, flags: &[&str]) -> Watching {
        self.spawn_as(self.watch_command(flags))
    }

    /// The command line of such a `watch`.
    pub fn watch_command(&self, flags: &[&str]) -> Command {
        let mut args = vec!["watch"];
        args.extend(flags);
        self.in_dir(&args)
    }

    /// A `watch` by another command line.
    pub fn spawn_as(&self, mut command: Command) -> Watching {
        let log = self.log_path();
        let open = || {
            fs::File::options()
                .create(true)
                .append(true)
                .open(&log)
                .expect("open the watch's log")
        };
        let from = open().metadata().expect("look at the watch's log").len();
        let child = command
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("start docker-scheduler");
        Watching {
            child: Some(child),
            log,
            from: usize::try_from(from).unwrap_or(0),
        }
    }

    /// Every object that a listing prints as JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let mut args = args.to_vec();
        args.extend(["--format", "json"]);
        self.ok(&args)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Newest first.
    #[track_caller]
    pub fn history(&self) -> Vec<Value> {
        self.json(&["history"])
    }

    /// The runs of one job, newest first; a job that nobody has seen yet has none.
    #[track_caller]
    pub fn history_of(&self, job: &str) -> Vec<Value> {
        let mut runs = self.history();
        runs.retain(|run| run["job"] == job);
        runs
    }

    /// This instance's containers as the engine lists them.
    pub fn containers(&self) -> Vec<Value> {
        let filters = format!(r#"{{"label":["docker-scheduler.instance={}"]}}"#, self.instance);
        let (status, text) = self.rig.get(&format!(
            "/containers/json?all=1&filters={}",
            percent_encoded(&filters)
        ));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("a list of containers")
    }

    /// This instance's containers of one job in one state.
    pub fn containers_of(&self, job: &str, state: &str) -> Vec<Value> {
        let mut found = self.containers();
        found.retain(|container| {
            container["Labels"]["docker-scheduler.job"] == job && container["State"] == state
        });
        found
    }

    fn log_path(&self) -> PathBuf {
        // Beside its ledger: another scheduler of the instance has a log of its own.
        self.state.with_extension("watch.log")
    }

    /// What all watches of this scheduler have written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    pub fn has_lock_volume(&self) -> bool {
        let path = format!("/volumes/docker-scheduler.{}", self.instance);
        self.rig.get(&path).0 == 200
    }
}

/// A `watch` that runs.
pub struct Watching {
    child: Option<Child>,
    log: PathBuf,
    /// Where this process's lines begin in the log.
    from: usize,
}

impl Watching {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits until its log holds `text`.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < end,
                "watch never said {text:?}; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What this process has written.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.from..).unwrap_or_default()).into_owned()
    }

    pub fn signal(&self, name: &str) {
        send(self.pid(), name);
    }

    pub fn kill9(mut self) {
        self.end();
    }

    /// SIGTERM; the exit code.
    pub fn term(self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its own end; the exit code.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("look after docker-scheduler") {
                self.child = None;
                return status.code().unwrap_or(-1);
            }
            assert!(
                Instant::now() < end,
                "watch never ended; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was not waited for");
        child.try_wait().expect("look after docker-scheduler").is_none()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the watch's log:\n{}", self.log());
        }
        self.end();
    }
}

pub fn send(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status()
        .expect("run kill");
    assert!(sent.success(), "kill -{signal} {pid}");
}

pub fn ended(output: std::process::Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A job of a manifest that bears witness.
pub struct Job<'a> {
    pub name: &'a str,
    /// `every`; empty for one that only people start.
    pub every: &'a str,
    /// Shell text between its two lines of witness.
    pub work: &'a str,
    /// More lines under `x-scheduler`, such as `timeout: 5s`.
    pub options: &'a str,
}

/// A manifest of witnessing jobs in one project.
pub fn manifest(project: &str, witness: &Witness, jobs: &[Job<'_>]) -> String {
    let mut text = format!("name: {project}\njobs:\n");
    for job in jobs {
        let Job {
            name,
            every,
            work,
            options,
        } = job;
        // JSON is YAML; `$$` is Compose's `$`.
        let script = serde_json::to_string(&Witness::script(work))
            .expect("a string")
            .replace('$', "$$");
        let volume = witness.volume();
        let mut options = (*options).to_owned();
        if !every.is_empty() {
            options = format!("every: {every}, {options}");
        }
        write!(
            text,
            "  {name}:\n    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    stop_grace_period: 2s\n    \
             command: [\"/bin/sh\", \"-c\", {script}]\n    volumes: [\"{volume}\"]\n    \
             triggers: {{manual: true}}\n    x-scheduler: {{{options}}}\n"
        )
        .expect("write to a string");
    }
    text
}

/// Waits until `what` gives something; says `name` when it never does.
#[track_caller]
pub fn wait_for<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < end, "never came: {name}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// As [`wait_for`], for something that holds or does not.
#[track_caller]
pub fn wait_until(name: &str, mut what: impl FnMut() -> bool) {
    wait_for(name, || what().then_some(()));
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("write to a string"),
        }
        out
    })
}
