//! `docker scheduler …` by the real docker CLI: metadata, its global flags, contexts, help, completion.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Ended, ended};

/// A home with the plugin installed, and a context `lab` for the rig's engine.
struct Home(tempfile::TempDir);

impl Home {
    fn new(rig: &Rig) -> Home {
        let home = Home(tempfile::tempdir().expect("a home"));
        let plugins = home.path().join(".docker/cli-plugins");
        fs::create_dir_all(&plugins).expect("create the plugins' folder");
        std::os::unix::fs::symlink(
            env!("CARGO_BIN_EXE_docker-scheduler"),
            plugins.join("docker-scheduler"),
        )
        .expect("install the plugin");
        let host = format!("host={}", rig.host());
        home.ok(&["context", "create", "lab", "--docker", &host]);
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn docker(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("docker");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .current_dir(self.path())
            .args(args)
            .stdin(Stdio::null());
        ended(command.output().expect("run docker"))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let ended = self.docker(args);
        assert_eq!(ended.code, 0, "`docker {}`: {ended:#?}", args.join(" "));
        ended.stdout
    }

    /// What completing the last word offers, and cobra's directive.
    #[track_caller]
    fn completed(&self, args: &[&str]) -> (Vec<String>, String) {
        let mut lines: Vec<String> = self.ok(args).lines().map(str::to_owned).collect();
        let directive = lines.pop().expect("a directive");
        (lines, directive)
    }
}

#[test]
fn the_docker_command_knows_it_and_passes_its_own_flags_on() {
    let rig = Rig::shared();
    let home = Home::new(rig);
    let listed = home.ok(&["info", "--format", "{{json .ClientInfo}}"]);
    assert!(listed.contains("Containers on a schedule, as code"), "{listed}");
    assert!(!listed.contains("ShadowedPaths"), "{listed}");

    let host = rig.host();
    let config = home.path().join(".docker").display().to_string();
    let elsewhere = home.path().join("elsewhere");
    fs::rename(home.path().join(".docker"), &elsewhere).expect("move the configuration");
    let moved = elsewhere.display().to_string();
    let by_config = home.ok(&["--config", &moved, "-c", "lab", "scheduler", "list", "images"]);
    assert!(by_config.contains("busybox"), "{by_config}");
    fs::rename(&elsewhere, home.path().join(".docker")).expect("move it back");

    for flags in [
        &["-H", host.as_str()][..],
        &["--host", host.as_str()],
        &["-c", "lab"],
        &["--context=lab"],
        &["-D", "--context", "lab"],
        &["-l", "warn", "-c", "lab"],
        &["--config", config.as_str(), "-c", "lab"],
        &["--tlsverify=false", "-H", host.as_str()],
    ] {
        let line = [flags, &["scheduler", "list", "images"]].concat();
        let images = home.ok(&line);
        assert!(images.contains("busybox"), "{line:?}: {images}");
    }
    home.ok(&["context", "use", "lab"]);
    let ran = home.docker(&["scheduler", "run", "--rm", IMAGE, "sh", "-c", "echo out; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "out\n"), "{ran:#?}");

    fs::create_dir(home.path().join("jobs")).expect("create a folder");
    let manifest = format!(
        "name: plug\njobs:\n  in:\n    image: {IMAGE}\n    pull_policy: never\n    triggers: {{schedule: ['0 3 * * *']}}\n"
    );
    fs::write(home.path().join("jobs/a.yaml"), manifest).expect("write a manifest");
    let plan = home.ok(&["scheduler", "--instance", "plugin", "plan", "jobs"]);
    assert!(plan.contains("+ plug.in"), "{plan}");
    let wrong = home.docker(&["scheduler", "plam"]);
    assert_eq!(wrong.code, 1, "{wrong:#?}");
    assert!(wrong.stderr.contains("similar name exists: `plan`"), "{wrong:#?}");
    assert!(!wrong.stderr.contains("``"), "{wrong:#?}");
}

#[test]
fn help_is_said_as_people_typed_it() {
    let home = Home::new(Rig::shared());
    for line in [
        &["help", "scheduler"][..],
        &["scheduler", "--help"],
        &["scheduler", "help"],
    ] {
        let help = home.ok(line);
        assert!(
            help.contains("Usage: docker scheduler [OPTIONS]"),
            "{line:?}: {help}"
        );
    }
    let plan = home.ok(&["scheduler", "plan", "--help"]);
    assert!(plan.contains("Usage: docker scheduler plan"), "{plan}");
    assert!(!plan.contains("  docker-scheduler plan"), "{plan}");
}

#[test]
fn the_docker_commands_completion_completes_it() {
    let home = Home::new(Rig::shared());
    let (found, directive) = home.completed(&["__complete", "scheduler", "pl"]);
    assert!(found[0].starts_with("plan\tShow what apply"), "{found:?}");
    assert_eq!((found.len(), directive.as_str()), (1, ":4"));
    let (found, _) = home.completed(&["__complete", "scheduler", "plan", "--detailed"]);
    assert!(found[0].starts_with("--detailed-exitcode"), "{found:?}");
    let (found, _) = home.completed(&["__complete", "-c", "lab", "scheduler", "list", ""]);
    let starts = |word: &str| found.iter().any(|line| line.starts_with(word));
    assert!(
        starts("images\t") && starts("containers\t") && starts("jobs\t"),
        "{found:?}"
    );
    let (found, _) = home.completed(&["__complete", "scheduler", "completions", "f"]);
    assert_eq!(found, ["fish"]);
    // A folder is the shell's own to complete.
    let (found, directive) = home.completed(&["__complete", "scheduler", "validate", "x"]);
    assert_eq!((found.len(), directive.as_str()), (0, ":0"), "{found:?}");
}
