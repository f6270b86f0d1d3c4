//! Ways to an engine, through the program: over `ssh`, by a docker context, over TLS, at a socket of a
//! rootless engine. A fake `ssh` calls the docker CLI on this machine, as the real one does on the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{Ended, Program};
use crate::docker::{free_port, make_certificates};
use crate::rig::{IMAGE, Rig, install};

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
        install(&bin.join("ssh"), script);
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

/// `list images -q` over TCP, with these variables and files.
fn over_tcp(port: u16, certificates: Option<&Path>) -> Ended {
    let program = Program {
        host: format!("tcp://127.0.0.1:{port}"),
        ..Program::without_engine()
    };
    let mut command = program.command();
    if let Some(folder) = certificates {
        command
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", folder);
    }
    Ended::of(
        command
            .args(["list", "images", "-q"])
            .output()
            .expect("start the program"),
    )
}

#[test]
fn an_engine_behind_tls_takes_who_has_its_certificates_and_says_what_others_lack() {
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (port, open_port) = (free_port(), free_port());
    let _rig = Rig::with_flags(&[
        &format!("--host=tcp://127.0.0.1:{port}"),
        "--tlsverify",
        &format!("--tlscacert={}", file("ca.pem")),
        &format!("--tlscert={}", file("server-cert.pem")),
        &format!("--tlskey={}", file("server-key.pem")),
    ]);
    assert!(!over_tcp(port, Some(folder.path())).ok().is_empty());

    let others = tempfile::tempdir().expect("a folder");
    make_certificates(others.path());
    let nameless = tempfile::tempdir().expect("a folder");
    fs::copy(folder.path().join("ca.pem"), nameless.path().join("ca.pem")).expect("copy");
    let plain = std::net::TcpListener::bind(("127.0.0.1", open_port)).expect("listen");
    std::thread::spawn(move || {
        for mut client in plain.incoming().flatten() {
            drop(std::io::Write::write_all(
                &mut client,
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
            ));
        }
    });
    for (ended, hint) in [
        (over_tcp(port, None), "it wants TLS: set `DOCKER_TLS_VERIFY=1`"),
        (
            over_tcp(port, Some(others.path())),
            "signed by the authority in `ca.pem`",
        ),
        (over_tcp(port, Some(nameless.path())), "`cert.pem` and `key.pem`"),
        (over_tcp(open_port, Some(folder.path())), "it does not speak TLS"),
    ] {
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.stderr.contains(hint), "{hint}: {}", ended.stderr);
    }
}

/// A rootless engine listens in the user's own runtime folder.
#[test]
fn a_rootless_engine_is_pointed_out_and_reached() {
    let far = Far::to(Rig::shared());
    let runtime = far.program.state.path();
    std::os::unix::fs::symlink(Rig::shared().socket(), runtime.join("docker.sock")).expect("a link");
    let mut command = far.program.command();
    command
        .env("XDG_RUNTIME_DIR", runtime)
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .args(["list", "images", "-q"]);
    let away = Ended::of(command.output().expect("start the program"));
    assert_eq!(away.code, Some(4), "{away:?}");
    let rootless = format!("unix://{}/docker.sock", runtime.display());
    let hint = format!("set `DOCKER_HOST={rootless}`");
    assert!(away.stderr.contains(&hint), "{}", away.stderr);
    command.env("DOCKER_HOST", rootless);
    assert!(
        !Ended::of(command.output().expect("start the program"))
            .ok()
            .is_empty()
    );
}
