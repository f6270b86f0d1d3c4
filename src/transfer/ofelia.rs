//! ofelia's jobs, from its INI file: of the first edition (mcuadros) and of netresearch's.
//!
//! What the keys of a job mean is here for the INI file and for labels alike (`labels.rs`), also those
//! of chadburn.

use std::ops::Range;

use crate::model::{ImageRef, validate_container_ref};

use super::docker_line::{Line, environment, network, volume, warn_of_secret};
use super::draft::{Draft, Job, duration, literal, literals};
use super::ini::{self, Read};
use super::report::Report;
use super::when::{self, Dialect, Start, When, go_duration, shown};
use super::yaml::Yaml;
use super::{Imported, Options};

/// One key of a job, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub key: String,
    pub value: String,
    pub at: Range<usize>,
}

/// A job as ofelia knows it, wherever it was written.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// `exec`, `run`, `local`, `service-run`, `compose`.
    pub kind: String,
    pub name: String,
    pub at: Range<usize>,
    pub settings: Vec<Setting>,
    /// Where an `exec` runs when it does not say so: a container or (service, project).
    pub home: Option<Home>,
}

/// The container of the service that carries the labels.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub service: String,
    pub project: String,
}

/// Whose ofelia it is. They differ in who a job without a `user` runs as, and in how values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    Chadburn,
    /// Nothing tells; most have the first edition (mcuadros).
    Unknown,
    Netresearch,
}

/// What `[global]` says for jobs that do not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals {
    user: Option<String>,
    max_runtime: Option<Setting>,
}

/// Keys, without dashes, that netresearch's edition alone has: each tells whose file it is.
const NETRESEARCH: [&str; 26] = [
    "annotations",
    "consoleheight",
    "consolewidth",
    "containername",
    "defaultuser",
    "dependson",
    "enablepprof",
    "enablestrictvalidation",
    "enableweb",
    "entrypoint",
    "envfile",
    "envfrom",
    "historylimit",
    "loglevel",
    "maxretries",
    "maxruntime",
    "onfailure",
    "onsuccess",
    "privileged",
    "restorehistory",
    "runonstartup",
    "stopsignal",
    "stoptimeout",
    "webaddress",
    "webhooks",
    "workingdir",
];

/// Whose key it is, if that tells.
pub(crate) fn edition_of(key: &str) -> Edition {
    let key = key.trim().to_ascii_lowercase().replace(['-', '_'], "");
    if NETRESEARCH.contains(&key.as_str()) {
        Edition::Netresearch
    } else {
        Edition::Unknown
    }
}

/// Reads an INI file.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut draft = Draft::new(options.project_or(file), &format!("ofelia's `{file}`"));
    defaults(&mut draft, options);
    let ini = Ini::read(text, &mut report);
    for section in &ini.sections {
        job(section, ini.edition, &ini.globals, &mut draft, &mut report);
    }
    Imported::new(draft, report)
}

/// What ofelia does when a job does not say otherwise.
pub(crate) fn defaults(draft: &mut Draft, options: &Options) {
    draft.remark("as before: no start is made up for, and a run may start beside another");
    if let Some(zone) = &options.timezone {
        draft.defaults.push(("timezone", Yaml::text(zone.clone())));
    }
    draft.defaults.push(("concurrency", Yaml::text("allow")));
    draft.defaults.push(("missed_fires", Yaml::text("skip")));
}

/// A file, taken apart.
struct Ini {
    edition: Edition,
    sections: Vec<Section>,
    globals: Globals,
}

/// Where keys belong.
enum Place {
    Job(usize),
    Ofelia,
    /// A section that is not carried over, which was said.
    Nowhere,
}

impl Ini {
    fn read(text: &str, report: &mut Report<'_>) -> Ini {
        let mut ini = Ini {
            edition: edition(text),
            sections: Vec::new(),
            globals: Globals::default(),
        };
        let mut place = Place::Ofelia;
        let mut start = 0;
        while start < text.len() {
            let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
            let line = &text[start..end];
            let trimmed = line.trim().trim_start_matches('\u{feff}');
            let begin = end - line.trim_start().trim_start_matches('\u{feff}').len();
            let at = begin..begin + trimmed.len();
            start = end + 1;
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                place = ini.section(rest, at, report);
                continue;
            }
            let Some(delimiter) = trimmed.find(['=', ':']) else {
                let key = trimmed
                    .split([' ', '\t', '#', ';'])
                    .next()
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                // gcfg takes a bare word for yes, where that is an answer.
                if matches!(key.as_str(), "no-overlap" | "tty") {
                    ini.put(
                        &place,
                        Setting {
                            key,
                            value: "true".to_owned(),
                            at,
                        },
                        report,
                    );
                } else {
                    report.lost(
                        at,
                        format!("`{}` has no value, and is not carried over", shown(&key)),
                    );
                }
                continue;
            };
            let key = trimmed[..delimiter].trim().to_ascii_lowercase();
            let rest = begin + delimiter + 1;
            let Some(read) = ini.value(
                &key,
                &text[rest..],
                trimmed[delimiter..].starts_with(':'),
                &at,
                report,
            ) else {
                report.refused(at, "a quote of this value is not closed");
                if let Place::Job(index) = place {
                    ini.sections.remove(index);
                }
                break;
            };
            start = rest + read.end + 1;
            ini.put(
                &place,
                Setting {
                    key,
                    value: read.text,
                    at,
                },
                report,
            );
        }
        ini
    }

    /// `[job-exec "name"]`, behind the bracket. One that is there twice is one.
    fn section(&mut self, rest: &str, at: Range<usize>, report: &mut Report<'_>) -> Place {
        let mut quoted = false;
        let Some(close) = rest.find(|c: char| {
            quoted ^= c == '"';
            c == ']' && !quoted
        }) else {
            report.refused(at, "this section is not closed");
            return Place::Nowhere;
        };
        let (title, behind) = (rest[..close].trim(), rest[close + 1..].trim());
        if !behind.is_empty() && !behind.starts_with(['#', ';']) {
            report.lost(
                at.clone(),
                format!("`{}` behind a section is not carried over", shown(behind)),
            );
        }
        let (kind, name) = title.split_once(char::is_whitespace).unwrap_or((title, ""));
        let kind = kind.to_ascii_lowercase();
        let Some(kind) = kind.strip_prefix("job-") else {
            if kind == "global" {
                return Place::Ofelia;
            }
            report.lost(at, format!("section `{}` is not carried over", shown(title)));
            return Place::Nowhere;
        };
        let name = name
            .trim()
            .trim_matches('"')
            .replace("\\\"", "\"")
            .replace("\\\\", "\\");
        let known = self
            .sections
            .iter()
            .position(|section| section.kind == kind && section.name == name);
        Place::Job(known.unwrap_or_else(|| {
            self.sections.push(Section {
                kind: kind.to_owned(),
                name,
                at,
                settings: Vec::new(),
                home: None,
            });
            self.sections.len() - 1
        }))
    }

    /// What stands behind a key, as the editions read it, and where it ends. `None` where it never does.
    fn value(
        &self,
        key: &str,
        text: &str,
        with_colon: bool,
        at: &Range<usize>,
        report: &mut Report<'_>,
    ) -> Option<Read> {
        let theirs = ini::ini_v1(text);
        let first = ini::gcfg(text).filter(|_| !with_colon && self.edition != Edition::Netresearch);
        let (read, word) = match (first, theirs) {
            (None, None) => return None,
            (Some(read), None) | (None, Some(read)) => (read, None),
            (Some(first), Some(theirs)) if is_same(key, &first.text, &theirs.text) => (first, None),
            (Some(first), Some(theirs)) => {
                if is_of_the_first(key, text, &first.text, &theirs.text) {
                    (first, Some("the first one (mcuadros) reads"))
                } else {
                    (theirs, Some("netresearch's reads"))
                }
            }
        };
        if let Some(word) = word {
            report.changed(
                at.clone(),
                format!("the editions of ofelia read these quotes differently: it is taken as {word} them"),
            );
        }
        // A command that breaks off in the middle says so itself.
        let attached = read
            .comment
            .filter(|at| !text[..*at].is_empty() && !text[..*at].ends_with(char::is_whitespace));
        if let Some(found) = attached
            && shlex::split(&read.text).is_some()
        {
            let sign = &text[found..=found];
            report
                .changed(
                    at.clone(),
                    format!("its value ends at `{sign}`, where ofelia began a comment"),
                )
                .help("write it in double quotes where it belongs to the value");
        }
        Some(read)
    }

    fn put(&mut self, place: &Place, setting: Setting, report: &mut Report<'_>) {
        let section = match place {
            Place::Job(index) => self.sections.get_mut(*index),
            Place::Ofelia => None,
            Place::Nowhere => return,
        };
        match section {
            Some(section) => {
                let before = section.settings.len();
                if ONCE.contains(&setting.key.as_str()) {
                    section.settings.retain(|known| known.key != setting.key);
                }
                if section.settings.len() < before {
                    let message = format!("`{}` is there twice: the last one holds", shown(&setting.key));
                    report.changed(setting.at.clone(), message);
                }
                section.settings.push(setting);
            }
            None if setting.key == "default-user" => self.globals.user = Some(setting.value),
            None if setting.key == "max-runtime" => self.globals.max_runtime = Some(setting),
            None => global(&setting, report),
        }
    }
}

/// Keys with one value.
const ONCE: [&str; 12] = [
    "command",
    "container",
    "delete",
    "hostname",
    "image",
    "max-runtime",
    "network",
    "no-overlap",
    "pull",
    "schedule",
    "tty",
    "user",
];

/// Whose file it is, by what stands in it.
fn edition(text: &str) -> Edition {
    let tells = |line: &str| {
        let line = line.trim();
        let lower = line.to_ascii_lowercase();
        let section = ["[docker]", "[webhook ", "[job-compose "];
        section.iter().any(|title| lower.starts_with(title))
            || line
                .split_once('=')
                .is_some_and(|(key, _)| edition_of(key) == Edition::Netresearch)
    };
    if text.lines().any(tells) {
        Edition::Netresearch
    } else {
        Edition::Unknown
    }
}

/// Between the words of a command it makes no difference how much white space there is.
fn is_same(key: &str, first: &str, theirs: &str) -> bool {
    let words = || shlex::split(first).is_some_and(|words| Some(words) == shlex::split(theirs));
    first == theirs || (key == "command" && words())
}

/// Which reading is meant where they differ: quotes inside a command are the command's own, and gcfg takes
/// them away.
fn is_of_the_first(key: &str, text: &str, first: &str, theirs: &str) -> bool {
    let start = text.trim_start();
    if start.starts_with(['\'', '`', '[']) || start.starts_with("\"\"\"") {
        return false;
    }
    let line = text.lines().next().unwrap_or_default();
    let is_broken = shlex::split(theirs).is_none() && shlex::split(first).is_some();
    key != "command" || ini::is_quoted(text) || ini::escapes_quotes(line) || is_broken
}

/// Settings of ofelia itself: mail, Slack, folders for its own logs.
pub(crate) fn global(setting: &Setting, report: &mut Report<'_>) {
    report
        .lost(
            setting.at.clone(),
            format!("`{}` of ofelia itself is not carried over", shown(&setting.key)),
        )
        .help("`history` and `logs` keep what ran; who is told about it is the operator's file");
}

/// One job, added to the draft unless it is refused.
pub(crate) fn job(
    section: &Section,
    edition: Edition,
    globals: &Globals,
    draft: &mut Draft,
    report: &mut Report<'_>,
) {
    let at = section.at.clone();
    let line = report.line_of(at.start);
    let mut job = Job::new(format!("line {line}: job-{} {}", section.kind, section.name));
    match section.kind.as_str() {
        "exec" | "run" | "service-run" => {}
        "local" => {
            report
                .refused(
                    at,
                    "a `job-local` runs where ofelia runs, and a job runs in a container",
                )
                .help("write it as a job of an image that has its command");
            return;
        }
        kind => {
            report.refused(at, format!("a `job-{}` has no equal", shown(kind)));
            return;
        }
    }
    let Some(place) = section.settings.iter().find(|setting| setting.key == "schedule") else {
        report.refused(at, "this job has no schedule");
        return;
    };
    let Some(when) = when::read_at(&place.value, Dialect::GoSeconds, &place.at, report) else {
        return;
    };
    say_zone(&when, &place.at, draft, report);
    job.start(&when, None);
    let refused = settings(section, &mut job, draft, report) || !has_place(section, &mut job, report);
    if !refused {
        unsaid(section, edition, globals, &mut job, report);
        draft.add(job, &section.name, true, at, report);
    }
}

/// Times of which nobody names the zone: said once, not for each of them.
pub(crate) fn say_zone(when: &When, at: &Range<usize>, draft: &Draft, report: &mut Report<'_>) {
    let needs_one = when.timezone.is_none()
        && matches!(when.start, Start::Cron { .. })
        && draft.defaults.iter().all(|(key, _)| *key != "timezone");
    if !needs_one || std::mem::replace(&mut report.zone_was_said, true) {
        return;
    }
    report
        .changed(
            at.clone(),
            "these times were in the zone of the scheduler's container (`TZ`); without one they are UTC",
        )
        .help("name it: `--timezone Europe/Berlin`");
}

/// What ofelia does where a job says nothing.
fn unsaid(section: &Section, edition: Edition, globals: &Globals, job: &mut Job, report: &mut Report<'_>) {
    let says = |key: &str| {
        let mut settings = section.settings.iter();
        settings.any(|setting| setting.key == key && !setting.value.is_empty())
    };
    if section.kind != "exec" && !says("pull") {
        job.set("pull_policy", Yaml::text("always"));
    }
    if let Some(limit) = globals.max_runtime.as_ref().filter(|_| !says("max-runtime")) {
        max_runtime(limit, job, report);
    }
    if says("user") {
        return;
    }
    let user = match (&globals.user, edition) {
        // The image's own.
        (Some(user), _) if matches!(user.as_str(), "" | "default") => return,
        (Some(user), _) => user.as_str(),
        (None, Edition::Netresearch) => "nobody",
        (None, Edition::Unknown | Edition::Chadburn) => "root",
    };
    job.set("user", literal(user));
    if globals.user.is_some()
        || edition == Edition::Chadburn
        || std::mem::replace(&mut report.user_was_said, true)
    {
        return;
    }
    report
        .changed(
            section.at.clone(),
            "a job without `user` runs as root in most of ofelia's editions, and as nobody in netresearch's since 0.10.1",
        )
        .help(format!(
            "`user: {user}` is written; take it away for the image's own user"
        ));
}

fn max_runtime(setting: &Setting, job: &mut Job, report: &mut Report<'_>) {
    match go_duration(&setting.value).filter(|limit| limit.as_secs() > 0) {
        Some(limit) => job.extend("timeout", Yaml::Text(duration(limit.as_secs()))),
        None => lost(setting, report),
    }
}

/// Every key but the schedule. Whether the job is refused.
fn settings(section: &Section, job: &mut Job, draft: &mut Draft, report: &mut Report<'_>) -> bool {
    let mut refused = false;
    let is_exec = section.kind == "exec";
    for setting in &section.settings {
        let Setting { key, value, at } = setting;
        let mut line = Line {
            job,
            draft,
            report,
            at: at.clone(),
        };
        match key.as_str() {
            "schedule" => {}
            "command" => match command(value) {
                Some(command) if !value.is_empty() => job.set("command", command),
                Some(_) => {}
                None => {
                    let found = report.refused(at.clone(), "its command has a quote that is not closed");
                    if section.home.is_none() {
                        found.help("`;` and `#` end a value of this file, unless it is in double quotes: `command = \"sh -c 'a; b'\"`");
                    }
                    refused = true;
                }
            },
            "image" if !is_exec => match value.parse::<ImageRef>() {
                Ok(_) => job.set("image", literal(value)),
                Err(error) => {
                    report.refused(at.clone(), ToString::to_string(&error));
                    refused = true;
                }
            },
            "container" if is_exec => match validate_container_ref(value) {
                Ok(()) => job.exec_in(value),
                Err(error) => {
                    report.refused(at.clone(), error.to_string());
                    refused = true;
                }
            },
            "container" => {
                report
                    .refused(
                        at.clone(),
                        format!("it starts container `{}`, which exists", shown(value)),
                    )
                    .help("`docker-scheduler import container NAME` writes a job that makes such containers");
                refused = true;
            }
            // netresearch's word for the image's own.
            "user" if value == "default" => {
                report.changed(at.clone(), "user `default` is the image's own");
            }
            "user" if value.is_empty() => {}
            "pull" if !is_exec && value.is_empty() => {}
            "user" => job.set("user", literal(value)),
            "tty" => job.set("tty", Yaml::Bool(is_true(value))),
            "hostname" if !is_exec => job.set("hostname", literal(value)),
            "dir" | "working-dir" | "workdir" if value.starts_with('/') => {
                job.set("working_dir", literal(value))
            }
            "network" if !is_exec => network(value, &mut line),
            "volume" if !is_exec => each(value, |text| volume(text, &mut line)),
            "env" | "environment" => each(value, |text| environment(text, &mut line)),
            "no-overlap" => {
                let word = if is_true(value) { "forbid" } else { "allow" };
                job.extend("concurrency", Yaml::text(word));
            }
            "max-runtime" => max_runtime(setting, job, report),
            "pull" if !is_exec && !value.is_empty() => {
                let word = if is_true(value) { "always" } else { "missing" };
                job.set("pull_policy", Yaml::text(word));
            }
            // Ours are kept and removed by `history`.
            "delete" => {}
            _ => {
                warn_of_secret(key, at.clone(), report);
                lost(setting, report);
            }
        }
    }
    refused
}

/// A command of one text. One with a word that a shell would take for a comment is a list: ofelia knows none
/// there. `None` when a quote is not closed.
fn command(text: &str) -> Option<Yaml> {
    const SHARP: &str = "\u{fdd1}";
    let words = shlex::split(&text.replace('#', SHARP))?;
    if !words.iter().any(|word| word.starts_with(SHARP)) {
        return Some(literal(text));
    }
    Some(literals(words.iter().map(|word| word.replace(SHARP, "#"))))
}

fn lost(setting: &Setting, report: &mut Report<'_>) {
    report.lost(
        setting.at.clone(),
        format!("`{}` is not carried over", shown(&setting.key)),
    );
}

/// Whether the job says what it runs in.
fn has_place(section: &Section, job: &mut Job, report: &mut Report<'_>) -> bool {
    if section.kind == "exec" {
        if !job.is_exec() {
            let Some(home) = &section.home else {
                report.refused(section.at.clone(), "this job names no container");
                return false;
            };
            job.exec_in_service(&home.service, &home.project);
        }
        if job.get("command").is_none() {
            report.refused(section.at.clone(), "this job has no command");
            return false;
        }
        return true;
    }
    if job.get("image").is_none() {
        report.refused(section.at.clone(), "this job names no image");
        return false;
    }
    if section.kind == "service-run" {
        report.changed(
            section.at.clone(),
            "it was a service of the Swarm, and is a container of one engine now",
        );
    }
    true
}

fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "1" | "t" | "yes" | "on"
    )
}

/// Labels hold several values as a JSON list.
fn each(value: &str, mut take: impl FnMut(&str)) {
    match serde_json::from_str::<Vec<String>>(value) {
        Ok(values) => values.iter().for_each(|text| take(text)),
        Err(_) => take(value),
    }
}
