//! The container that this process lives in, if it lives in one.

use std::sync::OnceLock;

/// The full ID of this process's own container; `None` outside of one, and where nothing tells.
///
/// An engine that does not know the ID is another one than the container's: inside of an engine in a
/// container, the ID is the outer engine's.
#[must_use]
pub fn own_container() -> Option<&'static str> {
    static OWN: OnceLock<Option<String>> = OnceLock::new();
    OWN.get_or_init(|| {
        std::fs::read_to_string("/proc/self/mountinfo")
            .ok()
            .and_then(|text| of_mounts(&text))
    })
    .as_deref()
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
}
