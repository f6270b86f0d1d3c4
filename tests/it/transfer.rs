//! `import` and `export` by the real binary: streams, files and exit codes, and a container of a private
//! engine that comes back as a job. What each format becomes is tested in the library.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{IMAGE, Rig};

const CRONTAB: &str = "\
MAILTO=root
*/5 * * * * docker run --rm busybox:1.37 date
@reboot /opt/start
";

fn program(host: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_docker-scheduler"))
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("DOCKER_HOST", host)
        .env("DOCKER_SCHEDULER_STATE", folder.join("state"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn without_engine(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    texts(&program("unix:///nonexistent/docker.sock", folder, arguments))
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_crontab_becomes_a_manifest_that_validates() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("tab"), CRONTAB).unwrap();
    fs::create_dir(at.join("schedules.d")).unwrap();
    let arguments = [
        "import",
        "crontab",
        "tab",
        "--project",
        "legacy",
        "-o",
        "schedules.d/tab.yaml",
    ];
    let (code, stdout, stderr) = without_engine(at, &arguments);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("error: `@reboot` has no equal"), "{stderr}");
    assert!(
        stderr.contains("--> tab:3:1") && stderr.contains("--> tab:1:1"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("imported 1 job; 1 entry could not; 2 things to look at\n"),
        "{stderr}"
    );
    let text = fs::read_to_string(at.join("schedules.d/tab.yaml")).unwrap();
    assert!(
        text.contains("image: busybox:1.37") && text.contains("name: legacy"),
        "{text}"
    );

    let (code, _, stderr) = without_engine(at, &arguments);
    assert_eq!(code, Some(1), "a file that exists is kept: {stderr}");
    assert!(stderr.contains("`--force` writes over it"), "{stderr}");
    let (code, ..) = without_engine(at, &[&arguments[..], &["--force"]].concat());
    assert_eq!(code, Some(0));

    let (code, stdout, _) = without_engine(
        at,
        &[
            "import",
            "crontab",
            "tab",
            "--format",
            "json",
            "--project",
            "legacy",
        ],
    );
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), text.as_str()),
        "without -o it is data"
    );
}

#[test]
fn an_env_file_that_is_not_beside_the_manifest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(
        at.join("tab"),
        "5 * * * * docker run --rm --env-file .env busybox:1.37 date\n",
    )
    .unwrap();
    let to_file = [
        "import",
        "crontab",
        "tab",
        "--timezone",
        "UTC",
        "-o",
        "tab.yaml",
        "--force",
    ];
    let (code, _, stderr) = without_engine(at, &to_file);
    assert_eq!(code, Some(0), "{stderr}");
    let end = "imported 1 job; 1 thing to look at; `validate` will refuse 1 thing\n";
    assert!(
        stderr.ends_with(end) && stderr.contains("--> tab.yaml:"),
        "{stderr}"
    );
    fs::write(at.join(".env"), "A=1\n").unwrap();
    let (_, _, stderr) = without_engine(at, &to_file);
    assert!(
        stderr.ends_with("imported 1 job; 1 thing to look at\n"),
        "{stderr}"
    );
    // Nobody knows yet what it will lie beside.
    let (_, _, stderr) = without_engine(at, &to_file[..5]);
    assert!(
        stderr.ends_with("imported 1 job; 1 thing to look at\n"),
        "{stderr}"
    );
}

#[test]
fn nothing_to_import_is_exit_3_and_wrong_usage_1() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("empty"), "# nothing\n").unwrap();
    fs::write(at.join("binary"), b"\xff\xfe\0").unwrap();
    for file in ["empty", "binary", "missing"] {
        for source in ["crontab", "ofelia", "compose", "kubernetes"] {
            let (code, stdout, stderr) = without_engine(at, &["import", source, file]);
            assert_eq!(
                (code, stdout.as_str()),
                (Some(3), ""),
                "{source} {file}: {stderr}"
            );
        }
    }
    let (code, ..) = without_engine(at, &["import", "crontab", "empty", "--timezone", "Mars/Base"]);
    assert_eq!(code, Some(1));
    let (code, ..) = without_engine(at, &["import", "container", "x"]);
    assert_eq!(code, Some(4), "the engine is asked");
}

#[test]
fn the_report_is_json_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tab"), CRONTAB).unwrap();
    let (_, _, stderr) = without_engine(folder.path(), &["import", "crontab", "tab", "--format", "json"]);
    let found: Vec<serde_json::Value> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let lines: Vec<_> = found
        .iter()
        .map(|found| (found["line"].clone(), found["code"].clone()))
        .collect();
    assert_eq!(
        lines,
        [
            (1.into(), "lost".into()),
            (2.into(), "changed".into()),
            (3.into(), "not-carried-over".into())
        ],
        "{stderr}"
    );
}

#[test]
fn what_has_no_form_elsewhere_is_told_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("jobs")).unwrap();
    let text = "\
name: shop
jobs:
  a:
    image: busybox
    triggers: {schedule: [\"0 3 * * *\"]}
  b:
    image: busybox
    triggers: {manual: true}
    x-scheduler:
      every: 10s
";
    fs::write(at.join("jobs/shop.yaml"), text).unwrap();
    let (code, stdout, stderr) = without_engine(at, &["export", "jobs", "--to", "kubernetes"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("--> jobs/shop.yaml:10:7"), "{stderr}");
    let (code, stdout, stderr) = without_engine(
        at,
        &[
            "export",
            "jobs",
            "--to",
            "kubernetes",
            "--skip-unsupported",
            "--namespace",
            "batch",
        ],
    );
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("apiVersion: batch/v1\nkind: CronJob\n") && stdout.contains("namespace: batch"),
        "{stdout}"
    );
    assert!(stderr.ends_with("1 of 2 jobs are left out\n"), "{stderr}");
    let (code, _, stderr) = without_engine(at, &["validate", "jobs", "--engine", "kubernetes"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(
        stderr.contains("`every: 10s` has no form in five fields"),
        "{stderr}"
    );
    let (code, ..) = without_engine(at, &["validate", "jobs"]);
    assert_eq!(code, Some(0));
    let (code, stdout, _) = without_engine(at, &["export", "jobs", "--to", "crontab", "--skip-unsupported"]);
    assert_eq!(code, Some(0));
    // Where the jobs live: cron has neither this environment nor this folder.
    let (state, jobs) = (at.join("state"), at.join("jobs"));
    let program = env!("CARGO_BIN_EXE_docker-scheduler");
    let call = |told: &str| {
        format!(
            "CRON_TZ=UTC\n0 3 * * * {program} --log-level warn {told} trigger --dir {} --wait --logs shop.a\n",
            jobs.display()
        )
    };
    let host = "--host unix:///nonexistent/docker.sock";
    let usual = format!("{host} --state {}", state.display());
    assert!(stdout.ends_with(&call(&usual)), "{stdout}");
    let told = [
        "export",
        "jobs",
        "--to",
        "crontab",
        "--skip-unsupported",
        "--instance",
        "blue",
        "--state",
        "50% of it",
        "--config",
        "operator.yaml",
    ];
    fs::write(
        at.join("operator.yaml"),
        "host: tcp://build.lan:2376\nlimits: {running: 2}\n",
    )
    .unwrap();
    let (code, stdout, stderr) = without_engine(at, &told);
    assert_eq!(code, Some(0), "{stderr}");
    let told = format!(
        "--config {0}/operator.yaml {host} --instance blue --state '{0}/50'\\%' of it'",
        at.display()
    );
    assert!(stdout.ends_with(&call(&told)), "{stdout}");
    assert!(stderr.contains("`CRON_TZ` names its zone"), "{stderr}");
    assert!(stderr.contains("note: 2 containers run at a time"), "{stderr}");
    let (code, stdout, stderr) = without_engine(
        at,
        &[
            "export",
            "jobs",
            "--to",
            "crontab",
            "--skip-unsupported",
            "--state",
            "a\\b",
        ],
    );
    assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("has no form in a line of a crontab"), "{stderr}");
    let told = [
        "export",
        "jobs",
        "--to",
        "crontab",
        "--skip-unsupported",
        "--engine",
        "kubernetes",
    ];
    let (_, stdout, stderr) = without_engine(at, &told);
    assert!(
        stdout.ends_with(" trigger --wait --logs shop.a\n"),
        "{stdout}{stderr}"
    );
}

#[test]
fn a_container_of_the_engine_comes_back_as_a_job() {
    let rig = Rig::shared();
    let folder = tempfile::tempdir().unwrap();
    let body = serde_json::json!({
        "Image": IMAGE,
        "Cmd": ["sh", "-c", "echo $HOME"],
        "Env": ["GREETING=good $evening"],
        "User": "1000",
        "Labels": {"team": "data", "com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
        "HostConfig": {
            "Memory": 67_108_864,
            "NanoCpus": 500_000_000,
            "ReadonlyRootfs": true,
            "Binds": ["transfer-data:/data:ro"],
            "RestartPolicy": {"Name": "always"},
            "Tmpfs": {"/run": "size=1m"},
        },
    });
    let (status, reply) = rig.post("/containers/create?name=transfer-web", &body.to_string());
    assert_eq!(status, 201, "{reply}");
    let arguments = ["import", "container", "transfer-web", "--schedule", "30 2 * * *"];
    let (code, stdout, stderr) = texts(&program(&rig.host(), folder.path(), &arguments));
    let _ = rig.request("DELETE", "/containers/transfer-web?v=1", b"");
    let _ = rig.request("DELETE", "/volumes/transfer-data", b"");
    assert_eq!(code, Some(0), "{stderr}");
    let expected = format!(
        "\
# imported from container `transfer-web`
name: shop

jobs:
  # container transfer-web
  web:
    image: {IMAGE}
    command: [\"sh\", \"-c\", \"echo $$HOME\"]
    user: \"1000\"
    environment:
      GREETING: \"good $$evening\"
    volumes: [\"transfer-data:/data:ro\"]
    labels:
      team: data
    mem_limit: \"67108864b\"
    cpus: \"0.5\"
    read_only: true
    tmpfs: [\"/run:size=1m\"]
    triggers:
      schedule: [\"30 2 * * *\"]

volumes:
  transfer-data:
    name: transfer-data
"
    );
    assert_eq!(stdout, expected, "{stderr}");
    assert!(
        stderr.contains("restart policy `always` is not carried over"),
        "{stderr}"
    );
    fs::create_dir(folder.path().join("schedules.d")).unwrap();
    fs::write(folder.path().join("schedules.d/web.yaml"), stdout).unwrap();
    let (code, _, stderr) = without_engine(folder.path(), &["validate"]);
    assert_eq!(code, Some(0), "{stderr}");
}
