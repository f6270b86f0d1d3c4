//! Ways to an engine, through the program: over `ssh`, by a docker context. A fake `ssh` calls the docker CLI on this machine, as the real one does on the other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::cli::{Ended, Program};
use crate::rig::{IMAGE, Rig};

/// The program with a folder of its own before all others in its PATH.
struct Far {
    program: Program,
}

impl Far {
    /// `ssh` is this script.
    fn new(script: &str) -> Far {
        let program = Program {
            host: "ssh://me@build.lan:2222".into(),
            ..Program::without_engine()
        };
        let bin = program.state.path().join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        fs::write(bin.join("ssh"), script).expect("a script");
        fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).expect("executable");
        Far { program }
    }

    /// An `ssh` that notes its arguments and carries the connection to the rig.
    fn to(rig: &Rig) -> Far {
        Far::new(&format!(
            "#!/bin/sh\necho \"$@\" >> \"$HOME/calls\"\nwhile [ \"$1\" != docker ]; do shift; done\n\
             DOCKER_HOST={} exec \"$@\"\n",
            rig.host()
        ))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let folder = self.program.state.path();
        let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
        let mut command = self.program.command();
        command
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", folder)
            .args(arguments);
        Ended::of(command.output().expect("start the program"))
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.program.state.path()).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.display().to_string().contains("docker-scheduler-ssh"))
            .collect()
    }
}

#[test]
fn an_engine_behind_ssh_does_all_that_a_near_one_does() {
    let far = Far::to(Rig::shared());
    let images = far
        .run(&["list", "images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    assert!(images.lines().any(|line| line == IMAGE), "{images}");
    let ran = far.run(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "echo far; echo away >&2; exit 7",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "far\n"), "{ran:?}");
    assert!(ran.stderr.ends_with("away\n"), "{ran:?}");
    let calls = fs::read_to_string(far.program.state.path().join("calls")).expect("calls");
    let first = calls.lines().next().expect("a call");
    assert_eq!(
        first,
        "-o BatchMode=yes -o ConnectTimeout=15 -T -l me -p 2222 -- build.lan docker system dial-stdio"
    );
    assert_eq!(far.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn what_ssh_says_of_its_failure_is_passed_on() {
    let refused = Far::new("#!/bin/sh\necho 'me@build.lan: Permission denied (publickey).' >&2\nexit 255\n");
    let ended = refused.run(&["list", "images"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    insta::assert_snapshot!(ended.stderr, @r"
    error: cannot reach the Docker engine at `ssh://me@build.lan:2222`
      caused by: ssh: me@build.lan: Permission denied (publickey).

    hint: `ssh HOST docker version` must work without a question: a key instead of a password, the host's key known, docker in the path there
    ");
    assert_eq!(refused.left_behind(), Vec::<PathBuf>::new());
    fs::remove_file(refused.program.state.path().join("bin/ssh")).expect("remove");
    let mut command = refused.program.command();
    command.env("PATH", "/nonexistent").args(["list", "images"]);
    let none = Ended::of(command.output().expect("start the program"));
    assert_eq!(none.code, Some(4), "{none:?}");
    assert!(
        none.stderr.contains("cannot start `ssh`: No such file"),
        "{none:?}"
    );
}

#[test]
fn a_docker_context_leads_to_ssh_too() {
    let far = Far::to(Rig::shared());
    // sha256 of `far`.
    let made = Command::new("sha256sum")
        .stdin(fs::File::open(named(&far, "far")).expect("a file"))
        .output()
        .expect("sha256sum");
    let id = String::from_utf8_lossy(&made.stdout)[..64].to_owned();
    let meta = far.program.state.path().join(".docker/contexts/meta").join(id);
    fs::create_dir_all(&meta).expect("a folder");
    let json = r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"ssh://elsewhere"}}}"#;
    fs::write(meta.join("meta.json"), json).expect("a context");
    let images = far.run(&["-c", "far", "list", "images", "-q"]).ok();
    assert!(!images.is_empty());
    let calls = fs::read_to_string(far.program.state.path().join("calls")).expect("calls");
    assert!(
        calls.contains("-T -- elsewhere docker system dial-stdio"),
        "{calls}"
    );
}

fn named(far: &Far, text: &str) -> PathBuf {
    let path = far.program.state.path().join("name");
    fs::write(&path, text).expect("a file");
    path
}
