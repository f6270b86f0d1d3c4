//! CronJobs of Kubernetes, with the ConfigMaps and Secrets of the same file: the inverse of what
//! `export --to kubernetes` writes, and of what people wrote by hand.
//!
//! | file | |
//! |---|---|
//! | `mod.rs` | documents, and the CronJob itself |
//! | `pod.rs`, `container.rs` | what runs |
//! | `mounts.rs` | what it sees at a path |
//! | `data.rs` | what ConfigMaps and Secrets hold |

mod container;
mod data;
mod mounts;
mod pod;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::kubernetes;
use crate::manifest::reader::{Entry, Node, Sink, parse};

use super::draft::{Draft, Job, duration};
use super::labels::{entries, get, items, scalar};
use super::report::Report;
use super::when::{self, Dialect, shown};
use super::yaml::Yaml;
use super::{Imported, Options};

use data::Data;

/// Reads one or several documents.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut draft = Draft::new(options.project_or(file), &format!("the CronJobs of `{file}`"));
    let documents = documents(file, text, &mut report);
    let objects: Vec<(usize, &Node)> = (documents.iter())
        .flat_map(|(base, root)| objects(root).map(|object| (*base, object)))
        .collect();
    let mut data = Data::default();
    for (base, object) in &objects {
        data.learn(object, *base);
    }
    let mut found = 0;
    for (base, object) in objects {
        report.base = base;
        match text_at(object, "kind").as_deref() {
            Some("CronJob") => {
                found += 1;
                cron_job(object, &mut data, options, &mut draft, &mut report);
            }
            Some("ConfigMap" | "Secret") | None => {}
            Some(kind) => {
                let at = object.get("kind").map_or(0..0, |entry| entry.value.span.clone());
                report.lost(at, format!("a `{}` is not carried over", shown(kind)));
            }
        }
    }
    report.base = 0;
    if found == 0 {
        report.unreadable("there is no CronJob in this file");
    } else {
        data.report_unused(&mut report);
    }
    Imported::new(draft, report)
}

/// The document itself, or what the list in it holds.
fn objects(root: &Node) -> impl Iterator<Item = &Node> {
    let is_list = text_at(root, "kind").as_deref() == Some("List");
    let listed = items(get(root, &["items"]));
    let (one, several) = if is_list {
        (None, listed)
    } else {
        (Some(root), [].as_slice())
    };
    one.into_iter().chain(several)
}

/// Each document, with the bytes in front of it.
fn documents(file: &str, text: &str, report: &mut Report<'_>) -> Vec<(usize, Node)> {
    // Where documents begin and end: what stands behind the dashes is of the next one.
    let mut bounds = vec![(0, 0)];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            bounds.push((at, at + 3));
        }
        at += line.len();
    }
    bounds.push((at, at));
    let mut found = Vec::new();
    for pair in bounds.windows(2) {
        let (start, end) = (pair[0].1, pair[1].0);
        let part = &text[start..end];
        let mut sink = Sink::whole(file, part);
        let root = parse(part, &mut sink);
        report.base = start;
        report.take_over(sink.finish());
        found.extend(root.map(|root| (start, root)));
    }
    report.base = 0;
    found
}

fn text_at(node: &Node, key: &str) -> Option<String> {
    scalar(&node.get(key)?.value)
}

fn texts(node: &Node) -> Vec<String> {
    items(Some(node)).iter().filter_map(scalar).collect()
}

/// What is being read: the job, the variables that `$(NAME)` means, and where to report.
struct Reader<'a, 'f> {
    job: Job,
    environment: BTreeMap<String, String>,
    namespace: Option<String>,
    /// User and group of the processes; the container's word is the last one.
    user: Option<String>,
    group: Option<(String, Range<usize>)>,
    /// The pod's own folders by name, and where each was mounted first.
    emptied: Vec<(String, String)>,
    /// Where something is mounted, and the files that are to be written.
    mounted: Vec<String>,
    files: Vec<mounts::File>,
    data: &'a mut Data,
    draft: &'a mut Draft,
    report: &'a mut Report<'f>,
    /// It cannot become a job, which was reported.
    refused: bool,
}

fn cron_job(root: &Node, data: &mut Data, options: &Options, draft: &mut Draft, report: &mut Report<'_>) {
    let name_node = get(root, &["metadata", "name"]);
    let name = name_node.and_then(scalar).unwrap_or_default();
    let at = name_node.map_or(root.span.start..root.span.start + 1, |node| node.span.clone());
    let line = report.line_of(at.start);
    let mut reader = Reader {
        job: Job::new(format!("line {line}: CronJob {name}")),
        environment: BTreeMap::new(),
        namespace: data::namespace_of(root),
        user: None,
        group: None,
        emptied: Vec::new(),
        mounted: Vec::new(),
        files: Vec::new(),
        data,
        draft,
        report,
        refused: false,
    };
    reader.metadata(root);
    match root.get("spec") {
        Some(spec) => reader.spec(&spec.value, options),
        None => reader.refuse(at.clone(), "this CronJob has no `spec`"),
    }
    if !reader.refused && reader.job.get("image").is_none() {
        reader.refuse(at.clone(), "this CronJob has no container with an image");
    }
    let Reader { job, refused, .. } = reader;
    if !refused {
        draft.add(job, &name, true, at, report);
    }
}

/// Whether `export` wrote it, or a part of it.
fn is_export(node: &Node) -> bool {
    let by = get(node, &["metadata", "labels", "app.kubernetes.io/managed-by"]).and_then(scalar);
    by.as_deref() == Some(kubernetes::MANAGER)
}

/// Our notes are read, or say where the CronJob came from; but every imported job may be started by hand, so
/// one that says otherwise is lost. kubectl's is the object once more.
fn is_no_loss(entry: &Entry) -> bool {
    let name = entry.key.text.as_str();
    name == "kubectl.kubernetes.io/last-applied-configuration"
        || (name.starts_with("docker-scheduler/") && name != "docker-scheduler/manual")
}

impl Reader<'_, '_> {
    fn refuse(&mut self, at: Range<usize>, message: impl Into<String>) {
        self.report.refused(at, message);
        self.refused = true;
    }

    fn lost(&mut self, entry: &Entry, of: &str) {
        let message = format!("`{}` of {of} is not carried over", shown(&entry.key.text));
        self.report.lost(entry.key.span.clone(), message);
    }

    fn metadata(&mut self, root: &Node) {
        for entry in entries(get(root, &["metadata"])) {
            match entry.key.text.as_str() {
                "name" | "creationTimestamp" | "uid" | "resourceVersion" | "generation" | "managedFields"
                | "labels" => {}
                // An export's are labels of its pod, too.
                "annotations" if is_export(root) => {}
                "annotations" if entries(Some(&entry.value)).iter().all(is_no_loss) => {}
                "namespace" if scalar(&entry.value).as_deref() == Some("default") => {}
                _ => self.lost(entry, "`metadata`"),
            }
        }
    }

    fn spec(&mut self, spec: &Node, options: &Options) {
        let zone = get(spec, &["timeZone"]).and_then(scalar);
        let zone = zone.as_deref().or(options.timezone.as_deref());
        let mut history = (3, 1);
        let mut overlap = "allow";
        for entry in entries(Some(spec)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                "schedule" => self.schedule(value, zone),
                "timeZone" => {
                    let known = scalar(value).map(|zone| crate::schedule::check_timezone(&zone));
                    if let Some(Err(error)) = known {
                        self.refuse(value.span.clone(), error.message);
                    }
                }
                "concurrencyPolicy" => match scalar(value).as_deref() {
                    Some("Allow") => overlap = "allow",
                    Some("Forbid") => overlap = "forbid",
                    Some("Replace") => overlap = "replace",
                    _ => self.lost(entry, "`spec`"),
                },
                "startingDeadlineSeconds" => self.seconds(entry, "starting_deadline"),
                "suspend" => {
                    let on = scalar(value).as_deref() == Some("true");
                    self.job.extend("suspend", Yaml::Bool(on));
                }
                "successfulJobsHistoryLimit" => history.0 = self.number(entry).unwrap_or(history.0),
                "failedJobsHistoryLimit" => history.1 = self.number(entry).unwrap_or(history.1),
                "jobTemplate" => self.job_template(value),
                _ => self.lost(entry, "`spec`"),
            }
        }
        if spec.get("schedule").is_none() {
            self.refuse(spec.span.start..spec.span.start, "this CronJob has no `schedule`");
        }
        let schedule = get(spec, &["schedule"]).and_then(scalar).unwrap_or_default();
        if zone.is_none() && !schedule.contains("TZ=") {
            let at = spec
                .get("schedule")
                .map_or(0..0, |entry| entry.value.span.clone());
            self.report.changed(
                at,
                "without `timeZone` the controller's zone counted; without one it is UTC here",
            );
        }
        self.job.extend("concurrency", Yaml::text(overlap));
        let kept = [
            ("succeeded", Yaml::Int(history.0)),
            ("failed", Yaml::Int(history.1)),
        ];
        self.job.extend("history", Yaml::map(kept));
    }

    fn schedule(&mut self, node: &Node, zone: Option<&str>) {
        let text = scalar(node).unwrap_or_default();
        match when::read_at(&text, Dialect::Go, &node.span, self.report) {
            Some(when) => self.job.start(&when, zone),
            None => self.refused = true,
        }
    }

    fn number(&mut self, entry: &Entry) -> Option<i64> {
        let found = scalar(&entry.value).and_then(|text| text.parse::<u32>().ok());
        if found.is_none() {
            self.lost(entry, "its object");
        }
        found.map(i64::from)
    }

    fn seconds(&mut self, entry: &Entry, key: &'static str) {
        match self.number(entry) {
            Some(seconds) if seconds > 0 => {
                let text = duration(seconds.unsigned_abs());
                self.job.extend(key, Yaml::Text(text));
            }
            Some(_) => self.lost(entry, "its object"),
            None => {}
        }
    }

    fn job_template(&mut self, template: &Node) {
        let mut retries = 6;
        for entry in entries(get(template, &["spec"])) {
            match entry.key.text.as_str() {
                "backoffLimit" => retries = self.number(entry).unwrap_or(retries),
                "activeDeadlineSeconds" => self.seconds(entry, "timeout"),
                "parallelism" | "completions" if scalar(&entry.value).as_deref() == Some("1") => {}
                "template" => self.pod(&entry.value),
                _ => self.lost(entry, "`jobTemplate`"),
            }
        }
        if retries > 0 {
            self.job.extend("retries", Yaml::Int(retries));
        }
    }
}

fn is_on(node: &Node) -> bool {
    scalar(node).as_deref() == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text as a node.
    pub(super) fn parsed(text: &str) -> Node {
        parse(text, &mut Sink::whole("file", text)).expect("YAML")
    }
}
