//! A private Docker engine for tests: its own dockerd, containerd, data, socket and cgroups, and an
//! image made on the spot, so that no test needs a registry or touches the host's engine.
//!
//! What a rig leaves behind is removed by a helper process that waits for the end of a pipe: it
//! cleans up when the rig is dropped, and also when the test process panics, is killed, or just
//! ends (a `static` is never dropped). A test that cannot have its engine fails and says why; it is
//! never skipped.

// Not every test module uses every part.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use docker_scheduler::engine::context::Endpoint;
use docker_scheduler::model::{ContainerSpec, ImageRef, Mount, MountKind, Text};

/// Busybox with `sh` and the usual tools.
pub const IMAGE: &str = "busybox:test";
/// The same with `VOLUME /data`.
pub const VOLUME_IMAGE: &str = "busybox:volume";

/// A cold dockerd takes 1 to 3 s; one that was killed beside a hundred containers, on a machine busy with
/// compilers, more than a minute.
const START_LIMIT: Duration = Duration::from_secs(180);

pub struct Rig {
    dir: PathBuf,
    /// Unique on this machine, and short enough for the name of a network interface.
    tag: String,
    flags: Vec<String>,
    /// The network namespace that it runs in, when that is one of its own.
    namespace: Option<String>,
    dockerd: Mutex<Option<Child>>,
    interfaces: AtomicU32,
    // Last: its end is what starts the cleaning.
    janitor: Janitor,
}

/// The engine's default, said so that the helper can see it.
const PULLS: &str = "--log-level=info";

impl Rig {
    /// An engine of its own, for a test that stops or kills it.
    pub fn start() -> Rig {
        Rig::with_flags(&[])
    }

    /// As [`Rig::start`], with more flags for dockerd, such as `--live-restore`.
    pub fn with_flags(flags: &[&str]) -> Rig {
        Rig::with(flags, None, false)
    }

    /// An engine whose data lie on a disk of this size.
    pub fn on_small_disk(mebibytes: u32) -> Rig {
        Rig::with(&[], Some(mebibytes), false)
    }

    /// An engine with a network and a host name of its own, as a node of a Swarm needs them.
    pub fn in_namespace() -> Rig {
        Rig::with(&[], None, true)
    }

    /// The same, whose tasks ask registries for their images, as they do unless the engine is told otherwise.
    pub fn in_namespace_that_pulls() -> Rig {
        Rig::with(&[PULLS], None, true)
    }

    fn with(flags: &[&str], disk: Option<u32>, own_network: bool) -> Rig {
        require_docker();
        let tag = unique_tag();
        let dir = std::env::temp_dir().join(format!("dsrig-{tag}"));
        for folder in ["witness", "data"] {
            fs::create_dir_all(dir.join(folder)).expect("create the rig's folders");
        }
        fs::write(dir.join("daemon.json"), "{}").expect("write the engine's configuration");
        let rig = Rig {
            janitor: Janitor::start(&dir, &tag),
            dir,
            tag,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            namespace: None,
            dockerd: Mutex::new(None),
            interfaces: AtomicU32::new(0),
        };
        let mut rig = rig;
        if own_network {
            let name = rig.namespace_name("");
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            rig.namespace = Some(name);
        }
        if let Some(mebibytes) = disk {
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
                .arg(rig.data_root())
                .status();
            assert!(mounted.expect("run mount").success(), "mount the engine's disk");
        }
        rig.up();
        rig.import_images();
        rig
    }

    /// The images that every rig has; also after somebody removed them.
    pub fn import_images(&self) {
        self.import(IMAGE, "");
        self.import(
            VOLUME_IMAGE,
            "&changes=VOLUME%20%2Fdata&changes=ENV%20OF_IMAGE%3Dset",
        );
    }

    /// One engine for all tests that neither stop it nor look at all of its containers.
    pub fn shared() -> &'static Rig {
        static SHARED: OnceLock<Rig> = OnceLock::new();
        SHARED.get_or_init(Rig::start)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// For `DOCKER_HOST` and `--host`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.socket())
    }

    /// A folder of this rig for whatever a test needs on the host; gone with the rig.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.join("test").join(name);
        fs::create_dir_all(&folder).expect("create a folder in the rig");
        folder
    }

    pub fn data_root(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The namespace of this rig, or another one that goes with it.
    pub fn namespace_name(&self, suffix: &str) -> String {
        format!("{}{suffix}", interface_prefix(&self.tag))
    }

    /// Every process of its containers, in its cgroup: what a node takes along when its power goes.
    pub fn kill_containers(&self) {
        let script = r#"find /sys/fs/cgroup -path "*/$1/*" -name cgroup.procs 2>/dev/null | while read -r list; do
            for pid in $(cat "$list" 2>/dev/null); do kill -9 "$pid"; done
        done"#;
        let done = Command::new("sh")
            .args(["-c", script, "sh", &format!("dsrig-{}", self.tag)])
            .stderr(Stdio::null())
            .status();
        assert!(done.is_ok(), "end the containers of a node");
    }

    pub fn dockerd_pid(&self) -> u32 {
        self.lock().as_ref().expect("dockerd runs").id()
    }

    /// What dockerd wrote, for a failure's message.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("dockerd.log")).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// SIGKILL for dockerd, whose containerd dies with it; the shims and the jobs run on, as in a
    /// real crash. The next dockerd takes them over with `--live-restore`; without it, it first stops
    /// them (TERM, KILL 10 s later) and answers only then.
    pub fn kill9(&self) {
        if let Some(mut dockerd) = self.lock().take() {
            dockerd.kill().expect("kill dockerd");
            dockerd.wait().expect("wait for dockerd");
        }
    }

    /// SIGTERM, as `systemctl stop docker` does it: running containers are stopped, unless
    /// `--live-restore` keeps them.
    pub fn term(&self) {
        if let Some(mut dockerd) = self.lock().take() {
            signal(dockerd.id(), "TERM");
            dockerd.wait().expect("wait for dockerd");
        }
    }

    /// Freezes dockerd with its socket open: it accepts connections and answers nothing.
    pub fn freeze(&self) {
        signal(self.dockerd_pid(), "STOP");
    }

    pub fn thaw(&self) {
        signal(self.dockerd_pid(), "CONT");
    }

    /// Kills dockerd if it runs, and starts it anew on the same data.
    pub fn restart(&self) {
        self.kill9();
        self.up();
    }

    /// Starts dockerd and waits until it answers.
    pub fn up(&self) {
        // Docker 20.10 makes its ID from a key file of the whole host, which the first engine writes: of
        // several first ones, all but one would have another ID after a restart, and be another engine.
        static ONE_CAME_UP: Mutex<bool> = Mutex::new(false);
        let mut one_came_up = ONE_CAME_UP.lock().unwrap_or_else(PoisonError::into_inner);
        if *one_came_up {
            drop(one_came_up);
            self.come_up();
        } else {
            self.come_up();
            *one_came_up = true;
        }
    }

    fn come_up(&self) {
        // Docker 20.10 gives up when its first question to containerd comes a moment too early.
        let dockerd = (0..3).find_map(|_| self.try_up()).unwrap_or_else(|| {
            panic!(
                "dockerd did not come up; the end of its log:\n{}",
                self.log_tail()
            )
        });
        *self.lock() = Some(dockerd);
    }

    /// `None` when dockerd ended by itself.
    fn try_up(&self) -> Option<Child> {
        // A killed dockerd leaves its pid file; with the pid reused, the next one would not start.
        drop(fs::remove_file(self.dir.join("docker.pid")));
        self.forget_dead_containerd();
        let mut dockerd = self.command().spawn().expect("start dockerd");
        let limit = Instant::now() + START_LIMIT;
        while self
            .request("GET", "/_ping", &[])
            .is_none_or(|(status, _)| status != 200)
        {
            if dockerd.try_wait().expect("look after dockerd").is_some() {
                return None;
            }
            if Instant::now() > limit {
                drop(dockerd.kill());
                drop(dockerd.wait());
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(dockerd)
    }

    /// dockerd's containerd dies with it. Where nobody reaps it, dockerd would take the remains for
    /// a containerd that still runs, and wait for it in vain.
    fn forget_dead_containerd(&self) {
        let pid_file = self.dir.join("run/containerd/containerd.pid");
        let Ok(pid) = fs::read_to_string(&pid_file) else {
            return;
        };
        for _ in 0..100 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            let state = stat.rsplit_once(") ").map_or("gone", |(_, rest)| &rest[..1]);
            if matches!(state, "gone" | "Z" | "X") {
                drop(fs::remove_file(&pid_file));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.dockerd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> Command {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("dockerd.log"))
            .expect("open the engine's log");
        let path = |name: &str| self.dir.join(name).into_os_string();
        let mut command = match &self.namespace {
            None => Command::new("dockerd"),
            Some(name) => {
                // Not `ip netns exec`, which mounts /sys anew and loses the cgroups. The programs take each
                // other's place, so that the child is dockerd in the end.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).args([
                    "unshare",
                    "--uts",
                    "sh",
                    "-c",
                    "hostname \"$0\"; exec dockerd \"$@\"",
                    name,
                ]);
                if !self.flags.iter().any(|flag| flag == PULLS) {
                    // Else each task asks a registry, which nobody can reach, for an image that is here.
                    command.env("DOCKER_SERVICE_PREFER_OFFLINE_IMAGE", "1");
                }
                command
            }
        };
        command
            .arg("--config-file")
            .arg(path("daemon.json"))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("run"))
            .arg("--pidfile")
            .arg(path("docker.pid"))
            .arg("--host")
            .arg(self.host())
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ])
            // A cgroup of its own tells its containers from every other engine's.
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .arg(format!("--cgroup-parent=/dsrig-{}", self.tag))
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the engine's log"))
            .stderr(log)
            // Ctrl-C is for the tests; the janitor sees to the engine.
            .process_group(0);
        command
    }

    fn import(&self, reference: &str, query: &str) {
        let (repository, tag) = reference.split_once(':').expect("a tagged reference");
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}{query}");
        let (status, answer) = self
            .request("POST", &path, image_tar())
            .expect("the engine answers");
        assert_eq!(
            status,
            200,
            "import {reference}: {}",
            String::from_utf8_lossy(&answer)
        );
    }

    /// A bridge network; returns its name, which is unique when `name` is.
    pub fn create_network(&self, name: &str) -> String {
        let (status, answer) = self.make_network(name);
        assert_eq!(status, 201, "create network: {answer}");
        name.to_owned()
    }

    /// As [`Rig::create_network`], and none if there is one of that name.
    pub fn make_network(&self, name: &str) -> (u16, String) {
        // Interfaces outlive a killed engine: a known prefix lets the janitor find them.
        let number = self.interfaces.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"Name":"{name}","CheckDuplicate":true,"Options":{{"com.docker.network.bridge.name":"{}n{number}"}}}}"#,
            interface_prefix(&self.tag)
        );
        self.post("/networks/create", &body)
    }

    pub fn remove_network(&self, name: &str) {
        let answer = self.request("DELETE", &format!("/networks/{name}"), &[]);
        assert_eq!(answer.expect("the engine answers").0, 204);
    }

    /// A JSON request past everything under test: status and answer.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let (status, answer) = self
            .request("POST", path, body.as_bytes())
            .expect("the engine answers");
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, answer) = self.request("GET", path, &[]).expect("the engine answers");
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    /// One request over a connection of its own; `None` when nobody answers.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(START_LIMIT)).ok()?;
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: rig\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let status = String::from_utf8_lossy(&answer[..end])
            .split(' ')
            .nth(1)?
            .parse()
            .ok()?;
        Some((status, answer.split_off(end + 4)))
    }

    /// Where jobs of one test leave their traces.
    pub fn witness(&self, name: &str) -> Witness {
        let folder = self.dir.join("witness").join(name);
        fs::create_dir_all(&folder).expect("create the witness's folder");
        Witness { folder }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill9();
        self.janitor.clean();
    }
}

/// Writes a script that can be run. Another process writes it: a file that this one had open, and a child
/// that another test starts just then still has, cannot be executed ("text file busy").
pub fn install(path: &Path, script: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "install"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("run sh");
    let mut input = writer.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("write a script");
    drop(input);
    assert!(
        writer.wait().expect("wait for sh").success(),
        "install {}",
        path.display()
    );
}

/// Runs `ip`, which must succeed.
pub fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("run ip");
    assert!(done.success(), "ip {}", args.join(" "));
}

fn require_docker() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests start an engine of their own and must run as root: `sudo -E cargo test --test it`"
    );
    for (program, package) in [
        ("dockerd", "docker.io"),
        ("containerd", "containerd"),
        ("ip", "iproute2"),
    ] {
        let found = std::env::var_os("PATH")
            .is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(program).exists()));
        assert!(
            found,
            "these tests start an engine of their own and need `{program}` in PATH: `apt-get install {package}`"
        );
    }
    assert!(
        busybox().is_some(),
        "these tests make their own image from a static busybox: `apt-get install busybox-static`"
    );
}

fn busybox() -> Option<&'static Path> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())
}

fn unique_tag() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// At most 15 characters with what follows.
fn interface_prefix(tag: &str) -> String {
    format!("ds{tag}")
}

/// The root filesystem of the image: one binary, its applets as links, two users.
fn image_tar() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let busybox = busybox().expect("checked before");
        let list = Command::new(busybox).arg("--list").output().expect("run busybox");
        let mut tar = tar::Builder::new(Vec::new());
        for (folder, mode) in [("bin/", 0o755), ("tmp/", 0o1777), ("etc/", 0o755)] {
            append(&mut tar, folder, tar::EntryType::Directory, mode, b"");
        }
        let binary = fs::read(busybox).expect("read busybox");
        append(&mut tar, "bin/busybox", tar::EntryType::Regular, 0o755, &binary);
        for applet in String::from_utf8_lossy(&list.stdout)
            .lines()
            .filter(|name| *name != "busybox")
        {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, format!("bin/{applet}"), "busybox")
                .expect("add an applet");
        }
        let users = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
        append(&mut tar, "etc/passwd", tar::EntryType::Regular, 0o644, users);
        tar.into_inner().expect("finish the image")
    })
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, content).expect("add a file");
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()
        .expect("run kill");
    assert!(sent.success(), "kill -{name} {pid}");
}

/// The process that cleans up after a rig, whatever happens to the tests.
struct Janitor {
    process: Child,
    pipe: Option<ChildStdin>,
}

/// Ends only processes that belong to this rig: those whose command line names its folder, and
/// those in its own cgroup.
const CLEAN: &str = r#"
dir=$1 cgroup=$2 interfaces=$3
trap '' HUP INT TERM
read -r _ || true
end_by_folder() {
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        [ "$pid" != $$ ] && tr '\0' ' ' <"$proc/cmdline" 2>/dev/null | grep -qF "$dir/" && kill -9 "$pid"
    done
}
end_by_cgroup() {
    find /sys/fs/cgroup -path "*/$cgroup/*" -name cgroup.procs 2>/dev/null | while read -r list; do
        for pid in $(cat "$list" 2>/dev/null); do kill -9 "$pid"; done
    done
}
# Twice: a shim may have been starting a container.
for _ in 1 2; do end_by_folder; end_by_cgroup; sleep 0.2; done
# Shims keep their sockets outside of the engine's folders, and a killed one leaves its own. containerd
# writes down where: `address` before 2.0, `bootstrap.json` since.
cat "$dir"/run/containerd/daemon/*/*/*/address "$dir"/run/containerd/daemon/*/*/*/bootstrap.json 2>/dev/null |
    grep -o 'unix://[^"]*' | while read -r socket; do rm -f "${socket#unix://}"; done
grep -F " $dir/" /proc/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do umount -l "$mount"; done
for interface in /sys/class/net/"$interfaces"n*; do
    [ -e "$interface" ] && ip link del "${interface##*/}"
done
for namespace in /run/netns/"$interfaces"*; do
    [ -e "$namespace" ] && ip netns del "${namespace##*/}"
done
find /sys/fs/cgroup -depth -type d \( -path "*/$cgroup/*" -o -name "$cgroup" \) -exec rmdir {} \; 2>/dev/null
rm -rf "$dir"
"#;

impl Janitor {
    fn start(dir: &Path, tag: &str) -> Janitor {
        let mut process = Command::new("sh")
            .args(["-c", CLEAN, "janitor"])
            .arg(dir)
            .arg(format!("dsrig-{tag}"))
            .arg(interface_prefix(tag))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start the rig's janitor");
        Janitor {
            pipe: process.stdin.take(),
            process,
        }
    }

    fn clean(&mut self) {
        drop(self.pipe.take());
        drop(self.process.wait());
    }
}

/// What jobs did, told by themselves: each appends a line with fsync before and after its work.
/// It is the judge of at-most-once; no ledger and no engine is asked.
pub struct Witness {
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessLine {
    pub phase: Phase,
    /// `SCHEDULER_SLOT`; `-` when it was empty.
    pub slot: String,
    pub attempt: String,
    /// The first 12 characters of the container's ID.
    pub container: String,
    /// Seconds since the epoch, by the job's clock.
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Begin,
    End,
}

impl Witness {
    /// In the container.
    pub const FOLDER: &str = "/witness";

    /// On the host.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `volumes:` entry of a manifest.
    pub fn volume(&self) -> String {
        format!("{}:{}", self.folder.display(), Witness::FOLDER)
    }

    pub fn mount(&self) -> Mount {
        Mount {
            kind: MountKind::Bind {
                source: self.folder.clone(),
                create_host_path: false,
            },
            target: Witness::FOLDER.to_owned(),
            read_only: false,
        }
    }

    /// A shell script that bears witness, does `work`, bears witness again, and ends as `work` did.
    pub fn script(work: &str) -> String {
        // One write of less than a page, appended: lines of racing jobs do not mix.
        format!(
            "tell() {{ echo \"$1 ${{SCHEDULER_SLOT:--}} ${{SCHEDULER_ATTEMPT:--}} $(hostname) $(date +%s)\" \
             | dd of={}/lines oflag=append conv=notrunc,fsync 2>/dev/null; }}; \
             tell begin; ( {work} ); code=$?; tell end; exit $code",
            Witness::FOLDER
        )
    }

    /// A container that runs [`Witness::script`].
    pub fn spec(&self, work: &str) -> ContainerSpec {
        ContainerSpec {
            command: Some(
                ["/bin/sh", "-c", &Witness::script(work)]
                    .map(Text::plain)
                    .to_vec(),
            ),
            mounts: vec![self.mount()],
            ..ContainerSpec::of_image(image())
        }
    }

    pub fn lines(&self) -> Vec<WitnessLine> {
        let text = fs::read_to_string(self.folder.join("lines")).unwrap_or_default();
        text.lines()
            .map(|line| parse_line(line).unwrap_or_else(|| panic!("not a witness's line: {line:?}")))
            .collect()
    }

    /// How often a job began.
    pub fn executions(&self) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.phase == Phase::Begin)
            .count()
    }
}

fn parse_line(line: &str) -> Option<WitnessLine> {
    let [phase, slot, attempt, container, at] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    Some(WitnessLine {
        phase: match phase {
            "begin" => Phase::Begin,
            "end" => Phase::End,
            _ => return None,
        },
        slot: slot.to_owned(),
        attempt: attempt.to_owned(),
        container: container.to_owned(),
        at: at.parse().ok()?,
    })
}

pub fn image() -> ImageRef {
    IMAGE.parse().expect("a valid reference")
}

/// Waits until `what` holds, for at most `limit`; says `name` when it never does.
pub async fn eventually(name: &str, limit: Duration, mut what: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + limit;
    while !what().await {
        assert!(Instant::now() < end, "never came: {name}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
