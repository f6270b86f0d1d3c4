//! What an engine says of a container, and the job that is made of it.

use serde_json::{Value, json};

use super::super::{Imported, Options, tests::loaded};
use super::{Times, import_container};

/// As Docker 20.10 describes a container that was made without any flag.
fn plain() -> Value {
    serde_json::from_str(include_str!("plain.json")).unwrap()
}

/// The same with other values: objects are merged, anything else is replaced.
fn with(changes: Value) -> Value {
    let mut container = plain();
    merge(&mut container, changes);
    container
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn imported(container: &Value, image: &Value) -> Imported {
    let times = Times {
        schedules: vec!["@daily".to_owned()],
        every: None,
    };
    let imported = import_container(container, Some(image), &times, &Options::default());
    let wrong: Vec<_> = loaded(&imported.text)
        .diagnostics
        .into_iter()
        .filter(|found| found.is_error() && found.code != "policy")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{}", imported.text);
    imported
}

/// The lines of the job between its name and its triggers.
fn keys(imported: &Imported) -> Vec<&str> {
    let lines = imported.text.lines().skip_while(|line| *line != "  box:").skip(1);
    lines
        .take_while(|line| *line != "    triggers:")
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect()
}

/// Sorted.
fn report(imported: &Imported) -> Vec<&str> {
    let mut found: Vec<&str> = imported
        .report
        .iter()
        .map(|found| found.message.as_str())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_container_without_its_images_entry_point_runs_its_command_alone() {
    let image = json!({"Config": {"Entrypoint": ["/bin/echo", "EP"], "Cmd": ["of the image"]}});
    let of = |entrypoint: Value, command: Value| {
        let container = with(json!({"Config": {"Entrypoint": entrypoint, "Cmd": command}}));
        keys(&imported(&container, &image))[1..].join("\n")
    };
    // `--entrypoint ''`
    assert_eq!(
        of(Value::Null, json!(["sh", "-c", "echo real"])),
        "entrypoint: [\"\"]\ncommand: [\"sh\", \"-c\", \"echo real\"]"
    );
    // Beside an entry point of one's own, the image's command is none.
    assert_eq!(
        of(json!([]), json!(["of the image"])),
        "entrypoint: [\"\"]\ncommand: [\"of the image\"]"
    );
    assert_eq!(
        of(json!(["/bin/true"]), Value::Null),
        "entrypoint: [\"/bin/true\"]"
    );
    let same = json!(["/bin/echo", "EP"]);
    assert_eq!(
        of(same.clone(), Value::Null),
        "entrypoint: [\"/bin/echo\", \"EP\"]"
    );
    assert_eq!(of(same.clone(), json!(["x"])), "command: [\"x\"]");
    assert_eq!(of(same, json!(["of the image"])), "");
}

#[test]
fn what_an_engine_fills_in_is_neither_written_nor_reported() {
    let image = json!({"Config": {}});
    let first = imported(&plain(), &image);
    assert_eq!(keys(&first), ["image: busybox:latest", "command: [\"true\"]"]);
    assert_eq!(report(&first), Vec::<&str>::new());
    // A current engine, control groups of version 2, while it runs; and from a terminal.
    let newest = with(json!({
        "ImageManifestDescriptor": {"mediaType": "x", "platform": {"architecture": "amd64", "os": "linux"}},
        "State": {"Running": true},
        "Config": {"OnBuild": null, "StopTimeout": null, "Healthcheck": null, "Volumes": {}},
        "HostConfig": {
            "CgroupnsMode": "private",
            "OomKillDisable": null,
            "ConsoleSize": [24, 80],
            "MemorySwappiness": null,
            "AutoRemove": true,
            "MaskedPaths": ["/proc/interrupts", "/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/firmware"],
        },
        "NetworkSettings": {"Networks": {"bridge": {
            "MacAddress": "8e:0a:ce:00:00:01",
            "NetworkID": "n",
            "EndpointID": "e",
            "Gateway": "172.17.0.1",
            "IPAddress": "172.17.0.2",
            "IPPrefixLen": 16,
            "DNSNames": null,
            "GwPriority": 0,
        }}},
    }));
    let newest = imported(&newest, &image);
    assert_eq!((keys(&newest), report(&newest)), (keys(&first), Vec::new()));
}

#[test]
fn every_flag_has_its_key_or_is_reported() {
    let container = with(json!({
        "Config": {
            "OpenStdin": true,
            "StdinOnce": true,
            "Domainname": "dom.example",
            "StopTimeout": 77,
            "Volumes": {"/anon": {}},
            "ExposedPorts": {"80/udp": {}, "90/tcp": {}, "91/tcp": {}},
            "Env": ["A=1"],
        },
        "HostConfig": {
            "Memory": 67_108_864,
            "MemorySwap": 100_663_296,
            "OomScoreAdj": -200,
            "CpuPeriod": 50_000,
            "CpuQuota": 75_000,
            "PidsLimit": -1,
            "Init": false,
            "IpcMode": "shareable",
            "Runtime": "runsc",
            "Annotations": {"a.b/c": "$d"},
            "DeviceCgroupRules": ["c 1:3 r"],
            "CgroupnsMode": "private",
            "BlkioWeight": 20,
            "OomKillDisable": true,
            "MemorySwappiness": 3,
            "CpusetMems": "0",
            "BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1}],
            "StorageOpt": {"size": "1G"},
            "PublishAllPorts": true,
            "PortBindings": {
                "80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                "90/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "::1", "HostPort": "9000"}],
            },
            "Tmpfs": {"/q": "size=2m"},
            "Mounts": [
                {"Type": "tmpfs", "Target": "/tm", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 1016}},
                {"Type": "volume", "Source": "vv", "Target": "/vv", "ReadOnly": true,
                    "VolumeOptions": {"NoCopy": true, "Subpath": "a", "DriverConfig": {"Name": "local"}}},
                {"Type": "bind", "Source": "/tmp", "Target": "/tb", "BindOptions": {"Propagation": "rslave", "NonRecursive": true}},
            ],
        },
        "Mounts": [
            {"Type": "volume", "Name": "atkvol", "Destination": "/v", "Driver": "local", "Mode": "nocopy", "RW": true, "Propagation": ""},
            {"Type": "volume", "Name": "v3", "Destination": "/v3", "Driver": "nfs", "Mode": "ro,z", "RW": false, "Propagation": ""},
            {"Type": "bind", "Source": "/x", "Destination": "/b", "Mode": "rslave", "RW": true, "Propagation": "rslave"},
            {"Type": "tmpfs", "Source": "", "Destination": "/tm", "Mode": "", "RW": true, "Propagation": ""},
            {"Type": "volume", "Name": "vv", "Destination": "/vv", "Driver": "local", "Mode": "z", "RW": false, "Propagation": ""},
            {"Type": "bind", "Source": "/tmp", "Destination": "/tb", "Mode": "", "RW": true, "Propagation": "rslave"},
            {"Type": "volume", "Name": "23c04383d6c1c888dfd80f98200f6b4a14c57d23a5154b538aff0fe18cee2d90",
                "Destination": "/anon", "Driver": "local", "Mode": "", "RW": true, "Propagation": ""},
            {"Type": "npipe", "Source": "p", "Destination": "/p", "Mode": "", "RW": true, "Propagation": ""},
        ],
    }));
    let image = json!({"Config": {"Env": ["A=0", "GONE=1"]}});
    let found = imported(&container, &image);
    let expected = "\
image: busybox:latest
command: [\"true\"]
environment:
  A: \"1\"
  GONE:
volumes: [\"atkvol:/v:nocopy\", \"v3:/v3:ro\", \"/x:/b\", \"vv:/vv:nocopy,ro\", \"/tmp:/tb\", \"/anon\"]
stdin_open: true
stop_grace_period: 77s
domainname: dom.example
mem_limit: \"67108864b\"
memswap_limit: \"100663296b\"
pids_limit: -1
oom_score_adj: -200
cpus: \"1.5\"
init: false
ipc: shareable
runtime: runsc
annotations:
  a.b/c: \"$$d\"
tmpfs: [\"/q:size=2m\", \"/tm:size=1048576,mode=1770\"]
ports: [\"127.0.0.1:8080:80/udp\", \"90\", \"[::1]:9000:90\"]";
    assert_eq!(keys(&found).join("\n"), expected);
    let lost = [
        "a CPU period of 50000 microseconds",
        "control group namespace `private`",
        "`BlkioDeviceReadBps` of its `HostConfig`",
        "`BlkioWeight` of its `HostConfig`",
        "`CpusetMems` of its `HostConfig`",
        "`DeviceCgroupRules` of its `HostConfig`",
        "`MemorySwappiness` of its `HostConfig`",
        "`OomKillDisable` of its `HostConfig`",
        "`StorageOpt` of its `HostConfig`",
        "driver `nfs` of volume `v3`",
        "mount option `rslave` at `/b`",
        "mount option `rslave` at `/tb`",
        "a mount of type `npipe` at `/p`",
        "`Subpath` of the mount at `/vv`",
        "`NonRecursive` of the mount at `/tb`",
    ];
    let mut expected: Vec<String> = lost
        .iter()
        .map(|what| format!("{what} is not carried over"))
        .collect();
    expected.push("exposed ports are not carried over".to_owned());
    expected.push("publishing all exposed ports is not carried over".to_owned());
    expected.sort();
    assert_eq!(report(&found), expected);
}

#[test]
fn a_key_that_nobody_knows_yet_is_reported_by_its_name() {
    let container = with(json!({
        "Config": {"Shell": ["/bin/sh"], "Later": {"a": 1}, "Empty": {}},
        "HostConfig": {"Later": 5, "Off": false, "None": [[], 0]},
        "NetworkSettings": {"Networks": {"backend": {"Later": true, "MacAddress": "02:42:ac:11:00:09"}}},
    }));
    let found = imported(&container, &json!({"Config": {"Shell": ["/bin/sh"]}}));
    let expected = [
        "`Later` of its `Config` is not carried over",
        "`Later` of its `HostConfig` is not carried over",
        "`Later` of network `backend` is not carried over",
        "`MacAddress` of network `backend` is not carried over",
        "network `bridge` beside others is not carried over",
    ];
    assert_eq!(report(&found), expected);
}

#[test]
fn health_and_graphics_and_networks_are_carried_over() {
    let id = plain()["Id"].as_str().unwrap()[..12].to_owned();
    let mut container = with(json!({
        "Config": {
            "Healthcheck": {"Test": ["CMD-SHELL", "x $y"], "Interval": 5_000_000_000_u64, "Timeout": 1_500_000_000, "Retries": 3},
            "Labels": {"com.docker.compose.service": "box", "com.docker.compose.project": "shop"},
        },
        "HostConfig": {
            "DeviceRequests": [
                {"Driver": "", "Count": 2, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}},
                {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["0"], "Capabilities": [["gpu", "utility"]], "Options": {"a": "b"}},
                {"Driver": "cdi", "Count": 0, "DeviceIDs": ["vendor.com/class=name"], "Capabilities": null, "Options": null},
                {"Driver": "", "Count": 1, "DeviceIDs": null, "Capabilities": [["tpu"]], "Options": {}},
            ],
        },
    }));
    container["NetworkSettings"]["Networks"] = json!({
        "backend": {
            "IPAMConfig": {"IPv4Address": "10.77.0.9"},
            "Aliases": ["db", "box", id],
            "IPAddress": "10.77.0.9",
        },
        "front": {"IPAMConfig": {}, "Aliases": null},
    });
    let found = imported(
        &container,
        &json!({"Config": {"Healthcheck": {"Test": ["CMD", "z"]}}}),
    );
    let expected = "\
image: busybox:latest
command: [\"true\"]
networks:
  backend:
    aliases: [\"db\"]
    ipv4_address: \"10.77.0.9\"
  front:
healthcheck:
  test: [\"CMD-SHELL\", \"x $$y\"]
  interval: 5s
  timeout: \"1500ms\"
  retries: 3
gpus:
  - count: 2
  - driver: nvidia
    device_ids: [\"0\"]
    capabilities: [\"utility\"]
    options:
      a: b
devices: [\"vendor.com/class=name\"]";
    assert_eq!(keys(&found).join("\n"), expected);
    assert_eq!(
        report(&found),
        ["a request for devices that are no GPUs is not carried over"]
    );
    let without = with(json!({"Config": {"Healthcheck": {"Test": ["NONE"]}}}));
    assert_eq!(
        keys(&imported(&without, &Value::Null))[2..],
        ["healthcheck:", "  disable: true"]
    );
}

#[test]
fn rights_are_as_the_command_line_gave_them() {
    let of = |host: Value| {
        let found = imported(&with(json!({"HostConfig": host})), &Value::Null);
        let text = keys(&found)[2..].join("\n");
        let said = report(&found).join("\n");
        (text, said)
    };
    let options = json!({
        "SecurityOpt": ["seccomp={\"a\":1}", "apparmor=x", "no-new-privileges", "writable-cgroups=true"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    });
    let (text, said) = of(options);
    assert_eq!(
        text,
        "security_opt: [\"apparmor=x\", \"no-new-privileges\", \"systempaths=unconfined\"]"
    );
    assert_eq!(
        said,
        "its seccomp profile is not carried over\nsecurity option `writable-cgroups` is not carried over"
    );
    let privileged = json!({
        "Privileged": true,
        "SecurityOpt": ["label=disable"],
        "MaskedPaths": null,
        "ReadonlyPaths": null,
    });
    assert_eq!(of(privileged), ("privileged: true".to_owned(), String::new()));
    assert_eq!(
        of(json!({"MaskedPaths": ["/proc/kcorelike"]})).1,
        "what it hides of `/proc` and `/sys` is not carried over"
    );
}

#[test]
fn only_a_volume_that_a_container_made_itself_is_made_anew() {
    const ANONYMOUS: &str = "85a1f414270b91aa28875ecd8a0b1d3daa633d4c921519234a790d57fa3b37f7";
    let image = json!({"Config": {"Volumes": {"/vv": {}}}});
    let of = |target: &str, volumes: Value, host: Value| {
        let container = with(json!({
            "Config": {"Volumes": volumes},
            "HostConfig": host,
            "Mounts": [{"Type": "volume", "Name": ANONYMOUS, "Destination": target, "Driver": "local",
                "Mode": "", "RW": true, "Propagation": ""}],
        }));
        let found = imported(&container, &image);
        (keys(&found)[2..].join("\n"), report(&found).join("\n"))
    };
    let nothing = || (String::new(), String::new());
    let anew = |target: &str| (format!("volumes: [\"{target}\"]"), String::new());
    let that_one = |target: &str| (format!("volumes: [\"{ANONYMOUS}:{target}\"]"), String::new());
    // `-v /data`, and `-v /data/`
    assert_eq!(
        of("/data", json!({"/data": {}, "/vv": {}}), json!({})),
        anew("/data")
    );
    assert_eq!(of("/data", json!({"/data/": {}}), json!({})), anew("/data"));
    // `--mount type=volume,target=/data`
    let host = json!({"VolumesFrom": ["other"], "Mounts": [{"Type": "volume", "Target": "/data"}]});
    assert_eq!(of("/data", Value::Null, host), anew("/data"));
    // The image's own.
    assert_eq!(of("/vv", json!({"/vv": {}}), json!({})), nothing());
    // `-v NAME:/data`, also over one of the image's.
    let bind = json!({"Binds": [format!("{ANONYMOUS}:/data")]});
    assert_eq!(of("/data", Value::Null, bind), that_one("/data"));
    let bind = json!({"Binds": [format!("{ANONYMOUS}:/vv:rw")]});
    assert_eq!(of("/vv", json!({"/vv": {}}), bind), that_one("/vv"));
    let mount = json!({"Mounts": [{"Type": "volume", "Source": ANONYMOUS, "Target": "/data"}]});
    assert_eq!(of("/data", Value::Null, mount), that_one("/data"));
    // `--volumes-from other`
    let borrowed = json!({"VolumesFrom": ["other:rw"]});
    assert_eq!(of("/data", Value::Null, borrowed.clone()), that_one("/data"));
    let (written, said) = of("/vv", json!({"/vv": {}}), borrowed);
    assert_eq!(written, that_one("/vv").0);
    assert_eq!(
        said,
        "the volume at `/vv` may be its own, or one of `--volumes-from`"
    );
}

#[test]
fn the_name_of_the_host_is_not_a_containers() {
    let of = |host: Value| {
        let container = with(json!({
            "Config": {"Hostname": "vm", "Domainname": "example.org"},
            "HostConfig": host,
        }));
        let found = imported(&container, &Value::Null);
        (keys(&found)[2..].join("\n"), report(&found).join("\n"))
    };
    let (written, said) = of(json!({}));
    assert_eq!(
        (written.as_str(), said.as_str()),
        ("hostname: vm\ndomainname: example.org", "")
    );
    let (written, said) = of(json!({"UTSMode": "host"}));
    assert_eq!((written.as_str(), said.as_str()), ("uts: host", ""));
    // Its own name is possible there, and looks the same.
    let (written, said) = of(json!({"NetworkMode": "host"}));
    assert!(!written.contains("name: "), "{written}");
    assert_eq!(
        said,
        "host name `vm.example.org`, which may be its machine's, is not carried over"
    );
}

#[test]
fn a_schedule_that_is_written_differently_says_so() {
    let times = Times {
        schedules: vec!["*/90 2 * * *".to_owned()],
        every: None,
    };
    let found = import_container(&plain(), None, &times, &Options::default());
    assert_eq!(report(&found), ["`*/90 2 * * *` is written `0 2 * * *`"]);
}
