//! What a container sees of volumes, of its host and of memory.

use serde_json::Value;

use super::super::docker_line::volume;
use super::super::draft::literal;
use super::super::when::shown;
use super::{Reader, get, is_default, list, pairs, text, texts};

/// Words of a mount's `Mode` that stand in a field of their own.
const SAID_ELSEWHERE: [&str; 9] = [
    "", "ro", "rw", "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

impl Reader<'_, '_> {
    pub(super) fn mounts(&mut self) {
        let container = self.container;
        for mount in list(container, &["Mounts"]) {
            self.mount(mount);
        }
        for (target, options) in pairs(container, &["HostConfig", "Tmpfs"]) {
            self.tmpfs(&target, &options);
        }
        for asked in list(container, &["HostConfig", "Mounts"]) {
            self.asked(asked);
        }
    }

    /// A mount as it came to be; memory is described better by how it was asked for.
    fn mount(&mut self, mount: &Value) {
        let target = text(mount, &["Destination"]);
        let kind = text(mount, &["Type"]);
        let source = match kind.as_str() {
            "volume" => text(mount, &["Name"]),
            "bind" => text(mount, &["Source"]),
            "tmpfs" => return,
            _ => {
                self.lost(&format!(
                    "a mount of type `{}` at `{}`",
                    shown(&kind),
                    shown(&target)
                ));
                return;
            }
        };
        let mode = text(mount, &["Mode"]);
        // The engine writes `z` to each volume.
        let mut options: Vec<&str> = mode
            .split(',')
            .filter(|word| !(SAID_ELSEWHERE.contains(word) || kind == "volume" && *word == "z"))
            .collect();
        let propagation = text(mount, &["Propagation"]);
        if !matches!(propagation.as_str(), "" | "rprivate") {
            options.push(&propagation);
        }
        // Others have no key.
        options.retain(|option| {
            if *option != "nocopy" {
                self.lost(&format!(
                    "mount option `{}` at `{}`",
                    shown(option),
                    shown(&target)
                ));
            }
            *option == "nocopy"
        });
        if self.asks_for_no_copy(&target) && options.is_empty() {
            options.push("nocopy");
        }
        if get(mount, &["RW"]) == &Value::Bool(false) {
            options.push("ro");
        }
        let driver = text(mount, &["Driver"]);
        if kind == "volume" && !matches!(driver.as_str(), "" | "local") {
            self.lost(&format!(
                "driver `{}` of volume `{}`",
                shown(&driver),
                shown(&source)
            ));
        }
        // An anonymous volume has a name of 64 hexadecimal digits: each run gets its own.
        if source.len() == 64 && source.bytes().all(|b| b.is_ascii_hexdigit()) {
            for option in options {
                self.lost(&format!(
                    "`{}` of the volume at `{}`",
                    shown(option),
                    shown(&target)
                ));
            }
            volume(&target, &mut self.line());
            return;
        }
        let written = if options.is_empty() {
            format!("{source}:{target}")
        } else {
            format!("{source}:{target}:{}", options.join(","))
        };
        volume(&written, &mut self.line());
    }

    fn asks_for_no_copy(&self, target: &str) -> bool {
        list(self.container, &["HostConfig", "Mounts"])
            .iter()
            .any(|asked| {
                text(asked, &["Target"]) == target
                    && get(asked, &["VolumeOptions", "NoCopy"]) == &Value::Bool(true)
            })
    }

    /// A mount as `--mount` asked for it: memory, and what has no key.
    fn asked(&mut self, asked: &Value) {
        let target = text(asked, &["Target"]);
        let place = format!(" of the mount at `{}`", shown(&target));
        if text(asked, &["Type"]) == "tmpfs" {
            let mut options = Vec::new();
            let number = |key: &str| {
                get(asked, &["TmpfsOptions", key])
                    .as_u64()
                    .filter(|value| *value > 0)
            };
            options.extend(number("SizeBytes").map(|size| format!("size={size}")));
            options.extend(number("Mode").map(|mode| format!("mode={mode:o}")));
            // Newer engines take further ones, as `[[exec], [uid, 0]]`.
            for option in list(asked, &["TmpfsOptions", "Options"]) {
                options.push(texts(option, &[]).join("="));
            }
            if get(asked, &["ReadOnly"]) == &Value::Bool(true) {
                options.push("ro".to_owned());
            }
            self.tmpfs(&target, &options.join(","));
            self.unread_of(
                get(asked, &["TmpfsOptions"]),
                &["Mode", "Options", "SizeBytes"],
                &place,
            );
        }
        for (key, known) in [
            // A folder that is missing is created anyway.
            ("BindOptions", &["CreateMountpoint", "Propagation"][..]),
            ("VolumeOptions", &["DriverConfig", "NoCopy"]),
        ] {
            self.unread_of(get(asked, &[key]), known, &place);
        }
        if !is_default(get(asked, &["VolumeOptions", "DriverConfig", "Options"])) {
            self.lost(&format!("`DriverConfig`{place}"));
        }
        let known = [
            "BindOptions",
            "ReadOnly",
            "Source",
            "Target",
            "TmpfsOptions",
            "Type",
            "VolumeOptions",
        ];
        self.unread_of(asked, &known, &place);
    }

    fn tmpfs(&mut self, target: &str, options: &str) {
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(":{options}")
        };
        self.job.push("tmpfs", literal(&format!("{target}{options}")));
    }
}
