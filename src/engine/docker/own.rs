//! The container that this process lives in, if it lives in one.
//!
//! What is mounted in here names a container, which is not always this one: containers that share a network
//! (`network_mode: service:proxy`) share those files. The engine knows which of them has our root file
//! system, or our mounts.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// The full ID of this process's own container, or of the one whose network it shares; `None` outside of
/// one, and where nothing tells.
///
/// An engine that does not know the ID is another one than the container's: inside of an engine in a
/// container, the ID is the outer engine's.
pub(super) fn named() -> Option<&'static str> {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    NAMED.get_or_init(|| of_mounts(&mounts())).as_deref()
}

/// Whether this process lives in a container.
#[must_use]
pub fn is_contained() -> bool {
    named().is_some()
}

/// Whether that container is the one that this process lives in. Once the engine was asked, a container that
/// cannot be told from it is it, too.
#[must_use]
pub fn is_own(id: &str) -> bool {
    match SETTLED.get() {
        Some(ids) => ids.iter().any(|own| own == id),
        None => named() == Some(id),
    }
}

static SETTLED: OnceLock<Vec<String>> = OnceLock::new();

/// From here on these are ours.
pub(super) fn settle(ids: impl IntoIterator<Item = String>) {
    // A second answer would be the same.
    let _ = SETTLED.set(ids.into_iter().collect());
}

/// As the kernel shows them; nothing where there is no such file.
pub(super) fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Docker and Podman mount files of the container's own folder over these, whatever its network is. The
/// host name would be the ID's beginning, but anybody may set it.
const FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Folders of an engine that hold one for each container, named by its ID.
const FOLDERS: [&str; 2] = ["containers", "overlay-containers"];

fn of_mounts(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (source, target) = (fields.nth(3)?, fields.next()?);
        if !FILES.contains(&target) {
            return None;
        }
        let parts: Vec<&str> = source.split('/').collect();
        let is_id = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        (parts.windows(2))
            .find(|pair| FOLDERS.contains(&pair[0]) && is_id(pair[1]))
            .map(|pair| pair[1].to_owned())
    })
}

/// A line of the table: where in its file system the mount begins, where it is seen, and its options.
fn rows(mountinfo: &str) -> impl Iterator<Item = (String, String, &str)> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let plain = |text: &str| text.replace("\\040", " ");
        let (source, target) = (plain(fields.nth(3)?), plain(fields.next()?));
        Some((source, target, line.rsplit(' ').next()?))
    })
}

/// Those of them that may be ours, never none of several: the one with our root file system, else those with
/// most of our mounts, else all.
pub(super) fn most_alike(mut containers: Vec<Value>, mountinfo: &str) -> Vec<Value> {
    let rank = |container: &Value| match has_our_root(container, mountinfo) {
        Some(true) => Some(usize::MAX),
        Some(false) => None,
        None => mounts_in_common(container, mountinfo),
    };
    let best = containers.iter().map(rank).max().flatten();
    containers.retain(|container| rank(container) == best);
    containers
}

/// Whether this container, as the engine describes it, has the root file system that is seen here. `None`
/// when that cannot be told, as from storage that is no overlay of the engine's.
pub(super) fn has_our_root(container: &Value, mountinfo: &str) -> Option<bool> {
    let theirs = container.pointer("/GraphDriver/Data/UpperDir")?.as_str()?;
    let (_, _, options) = rows(mountinfo).find(|(_, target, _)| target == "/")?;
    let ours = options
        .split(',')
        .find_map(|option| option.strip_prefix("upperdir="))?;
    Some(Path::new(theirs).ends_with(ours.trim_start_matches('/')))
}

/// How many of its mounts are seen here; `None` when one of them is not.
fn mounts_in_common(container: &Value, mountinfo: &str) -> Option<usize> {
    let seen: Vec<_> = rows(mountinfo).collect();
    let theirs = container.get("Mounts").and_then(Value::as_array);
    let theirs = theirs.map_or(&[] as &[Value], Vec::as_slice);
    let is_here = |mount: &Value| {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
        let (from, to) = (text("Source"), text("Destination"));
        seen.iter()
            .any(|(source, target, _)| target == to && end(source).is_none_or(|tail| end(from) == Some(tail)))
    };
    theirs.iter().all(is_here).then_some(theirs.len())
}

/// The last two names of a path: more may differ, since it is seen from the top of its file system.
fn end(path: &str) -> Option<(&str, &str)> {
    let (folder, name) = path.rsplit_once('/')?;
    let (_, folder) = folder.rsplit_once('/')?;
    Some((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b3ba1e0b5e9d46968103fafe6b6997f7d277ea1565f6ae2b284378bb7ef68481";

    #[test]
    fn the_engines_mounts_tell_the_id() {
        let docker = format!(
            "700 690 0:60 / / rw - overlay overlay rw\n\
             701 700 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(of_mounts(&docker).as_deref(), Some(ID));
        let podman = format!(
            "1 2 0:25 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw"
        );
        assert_eq!(of_mounts(&podman).as_deref(), Some(ID));
    }

    #[test]
    fn other_mounts_tell_nothing() {
        let others = format!(
            "1 2 8:1 /srv/containers/{ID}/data /data rw - ext4 /dev/sda1 rw\n\
             2 2 8:1 /etc/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
             3 2 8:1 /containers/short/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
             broken"
        );
        assert_eq!(of_mounts(&others), None);
    }

    /// Of a container that shares the network of another one, on a real engine.
    const SHARING: &str = "\
        113 62 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/d/overlay2/l/A,upperdir=/d/overlay2/580b/diff,workdir=/d/overlay2/580b/work\n\
        130 113 254:0 /srv/my\\040jobs /jobs ro,relatime - ext4 /dev/vda rw\n\
        131 113 254:0 /d/volumes/state/_data /var/lib/docker-scheduler rw - ext4 /dev/vda rw\n\
        132 113 0:58 / /scratch rw - tmpfs tmpfs rw\n";

    fn described(upper: &str, mounts: &[(&str, &str)]) -> Value {
        let mounts: Vec<Value> = mounts
            .iter()
            .map(|(source, target)| serde_json::json!({"Source": source, "Destination": target}))
            .collect();
        serde_json::json!({"GraphDriver": {"Data": {"UpperDir": upper}}, "Mounts": mounts})
    }

    #[test]
    fn the_root_file_system_tells_which_container_is_ours() {
        let ours = described("/d/overlay2/580b/diff", &[]);
        assert_eq!(has_our_root(&ours, SHARING), Some(true));
        let theirs = described("/d/overlay2/77aa/diff", &[]);
        assert_eq!(has_our_root(&theirs, SHARING), Some(false));
        assert_eq!(
            has_our_root(&serde_json::json!({"GraphDriver": {"Data": null}}), SHARING),
            None
        );
        assert_eq!(has_our_root(&ours, "1 2 8:1 / / rw - ext4 /dev/sda1 rw"), None);
    }

    #[test]
    fn of_several_the_likeliest_are_ours() {
        let proxy = described(
            "/d/overlay2/77aa/diff",
            &[("/run/docker.sock", "/run/docker.sock")],
        );
        let ours = described("/d/overlay2/580b/diff", &[("/srv/my jobs", "/jobs")]);
        let found = most_alike(vec![proxy.clone(), ours.clone()], SHARING);
        assert_eq!(found, std::slice::from_ref(&ours));
        // Another root is another container, whatever is mounted there.
        let twin = described("/d/overlay2/77aa/diff", &[("/srv/my jobs", "/jobs")]);
        let untold = serde_json::json!({"Mounts": []});
        assert_eq!(most_alike(vec![twin, untold.clone()], SHARING), [untold]);
        // Where the engine does not tell of its storage.
        let without = |mut container: Value| {
            container["GraphDriver"] = Value::Null;
            container
        };
        let (proxy, ours, pause) = (without(proxy), without(ours), without(described("", &[])));
        let found = most_alike(vec![pause.clone(), proxy.clone(), ours.clone()], SHARING);
        assert_eq!(found, [ours]);
        assert_eq!(most_alike(vec![pause.clone(), pause.clone()], SHARING).len(), 2);
        assert_eq!(most_alike(vec![proxy.clone()], SHARING), [proxy]);
    }

    #[test]
    fn so_do_the_mounts() {
        let of = |mounts: &[(&str, &str)]| mounts_in_common(&described("", mounts), SHARING);
        let state = ("/var/lib/docker/volumes/state/_data", "/var/lib/docker-scheduler");
        assert_eq!(of(&[("/srv/my jobs", "/jobs"), state]), Some(2));
        assert_eq!(of(&[]), Some(0));
        assert_eq!(of(&[("/var/run/docker.sock", "/var/run/docker.sock")]), None);
        assert_eq!(of(&[("/srv/other", "/jobs"), state]), None);
        assert_eq!(of(&[("", "/scratch")]), Some(1));
    }
}
