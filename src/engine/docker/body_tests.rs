//! One test for each key of a container spec: what it becomes in the engine's request.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::Value;

use super::*;
use crate::model::{ContainerName, PullPolicy, Text, Ulimit};

const OLD: ApiVersion = ApiVersion::new(1, 41);
const NEW: ApiVersion = ApiVersion::new(1, 44);

fn spec() -> ContainerSpec {
    ContainerSpec::of_image("busybox:1".parse().unwrap())
}

fn request(spec: ContainerSpec) -> CreateRequest {
    CreateRequest {
        name: None,
        spec,
        labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        attach: false,
        reserved: false,
    }
}

fn body_at(edit: impl FnOnce(&mut ContainerSpec), api: ApiVersion) -> Value {
    let mut spec = spec();
    edit(&mut spec);
    serde_json::to_value(create_body(&request(spec), api).unwrap()).unwrap()
}

/// What an edit of the bare spec changes in the request, one `path = value` a line.
fn changes_at(edit: impl FnOnce(&mut ContainerSpec), api: ApiVersion) -> String {
    let (before, after) = (body_at(|_| {}, api), body_at(edit, api));
    let mut lines = Vec::new();
    compare("", &before, &after, &mut lines);
    lines.join("\n")
}

fn changes(edit: impl FnOnce(&mut ContainerSpec)) -> String {
    changes_at(edit, OLD)
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                lines.push(format!("{path}/{key} removed"));
            }
            for (key, value) in after {
                let was = before.get(key).unwrap_or(&Value::Null);
                compare(&format!("{path}/{key}"), was, value, lines);
            }
        }
        (before, after) if before == after => {}
        (_, after) => lines.push(format!("{path} = {after}")),
    }
}

fn words(words: &[&str]) -> Option<Vec<Text>> {
    Some(words.iter().map(|word| Text::plain(*word)).collect())
}

fn bind(create_host_path: bool) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source: "/srv/data".into(),
            create_host_path,
        },
        target: "/data".to_owned(),
        read_only: true,
    }
}

fn volume(name: Option<&str>, nocopy: bool) -> Mount {
    Mount {
        kind: MountKind::Volume {
            name: name.map(str::to_owned),
            external: false,
            nocopy,
        },
        target: "/data".to_owned(),
        read_only: false,
    }
}

fn network(name: &str) -> NetworkAttachment {
    NetworkAttachment {
        name: name.to_owned(),
        aliases: vec![format!("{name}-alias")],
        ipv4_address: None,
        ipv6_address: None,
    }
}

#[test]
fn a_bare_image() {
    assert_eq!(
        body_at(|_| {}, OLD).to_string(),
        r#"{"HostConfig":{"AutoRemove":false,"NetworkMode":"default","RestartPolicy":{"Name":"no"}},"Image":"busybox:1"}"#
    );
}

#[test]
fn nothing_restarts_or_removes_a_container_but_us() {
    let body = body_at(|_| {}, NEW);
    assert_eq!(body["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(body["HostConfig"]["AutoRemove"], false);
}

#[test]
fn entrypoint_and_command() {
    assert_snapshot!(changes(|spec| {
        spec.entrypoint = words(&["/bin/sh", "-c"]);
        spec.command = Some(vec![Text::plain("echo"), Text::sensitive("hidden")]);
    }), @r#"
    /Cmd = ["echo","hidden"]
    /Entrypoint = ["/bin/sh","-c"]
    "#);
}

#[test]
fn an_empty_entrypoint_resets_the_images_own() {
    assert_snapshot!(changes(|spec| spec.entrypoint = Some(Vec::new())), @"/Entrypoint = []");
}

#[test]
fn environment_and_labels_of_the_request_win() {
    let mut spec = spec();
    spec.environment = BTreeMap::from([
        ("SCHEDULER_JOB".to_owned(), Some(Text::plain("forged"))),
        ("TAKEN_AWAY".to_owned(), None),
        ("TOKEN".to_owned(), Some(Text::sensitive("s3cret"))),
    ]);
    spec.labels = BTreeMap::from([
        ("docker-scheduler.job".to_owned(), Text::plain("forged")),
        ("team".to_owned(), Text::plain("ops")),
    ]);
    let mut request = request(spec);
    request.name = Some("a.b".parse::<ContainerName>().unwrap());
    request.environment = BTreeMap::from([("SCHEDULER_JOB".to_owned(), "a.b".to_owned())]);
    request.labels = BTreeMap::from([("docker-scheduler.job".to_owned(), "b".to_owned())]);
    let body = serde_json::to_value(create_body(&request, OLD).unwrap()).unwrap();
    assert_eq!(
        body["Env"].to_string(),
        r#"["SCHEDULER_JOB=a.b","TAKEN_AWAY","TOKEN=s3cret"]"#
    );
    assert_eq!(
        body["Labels"].to_string(),
        r#"{"docker-scheduler.job":"b","team":"ops"}"#
    );
}

#[test]
fn a_bind_that_must_exist() {
    assert_snapshot!(changes(|spec| spec.mounts = vec![bind(false)]), @r#"/HostConfig/Mounts = [{"ReadOnly":true,"Source":"/srv/data","Target":"/data","Type":"bind"}]"#);
}

#[test]
fn a_bind_that_is_created_where_mounts_cannot_say_so() {
    assert_snapshot!(changes(|spec| spec.mounts = vec![bind(true)]), @r#"/HostConfig/Binds = ["/srv/data:/data:ro"]"#);
}

#[test]
fn a_bind_that_is_created() {
    assert_snapshot!(changes_at(|spec| spec.mounts = vec![bind(true)], NEW), @r#"/HostConfig/Mounts = [{"BindOptions":{"CreateMountpoint":true},"ReadOnly":true,"Source":"/srv/data","Target":"/data","Type":"bind"}]"#);
}

#[test]
fn a_colon_in_a_short_bind_is_refused_where_it_would_be_misread() {
    let mut spec = spec();
    spec.mounts = vec![Mount {
        kind: MountKind::Bind {
            source: "/srv/a:/etc".into(),
            create_host_path: true,
        },
        ..bind(true)
    }];
    let refused = create_body(&request(spec.clone()), OLD);
    assert!(matches!(refused, Err(EngineError::Invalid(_))), "{refused:?}");
    assert!(create_body(&request(spec), NEW).is_ok());
}

#[test]
fn volumes() {
    assert_snapshot!(changes(|spec| spec.mounts = vec![volume(Some("shop_data"), true), volume(None, false)]), @r#"/HostConfig/Mounts = [{"Source":"shop_data","Target":"/data","Type":"volume","VolumeOptions":{"NoCopy":true}},{"Target":"/data","Type":"volume"}]"#);
}

#[test]
fn tmpfs_long_and_short() {
    assert_snapshot!(changes(|spec| {
        spec.mounts = vec![Mount {
            kind: MountKind::Tmpfs { size_bytes: Some(65536), mode: Some(0o1777) },
            target: "/scratch".to_owned(),
            read_only: false,
        }];
        spec.tmpfs = vec![Tmpfs { target: "/run".to_owned(), options: "size=64m".to_owned() }];
    }), @r#"
    /HostConfig/Mounts = [{"Target":"/scratch","TmpfsOptions":{"Mode":1023,"SizeBytes":65536},"Type":"tmpfs"}]
    /HostConfig/Tmpfs = {"/run":"size=64m"}
    "#);
}

#[test]
fn a_network_with_a_fixed_address() {
    assert_snapshot!(changes(|spec| {
        spec.networks = vec![NetworkAttachment {
            ipv4_address: Some("10.0.0.9".to_owned()),
            ipv6_address: Some("fd00::9".to_owned()),
            ..network("front")
        }];
    }), @r#"
    /HostConfig/NetworkMode = "front"
    /NetworkingConfig = {"EndpointsConfig":{"front":{"Aliases":["front-alias"],"IPAMConfig":{"IPv4Address":"10.0.0.9","IPv6Address":"fd00::9"}}}}
    "#);
}

#[test]
fn several_networks_go_with_the_create_call_only_where_it_takes_them() {
    let mut several = spec();
    several.networks = vec![network("front"), network("back")];
    let later = |api| {
        later_networks(&several, api)
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(later(OLD), ["back"]);
    assert_eq!(later(NEW), [""; 0]);
    let at = |api| {
        let body = body_at(|spec| spec.networks.clone_from(&several.networks), api);
        body["NetworkingConfig"]["EndpointsConfig"]
            .as_object()
            .unwrap()
            .len()
    };
    assert_eq!((at(OLD), at(NEW)), (1, 2));
}

#[test]
fn network_mode() {
    assert_snapshot!(changes(|spec| spec.network_mode = Some("host".to_owned())), @r#"/HostConfig/NetworkMode = "host""#);
    let mut both = spec();
    both.network_mode = Some("host".to_owned());
    both.networks = vec![network("front")];
    assert!(matches!(
        create_body(&request(both), OLD),
        Err(EngineError::Invalid(_))
    ));
}

#[test]
fn the_scalars_of_a_process() {
    assert_snapshot!(changes(|spec| {
        spec.user = Some("1000:1000".to_owned());
        spec.working_dir = Some("/work".to_owned());
        spec.tty = true;
        spec.init = Some(true);
        spec.read_only = true;
        spec.stop_signal = Some("SIGINT".to_owned());
        spec.stop_grace_period = Some(Duration::from_millis(1500));
        spec.extra_hosts = vec![("db".to_owned(), "10.0.0.2".to_owned())];
    }), @r#"
    /HostConfig/ExtraHosts = ["db:10.0.0.2"]
    /HostConfig/Init = true
    /HostConfig/ReadonlyRootfs = true
    /StopSignal = "SIGINT"
    /StopTimeout = 2
    /Tty = true
    /User = "1000:1000"
    /WorkingDir = "/work"
    "#);
}

#[test]
fn limits() {
    assert_snapshot!(changes(|spec| {
        spec.mem_limit_bytes = Some(128 << 20);
        spec.nano_cpus = Some(1_500_000_000);
        spec.ulimits = BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 1024, hard: 2048 })]);
        spec.cap_drop = vec!["ALL".to_owned()];
    }), @r#"
    /HostConfig/CapDrop = ["ALL"]
    /HostConfig/Memory = 134217728
    /HostConfig/NanoCpus = 1500000000
    /HostConfig/Ulimits = [{"Hard":2048,"Name":"nofile","Soft":1024}]
    "#);
    let mut huge = spec();
    huge.mem_limit_bytes = Some(u64::MAX);
    assert!(matches!(
        create_body(&request(huge), OLD),
        Err(EngineError::Invalid(_))
    ));
}

#[test]
fn logging() {
    assert_snapshot!(changes(|spec| {
        spec.logging = Some(Logging {
            driver: "json-file".to_owned(),
            options: BTreeMap::from([("max-size".to_owned(), "10m".to_owned())]),
        });
    }), @r#"/HostConfig/LogConfig = {"Config":{"max-size":"10m"},"Type":"json-file"}"#);
}

#[test]
fn attaching() {
    let mut request = request(spec());
    request.attach = true;
    let body = create_body(&request, OLD).unwrap();
    assert_eq!((body.attach_stdout, body.attach_stderr), (Some(true), Some(true)));
}

#[test]
fn the_pull_policy_is_no_part_of_the_request() {
    assert_eq!(changes(|spec| spec.pull_policy = PullPolicy::Always), "");
}

#[test]
fn an_engines_words_never_quote_a_secret() {
    let mut spec = spec();
    spec.command = Some(vec![Text::sensitive("hunter2-long"), Text::plain("plain")]);
    spec.environment = BTreeMap::from([
        ("A".to_owned(), Some(Text::sensitive("hunter2"))),
        ("B".to_owned(), Some(Text::sensitive(""))),
    ]);
    let text = r#"exec: "hunter2-long": not found beside plain (A=hunter2)"#;
    assert_eq!(
        spec.conceal(text),
        r#"exec: "(masked)": not found beside plain (A=(masked))"#
    );
}
