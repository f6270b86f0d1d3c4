//! The manifest that an import is writing: jobs under valid names, in the order of what was read.
//!
//! A key that jobs of this version cannot have is taken out again and reported, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::manifest;
use crate::model::{DayMatch, FileKind, JobName};

use super::report::Report;
use super::when::{Start, When, shown};
use super::yaml::{Yaml, comment, write_entry};

/// A manifest of one project.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    project: String,
    /// Comments at its top.
    head: Vec<String>,
    /// `x-scheduler` of the file.
    pub defaults: Vec<(&'static str, Yaml)>,
    jobs: Vec<Job>,
    taken: BTreeSet<String>,
    /// `configs`, `networks`, `secrets` and `volumes` of the file.
    resources: BTreeMap<&'static str, BTreeMap<String, Yaml>>,
    /// What may come under a key of a section.
    kept: BTreeMap<(&'static str, String), Yaml>,
}

/// One job of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Job {
    name: String,
    /// Where it comes from.
    comment: String,
    keys: Vec<(String, Yaml)>,
    schedule: Vec<Yaml>,
    extension: Vec<(&'static str, Yaml)>,
}

/// The order in which people write the first keys; others follow as they came.
const ORDER: [&str; 12] = [
    "image",
    "pull_policy",
    "platform",
    "entrypoint",
    "command",
    "user",
    "working_dir",
    "environment",
    "env_file",
    "volumes",
    "networks",
    "network_mode",
];

/// Stands for the dollar of a variable that is to stay one; no text that is read may hold it.
pub(crate) const VARIABLE: char = '\u{fdd0}';

/// A text as it is: a dollar that is no variable of Compose is doubled, and NUL is in no text of an engine.
pub(crate) fn literal(text: &str) -> Yaml {
    let plain = text.replace('\0', "").replace('$', "$$");
    Yaml::Text(plain.replace(VARIABLE, "$"))
}

pub(crate) fn literals<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Yaml {
    Yaml::List(texts.into_iter().map(|text| literal(text.as_ref())).collect())
}

impl Job {
    /// A job that says in a comment where it comes from.
    pub fn new(comment: impl Into<String>) -> Job {
        Job {
            comment: comment.into(),
            ..Job::default()
        }
    }

    pub fn set(&mut self, key: &str, value: Yaml) {
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Yaml> {
        let (_, value) = self.keys.iter().find(|(known, _)| known == key)?;
        Some(value)
    }

    /// One more item of a list.
    pub fn push(&mut self, key: &str, item: Yaml) {
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, Yaml::List(items))) => items.push(item),
            _ => self.set(key, Yaml::List(vec![item])),
        }
    }

    /// One more entry of a mapping; the last one of a name wins.
    pub fn put(&mut self, key: &str, name: &str, value: Yaml) {
        let name = name.replace('\0', "");
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, Yaml::Map(entries))) => match entries.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => entries.push((name, value)),
            },
            _ => self.set(key, Yaml::Map(vec![(name, value)])),
        }
    }

    /// A key under `x-scheduler`.
    pub fn extend(&mut self, key: &'static str, value: Yaml) {
        self.extension.retain(|(known, _)| *known != key);
        self.extension.push((key, value));
    }

    /// It runs inside a container that has this name.
    pub fn exec_in(&mut self, container: &str) {
        self.extend("exec", Yaml::map([("container", literal(container))]));
    }

    /// It runs inside the container of a Compose service.
    pub fn exec_in_service(&mut self, service: &str, project: &str) {
        let place = [("service", literal(service)), ("project", literal(project))];
        self.extend("exec", Yaml::map(place));
    }

    /// Whether it starts inside a running container, and has no image.
    pub fn is_exec(&self) -> bool {
        self.extension.iter().any(|(key, _)| *key == "exec")
    }

    /// One more schedule; `zone` is for one that names none itself.
    pub fn start(&mut self, when: &When, zone: Option<&str>) {
        match &when.start {
            Start::Manual => {}
            Start::Every(period) => self.extend("every", Yaml::Text(duration(period.as_secs()))),
            Start::Cron {
                expression,
                day_match,
            } => {
                let mut entry = vec![("cron", Yaml::text(expression.clone()))];
                if let Some(zone) = when.timezone.as_deref().or(zone) {
                    entry.push(("timezone", Yaml::text(zone)));
                }
                if let Some(day_match) = day_match {
                    let word = match day_match {
                        DayMatch::Any => "any",
                        DayMatch::All => "all",
                    };
                    entry.push(("x-scheduler", Yaml::map([("day_match", Yaml::text(word))])));
                }
                self.schedule.push(match entry.as_slice() {
                    [(_, cron)] => cron.clone(),
                    _ => Yaml::map(entry),
                });
            }
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(&format!("  {}\n", comment(&self.comment)));
        let place = |key: &str| {
            ORDER
                .iter()
                .position(|known| *known == key)
                .unwrap_or(ORDER.len())
        };
        let mut keys = self.keys.clone();
        keys.sort_by_key(|(key, _)| place(key));
        let triggers = if self.schedule.is_empty() {
            ("manual", Yaml::Bool(true))
        } else {
            ("schedule", Yaml::List(self.schedule.clone()))
        };
        keys.push((String::from("triggers"), Yaml::map([triggers])));
        if !self.extension.is_empty() {
            keys.push((String::from("x-scheduler"), Yaml::map(self.extension.clone())));
        }
        write_entry(&self.name, &Yaml::Map(keys), 2, out);
    }
}

impl Draft {
    /// `source` is what is read, for a comment; `project` need not be a valid name yet.
    pub fn new(project: &str, source: &str) -> Draft {
        Draft {
            project: project_name(project),
            head: vec![format!("imported from {source}")],
            ..Draft::default()
        }
    }

    pub fn remark(&mut self, line: &str) {
        self.head.push(line.to_owned());
    }

    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Adds a job under a valid name that is its own. What became of the name is reported when it was
    /// somebody's choice (`named`), and so is every key that jobs cannot have.
    pub fn add(
        &mut self,
        mut job: Job,
        wanted: &str,
        named: bool,
        at: Range<usize>,
        report: &mut Report<'_>,
    ) {
        if let Some((key, text)) = job
            .keys
            .iter()
            .find_map(|(key, value)| Some((key, broken(value)?)))
        {
            report
                .refused(
                    at,
                    format!(
                        "`{key}` has a variable that Compose does not read: `{}`",
                        shown(text)
                    ),
                )
                .help("write `$$` for a dollar");
            return;
        }
        let valid = job_name(wanted);
        let mut name = valid.clone();
        let mut count = 1;
        while self.taken.contains(&name) {
            count += 1;
            let suffix = format!("-{count}");
            name = format!("{}{suffix}", cut(&valid, MAX_NAME - suffix.len()));
        }
        if named && name != wanted {
            report.changed(at.clone(), format!("it is called `{name}` now"));
        }
        job.keys.retain(|(key, _)| {
            let known = manifest::is_job_key(key);
            if !known {
                report.lost(
                    at.clone(),
                    format!("`{key}` of job `{name}` is not supported by this version"),
                );
            }
            known
        });
        self.taken.insert(name.clone());
        job.name = name;
        self.jobs.push(job);
    }

    /// A volume that has this name on the engine. Returns its key.
    pub fn volume(&mut self, name: &str) -> String {
        self.named("volumes", &[name], Yaml::map([("name", Yaml::text(name))]))
    }

    /// A network that has this name on the engine. Returns its key.
    pub fn network(&mut self, name: &str) -> String {
        let resource = Yaml::map([("name", Yaml::text(name)), ("external", Yaml::Bool(true))]);
        self.named("networks", &[name], resource)
    }

    /// A secret or config with this content. Returns its key.
    pub fn file(&mut self, kind: FileKind, names: [&str; 2], content: &str) -> String {
        let resource = Yaml::map([("content", literal(content))]);
        self.named(kind.key(), &names, resource)
    }

    /// A resource under the first of these names that nothing else has, or the last one with a number.
    fn named(&mut self, section: &'static str, names: &[&str], resource: Yaml) -> String {
        let last = names.last().copied().unwrap_or_default();
        let more = (2..).map(|count| format!("{last}-{count}"));
        let key = (names.iter().map(|name| (*name).to_owned()).chain(more)).find(|key| {
            let declared = self.resources.get(section).and_then(|all| all.get(key));
            let kept = self.kept.get(&(section, key.clone()));
            [declared, kept]
                .into_iter()
                .flatten()
                .all(|known| *known == resource)
        });
        let key = key.unwrap_or_default();
        self.declare(section, &key, resource);
        key
    }

    /// Keeps a key for what the file that is read declares under it, whoever comes first.
    pub fn keep(&mut self, section: &'static str, key: &str, resource: Yaml) {
        self.kept.insert((section, key.to_owned()), resource);
    }

    /// A resource under its own key, as its file declares it.
    pub fn declare(&mut self, section: &'static str, key: &str, resource: Yaml) {
        let section = self.resources.entry(section).or_default();
        section.insert(key.to_owned(), resource);
    }

    /// The manifest.
    pub fn text(&self) -> String {
        let mut out: String = self.head.iter().map(|line| comment(line) + "\n").collect();
        write_entry("name", &Yaml::text(self.project.clone()), 0, &mut out);
        if !self.defaults.is_empty() {
            out.push('\n');
            write_entry("x-scheduler", &Yaml::map(self.defaults.clone()), 0, &mut out);
        }
        out.push_str("\njobs:\n");
        for (at, job) in self.jobs.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            job.write(&mut out);
        }
        for (section, resources) in &self.resources {
            out.push('\n');
            write_entry(section, &Yaml::map(resources.clone()), 0, &mut out);
        }
        out
    }
}

/// A duration in the largest unit that says it.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The first text with a `$` that begins no variable.
fn broken(value: &Yaml) -> Option<&str> {
    match value {
        Yaml::Text(text) => (!manifest::is_template(text)).then_some(text),
        Yaml::List(items) => items.iter().find_map(broken),
        Yaml::Map(entries) => entries.iter().find_map(|(_, value)| broken(value)),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) => None,
    }
}

const MAX_NAME: usize = 63;

/// A text as a job's name.
pub(crate) fn job_name(text: &str) -> String {
    let name = words_joined(text, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = cut(name.trim_matches(['-', '_']), MAX_NAME);
    if JobName::new("x", name).is_ok() {
        name.to_owned()
    } else {
        String::from("job")
    }
}

/// A text as a project's name.
fn project_name(text: &str) -> String {
    let name = words_joined(&text.to_lowercase(), |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
    });
    let name = cut(name.trim_matches(['-', '_']), MAX_NAME);
    if JobName::check_project(name).is_ok() {
        name.to_owned()
    } else {
        String::from("imported")
    }
}

/// What is allowed, with one dash for each run of anything else.
fn words_joined(text: &str, allowed: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars().take(200) {
        if allowed(c) {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out
}

/// Names are ASCII here.
fn cut(name: &str, most: usize) -> &str {
    name.get(..most).unwrap_or(name).trim_end_matches(['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_valid_and_stay_apart() {
        for (text, name) in [
            ("backup", "backup"),
            ("my job.v2!", "my-job-v2"),
            ("../../etc", "etc"),
            ("", "job"),
            ("äöü", "job"),
            ("_x_", "x"),
        ] {
            assert_eq!(job_name(text), name, "{text}");
        }
        assert_eq!(job_name(&"x".repeat(100)).len(), 63);
        assert_eq!(project_name("/etc/Cron.d"), "etc-cron-d");
        let mut report = Report::new("f", "a\n");
        let mut draft = Draft::new("p", "`f`");
        for _ in 0..3 {
            draft.add(Job::default(), &"y".repeat(80), true, 0..1, &mut report);
        }
        let names: Vec<&str> = draft.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names[1], format!("{}-2", "y".repeat(61)));
        assert_eq!(names[2], format!("{}-3", "y".repeat(61)));
        assert_eq!(report.finish().len(), 3);
    }

    #[test]
    fn a_variable_that_compose_refuses_is_refused_here() {
        let mut report = Report::new("f", "a\n");
        let mut draft = Draft::new("p", "`f`");
        for (at, image) in [
            "${IMG:-alpine:3}",
            "a$$b",
            "${A:?say}",
            "${IMp:aGl-ine:3}",
            "a$",
            "${A",
        ]
        .into_iter()
        .enumerate()
        {
            let mut job = Job::default();
            job.set("image", Yaml::text(image));
            job.set("command", Yaml::List(vec![literal("echo $HOME")]));
            draft.add(job, &format!("j{at}"), true, 0..1, &mut report);
        }
        assert_eq!(draft.len(), 3, "{}", draft.text());
        assert_eq!(report.finish().len(), 3);
    }

    #[test]
    fn a_key_that_jobs_lack_is_reported_and_left_out() {
        let mut report = Report::new("f", "a\n");
        let mut draft = Draft::new("p", "`f`");
        let mut job = Job::default();
        job.set("image", literal("busybox"));
        job.set("restart", literal("always"));
        draft.add(job, "a", true, 0..1, &mut report);
        assert!(!draft.text().contains("restart"));
        let found = report.finish();
        assert_eq!(
            found[0].message,
            "`restart` of job `a` is not supported by this version"
        );
    }
}
