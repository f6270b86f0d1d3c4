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

/// Whose a volume is.
enum Origin {
    /// The container's, by its own word.
    Itself,
    /// The container's, as the image says.
    Image,
    /// It was there before.
    Elsewhere,
    Unclear,
}

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
        let origin = match kind.as_str() {
            "volume" => self.origin(&source, &target),
            _ => Origin::Elsewhere,
        };
        match origin {
            Origin::Image => return,
            // Each run gets its own.
            Origin::Itself => {
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
            Origin::Unclear => {
                let message = format!(
                    "the volume at `{}` may be its own, or one of `--volumes-from`",
                    shown(&target)
                );
                self.report.changed(0..0, message).help(
                    "each run uses that volume; its path alone under `volumes` gives each run a new one",
                );
            }
            Origin::Elsewhere => {}
        }
        let written = if options.is_empty() {
            format!("{source}:{target}")
        } else {
            format!("{source}:{target}:{}", options.join(","))
        };
        volume(&written, &mut self.line());
    }

    /// Anonymous volumes have a name of 64 hexadecimal digits; so may others.
    fn origin(&self, name: &str, target: &str) -> Origin {
        let container = self.container;
        let is_here = |path: &str| path.trim_end_matches('/') == target.trim_end_matches('/');
        let asked = list(container, &["HostConfig", "Mounts"]);
        let is_named = texts(container, &["HostConfig", "Binds"])
            .iter()
            .any(|bind| bind.split(':').next() == Some(name))
            || asked.iter().any(|mount| text(mount, &["Source"]) == name);
        let is_anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_named || !is_anonymous {
            return Origin::Elsewhere;
        }
        if asked.iter().any(|mount| is_here(&text(mount, &["Target"]))) {
            return Origin::Itself;
        }
        let is_in = |value: &Value| {
            let volumes = get(value, &["Config", "Volumes"]).as_object();
            volumes.is_some_and(|volumes| volumes.keys().any(|path| is_here(path)))
        };
        let borrows = !list(container, &["HostConfig", "VolumesFrom"]).is_empty();
        // What is borrowed goes before what the image and `--volume PATH` say.
        match (is_in(container), borrows) {
            (true, true) => Origin::Unclear,
            (true, false) if is_in(self.image) => Origin::Image,
            (true, false) => Origin::Itself,
            (false, _) => Origin::Elsewhere,
        }
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
