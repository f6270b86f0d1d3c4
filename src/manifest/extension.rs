//! `triggers` and `x-scheduler`: when a job starts, and under which policy.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Backoff, Concurrency, Constraint, DayMatch, ExceptDays, History, MissedFires, OnNodeLoss, OnUnknown,
    Placement, Policy, SUBJECTS, Trigger, Triggers,
};
use crate::schedule;

use super::diagnostic::{Sink, code};
use super::interpolate::inside;
use super::keys;
use super::values::{self, count, flag, integer, whole_seconds};
use super::yaml::{Entry, Node, Value};

/// What stands under `x-scheduler`, in a job or as the defaults of its file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extension {
    pub every: Option<Duration>,
    pub timezone: Option<String>,
    pub concurrency: Option<Concurrency>,
    pub missed_fires: Option<MissedFires>,
    pub starting_deadline: Option<Duration>,
    pub timeout: Option<Duration>,
    pub success_exit_codes: Option<BTreeSet<i64>>,
    pub suspend: Option<bool>,
    pub history_succeeded: Option<u32>,
    pub history_failed: Option<u32>,
    pub unknown_hold: Option<Duration>,
    pub day_match: Option<DayMatch>,
    pub retries: Option<u32>,
    pub backoff: Option<Backoff>,
    pub on_unknown: Option<OnUnknown>,
    pub on_node_loss: Option<OnNodeLoss>,
    pub placement: Option<Placement>,
    pub host_path: Option<bool>,
    pub jitter: Option<Duration>,
    pub except: Option<Vec<ExceptDays>>,
    pub group: Option<String>,
    /// `container: reuse`.
    pub reuse: Option<bool>,
    pub exec: Option<ExecKey>,
}

/// `exec`: the container that the command is to run in.
#[derive(Debug, Clone)]
pub(crate) struct ExecKey {
    /// Where it stands, for a refusal.
    pub span: std::ops::Range<usize>,
    /// Wrong ones were reported.
    pub which: Option<NamedTarget>,
}

#[derive(Debug, Clone)]
pub(crate) enum NamedTarget {
    Container(String),
    /// Without a project: the job's own.
    Service {
        service: String,
        project: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    File,
    Job,
}

impl Extension {
    /// Reads an `x-scheduler` mapping.
    pub fn read(sink: &mut Sink<'_>, node: &Node, level: Level) -> Extension {
        let mut out = Extension::default();
        for Entry { key, value } in values::optional_fields(sink, node, "x-scheduler", &keys::JOB_SCHEDULER) {
            match key.text.as_str() {
                "every" if level == Level::File => {
                    sink.error(code::VALUE, key.span.clone(), "`every` belongs to one job")
                        .help("write it under `x-scheduler` of the job");
                }
                "every" => out.every = every(sink, value),
                "timezone" => out.timezone = timezone(sink, value),
                "concurrency" => out.concurrency = concurrency(sink, value, false),
                "missed_fires" => out.missed_fires = missed_fires(sink, value, false),
                "starting_deadline" => {
                    out.starting_deadline = whole_seconds(sink, value, "starting_deadline")
                }
                "timeout" => out.timeout = whole_seconds(sink, value, "timeout"),
                "success_exit_codes" => out.success_exit_codes = exit_codes(sink, value),
                "suspend" => out.suspend = flag(sink, value, "suspend"),
                "history" => history(sink, value, &mut out),
                "unknown_hold" => out.unknown_hold = whole_seconds(sink, value, "unknown_hold"),
                "day_match" => out.day_match = day_match(sink, value),
                "retries" => out.retries = retries(sink, value),
                "backoff" => out.backoff = backoff(sink, value),
                "on_unknown" => out.on_unknown = on_unknown(sink, value),
                "on_node_loss" => out.on_node_loss = on_node_loss(sink, value),
                "placement" => out.placement = Some(placement(sink, value)),
                "kubernetes" => kubernetes(sink, value, &mut out),
                "jitter" => out.jitter = whole_seconds(sink, value, "jitter"),
                "except" => out.except = except(sink, value),
                "group" => out.group = group(sink, value),
                "exec" if level == Level::File => {
                    sink.error(code::VALUE, key.span.clone(), "`exec` belongs to one job")
                        .help("write it under `x-scheduler` of the job");
                }
                "exec" => out.exec = Some(exec(sink, key.span.clone(), value)),
                "container" => out.reuse = reuse(sink, value),
                _ => {}
            }
        }
        out
    }

    /// The policy of a job: what its own section says, then its file's defaults, then ours.
    pub fn policy(&self, file: &Extension) -> Policy {
        let default = Policy::default();
        Policy {
            concurrency: self
                .concurrency
                .or(file.concurrency)
                .unwrap_or(default.concurrency),
            missed_fires: self
                .missed_fires
                .or(file.missed_fires)
                .unwrap_or(default.missed_fires),
            starting_deadline: self.starting_deadline.or(file.starting_deadline),
            timeout: self.timeout.or(file.timeout),
            success_exit_codes: self
                .success_exit_codes
                .clone()
                .or_else(|| file.success_exit_codes.clone())
                .unwrap_or(default.success_exit_codes),
            suspend: self.suspend.or(file.suspend).unwrap_or(default.suspend),
            history: History {
                succeeded: self
                    .history_succeeded
                    .or(file.history_succeeded)
                    .unwrap_or(default.history.succeeded),
                failed: self
                    .history_failed
                    .or(file.history_failed)
                    .unwrap_or(default.history.failed),
            },
            unknown_hold: self.unknown_hold.or(file.unknown_hold),
            retries: self.retries.or(file.retries).unwrap_or(default.retries),
            backoff: self.backoff.or(file.backoff).unwrap_or(default.backoff),
            on_unknown: self.on_unknown.or(file.on_unknown).unwrap_or(default.on_unknown),
            on_node_loss: self
                .on_node_loss
                .or(file.on_node_loss)
                .unwrap_or(default.on_node_loss),
            jitter: self.jitter.or(file.jitter),
            group: self.group.clone().or_else(|| file.group.clone()),
        }
    }
}

/// Reads `triggers` of a job whose `x-scheduler` is `own`. What schedule entries say about the policy
/// is put into `own`.
pub(crate) fn triggers(
    sink: &mut Sink<'_>,
    entry: &Entry,
    own: &mut Extension,
    file: &Extension,
    default_zone: &str,
) -> Triggers {
    let mut out = Triggers {
        manual: true,
        schedule: Vec::new(),
    };
    let zone = own
        .timezone
        .as_deref()
        .or(file.timezone.as_deref())
        .unwrap_or(default_zone)
        .to_owned();
    let day_match = own.day_match.or(file.day_match);
    let had_errors = sink.has_errors();
    for Entry { key, value } in values::fields(sink, &entry.value, "triggers", &keys::TRIGGERS) {
        match key.text.as_str() {
            "manual" => out.manual = flag(sink, value, "manual").unwrap_or(true),
            "schedule" => {
                for item in values::list(sink, value, "schedule").unwrap_or_default() {
                    out.schedule
                        .extend(schedule_entry(sink, item, own, &zone, day_match));
                }
            }
            _ => {}
        }
    }
    out.schedule
        .extend(own.every.map(|period| Trigger::Every { period }));
    let except = own.except.as_ref().or(file.except.as_ref());
    if let Some(days) = except.filter(|days| !days.is_empty() && !out.schedule.is_empty()) {
        out.schedule.push(Trigger::Except {
            days: days.clone(),
            timezone: zone,
        });
    }
    if !out.manual && out.schedule.is_empty() && !had_errors && !sink.has_errors() {
        sink.warning(code::ADVICE, entry.key.span.clone(), "this job can never start")
            .help("give it a `schedule`, `x-scheduler.every` or `manual: true`");
    }
    out
}

/// `"30 2 * * *"`, or a mapping with `cron`.
fn schedule_entry(
    sink: &mut Sink<'_>,
    item: &Node,
    own: &mut Extension,
    zone: &str,
    day_match: Option<DayMatch>,
) -> Option<Trigger> {
    match &item.value {
        Value::Map(_) => {}
        Value::Scalar(_) => return cron(sink, item, zone.to_owned(), day_match),
        Value::Seq(_) => {
            values::wrong_type(
                sink,
                item,
                "schedule[]",
                "a cron expression or a mapping with `cron`",
            );
            return None;
        }
    }
    let mut expression = None;
    let mut zone = Some(zone.to_owned());
    let mut day_match = day_match;
    for Entry { key, value } in values::fields(sink, item, "schedule[]", &keys::SCHEDULE) {
        match key.text.as_str() {
            "cron" => expression = Some(value),
            "timezone" => zone = timezone(sink, value),
            "concurrency" => {
                let found = concurrency(sink, value, true);
                agree(sink, value, "concurrency", &mut own.concurrency, found);
            }
            "missed_fires" => {
                let found = missed_fires(sink, value, true);
                agree(sink, value, "missed_fires", &mut own.missed_fires, found);
            }
            "x-scheduler" => day_match = entry_extension(sink, value).or(day_match),
            _ => {}
        }
    }
    let Some(expression) = expression else {
        sink.error(
            code::MISSING_KEY,
            item.span.clone(),
            "this schedule has no `cron`",
        );
        return None;
    };
    // A wrong zone was reported; the expression still deserves a look.
    let found = cron(sink, expression, zone.clone().unwrap_or_default(), day_match);
    zone.and(found)
}

/// Of all our keys only `day_match` has a meaning in one entry.
fn entry_extension(sink: &mut Sink<'_>, node: &Node) -> Option<DayMatch> {
    let mut found = None;
    for Entry { key, value } in values::optional_mapping(sink, node, "x-scheduler").unwrap_or_default() {
        let name = key.text.as_str();
        let of_the_job = keys::JOB_SCHEDULER.has(name) || keys::JOB_SCHEDULER.later.contains(&name);
        if name == "day_match" {
            found = day_match(sink, value);
        } else if of_the_job {
            sink.error(
                code::VALUE,
                key.span.clone(),
                format!("`{name}` is not for one schedule entry"),
            )
            .help("write it under `x-scheduler` of the job");
        } else {
            values::is_field(sink, key, &keys::SCHEDULE_SCHEDULER);
        }
    }
    found
}

/// One policy holds for a job: the places that name it must say the same.
fn agree<T: Copy + PartialEq>(
    sink: &mut Sink<'_>,
    node: &Node,
    what: &str,
    own: &mut Option<T>,
    found: Option<T>,
) {
    match (*own, found) {
        (Some(first), Some(second)) if first != second => {
            sink.error(
                code::CONFLICT,
                node.span.clone(),
                format!("`{what}` of this job is given twice, and differs"),
            )
            .help("it holds for the whole job: write it once, under `x-scheduler`");
        }
        (None, Some(_)) => *own = found,
        _ => {}
    }
}

fn cron(sink: &mut Sink<'_>, node: &Node, timezone: String, day_match: Option<DayMatch>) -> Option<Trigger> {
    let found = values::text(sink, node, "cron")?;
    if let Err(error) = schedule::parse_cron_matching(&found.text, day_match) {
        let at = inside(found, &node.span, &error.span, sink);
        // Message and help quote the text.
        if found.sensitive {
            sink.error(code::CRON, at, "this is not a cron expression");
        } else {
            sink.error(code::CRON, at, error.message).help = error.help;
        }
        return None;
    }
    Some(Trigger::Cron {
        expression: found.text.clone(),
        timezone,
        day_match,
    })
}

/// An IANA zone that is known.
pub(crate) fn timezone(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let found = values::text(sink, node, "timezone")?;
    match schedule::check_timezone(&found.text) {
        Ok(_) => Some(found.text.clone()),
        Err(error) => {
            // Message and help quote the text.
            if found.sensitive {
                sink.error(code::TIMEZONE, node.span.clone(), "this is not a time zone");
            } else {
                sink.error(code::TIMEZONE, node.span.clone(), error.message).help = error.help;
            }
            None
        }
    }
}

/// Where a word of a policy may stand.
#[derive(Debug, Clone, Copy)]
enum Support<T> {
    Anywhere(T),
    /// Compose refuses it in a schedule entry.
    UnderExtension(T),
}

fn concurrency(sink: &mut Sink<'_>, node: &Node, in_entry: bool) -> Option<Concurrency> {
    let words = [
        ("forbid", Support::Anywhere(Concurrency::Forbid)),
        ("queue", Support::Anywhere(Concurrency::Queue)),
        ("allow", Support::UnderExtension(Concurrency::Allow)),
        ("replace", Support::UnderExtension(Concurrency::Replace)),
    ];
    supported(sink, node, "concurrency", &words, in_entry)
}

fn missed_fires(sink: &mut Sink<'_>, node: &Node, in_entry: bool) -> Option<MissedFires> {
    let words = [
        ("one", Support::Anywhere(MissedFires::One)),
        ("skip", Support::Anywhere(MissedFires::Skip)),
        ("all", Support::UnderExtension(MissedFires::All)),
    ];
    supported(sink, node, "missed_fires", &words, in_entry)
}

fn supported<T: Copy>(
    sink: &mut Sink<'_>,
    node: &Node,
    what: &str,
    words: &[(&str, Support<T>)],
    in_entry: bool,
) -> Option<T> {
    let word = values::word(sink, node, what, words)?;
    let text = match &node.value {
        Value::Scalar(scalar) => values::shown(scalar),
        Value::Seq(_) | Value::Map(_) => String::new(),
    };
    match word {
        Support::UnderExtension(_) if in_entry => {
            sink.error(
                code::VALUE,
                node.span.clone(),
                format!("Compose refuses `{what}: {text}` in a schedule entry"),
            )
            .help(format!(
                "it belongs under `x-scheduler` of the job: `{what}: {text}`"
            ));
            None
        }
        Support::Anywhere(value) | Support::UnderExtension(value) => Some(value),
    }
}

/// More attempts than this at one slot are a loop, not a policy.
const MOST_RETRIES: u32 = 100;

fn retries(sink: &mut Sink<'_>, node: &Node) -> Option<u32> {
    let retries = count(sink, node, "retries")?;
    if retries > MOST_RETRIES {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`retries` is at most {MOST_RETRIES}"),
        )
        .help("a job that must be tried for ever wants a schedule of its own: `every: 5m`");
        return None;
    }
    Some(retries)
}

/// `10s`, or a mapping with `initial` and `max`.
fn backoff(sink: &mut Sink<'_>, node: &Node) -> Option<Backoff> {
    let default = Backoff::default();
    let Value::Map(_) = &node.value else {
        let initial = whole_seconds(sink, node, "backoff")?;
        let longest = default.longest.max(initial);
        return Some(Backoff { initial, longest });
    };
    let (mut initial, mut longest) = (None, None);
    for Entry { key, value } in values::fields(sink, node, "backoff", &keys::BACKOFF) {
        match key.text.as_str() {
            "initial" => initial = whole_seconds(sink, value, "initial"),
            "max" => longest = whole_seconds(sink, value, "max").map(|max| (max, value)),
            _ => {}
        }
    }
    let first = initial.unwrap_or(default.initial);
    if let Some((max, node)) = longest
        && max < first
    {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`max` is shorter than the first pause of {}s", first.as_secs()),
        );
    }
    Some(Backoff {
        initial: first,
        longest: longest.map_or(default.longest.max(first), |(max, _)| max),
    })
}

fn on_unknown(sink: &mut Sink<'_>, node: &Node) -> Option<OnUnknown> {
    let words = [("skip", OnUnknown::Skip), ("rerun", OnUnknown::Rerun)];
    values::word(sink, node, "on_unknown", &words)
}

fn on_node_loss(sink: &mut Sink<'_>, node: &Node) -> Option<OnNodeLoss> {
    let words = [("skip", OnNodeLoss::Skip), ("rerun", OnNodeLoss::Rerun)];
    values::word(sink, node, "on_node_loss", &words)
}

/// Which nodes may run it.
fn placement(sink: &mut Sink<'_>, node: &Node) -> Placement {
    let mut out = Placement::default();
    for Entry { key, value } in values::fields(sink, node, "placement", &keys::PLACEMENT) {
        match key.text.as_str() {
            "constraints" => {
                for item in values::list(sink, value, "constraints").unwrap_or_default() {
                    out.constraints.extend(constraint(sink, item));
                }
            }
            "reservations" => {
                for Entry { key, value } in values::fields(sink, value, "reservations", &keys::RESERVATIONS) {
                    match key.text.as_str() {
                        "cpus" => out.reservations.nano_cpus = values::nano_cpus(sink, value, "cpus"),
                        "memory" => out.reservations.memory_bytes = values::bytes(sink, value, "memory"),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    out
}

fn kubernetes(sink: &mut Sink<'_>, node: &Node, out: &mut Extension) {
    for Entry { key, value } in values::fields(sink, node, "kubernetes", &keys::KUBERNETES) {
        if key.text == "host_path" {
            out.host_path = flag(sink, value, "host_path");
        }
    }
}

/// As the nodes' labels are compared: `node.labels.disk==ssd`.
fn constraint(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = values::filled_text(sink, node, "constraints[]")?;
    match text.parse::<Constraint>() {
        Ok(constraint) => Some(constraint.to_string()),
        Err(why) => {
            sink.error(code::VALUE, node.span.clone(), why)
                .help(format!("a node has {SUBJECTS}, each with `==` or `!=`"));
            None
        }
    }
}

fn except(sink: &mut Sink<'_>, node: &Node) -> Option<Vec<ExceptDays>> {
    let mut days = Vec::new();
    for item in values::list(sink, node, "except")? {
        let text = values::filled_text(sink, item, "except[]")?;
        match schedule::parse_days(&text) {
            Ok(found) => days.push(found),
            Err(why) => {
                sink.error(code::VALUE, item.span.clone(), format!("`except`: {why}")).help(
                    "a day (`2026-12-25`), days (`2026-12-24..2026-12-26`), or each year (`12-25`, `12-24..01-02`)",
                );
            }
        }
    }
    if !schedule::leaves_days(&days) {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "`except` leaves no day of the year: the job would never start",
        )
        .help("to stop a job use `suspend: true`");
        return None;
    }
    Some(days)
}

fn group(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let name = values::filled_text(sink, node, "group")?;
    let fits = name.len() <= MOST_GROUP_NAME
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !fits {
        sink.error(code::NAME, node.span.clone(), "this is not the name of a group")
            .help("a name is made of at most 64 letters, digits, `-`, `_` and `.`, such as `backups`");
        return None;
    }
    Some(name)
}

const MOST_GROUP_NAME: usize = 64;

fn every(sink: &mut Sink<'_>, node: &Node) -> Option<Duration> {
    let period = values::duration(sink, node, "every")?;
    if let Err(error) = schedule::check_every(period) {
        sink.error(code::DURATION, node.span.clone(), format!("`every`: {error}"));
        return None;
    }
    Some(period)
}

/// `{container: NAME}`, or `{service: NAME, project: NAME}`.
fn exec(sink: &mut Sink<'_>, span: std::ops::Range<usize>, node: &Node) -> ExecKey {
    let (mut container, mut service, mut project) = (None, None, None);
    let had_errors = sink.has_errors();
    for Entry { key, value } in values::fields(sink, node, "exec", &keys::EXEC) {
        let name = key.text.as_str();
        let place = match name {
            "container" => &mut container,
            "service" => &mut service,
            _ => &mut project,
        };
        let found = values::filled_text(sink, value, name);
        let found = found.and_then(|text| super::compose::resource_name(sink, value, &text, name));
        *place = found;
    }
    let which = match (container, service, project) {
        (Some(name), None, None) => Some(NamedTarget::Container(name)),
        (None, Some(service), project) => Some(NamedTarget::Service { service, project }),
        _ => {
            if had_errors || !sink.has_errors() {
                sink.error(code::VALUE, node.span.clone(), "`exec` names no one container")
                    .help("`{container: NAME}`, or `{service: NAME, project: NAME}` of a Compose project");
            }
            None
        }
    };
    ExecKey { span, which }
}

/// A container of its own for each run, or one that is started again for each.
fn reuse(sink: &mut Sink<'_>, node: &Node) -> Option<bool> {
    values::word(sink, node, "container", &[("fresh", false), ("reuse", true)])
}

fn day_match(sink: &mut Sink<'_>, node: &Node) -> Option<DayMatch> {
    values::word(
        sink,
        node,
        "day_match",
        &[("any", DayMatch::Any), ("all", DayMatch::All)],
    )
}

fn exit_codes(sink: &mut Sink<'_>, node: &Node) -> Option<BTreeSet<i64>> {
    let items = values::list(sink, node, "success_exit_codes")?;
    if items.is_empty() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "`success_exit_codes` is empty: the job could never succeed",
        );
        return None;
    }
    let mut codes = BTreeSet::new();
    for item in items {
        let exit = integer(sink, item, "success_exit_codes[]")?;
        if !(0..=255).contains(&exit) {
            sink.error(
                code::VALUE,
                item.span.clone(),
                "an exit code is between 0 and 255",
            );
        }
        codes.insert(exit);
    }
    Some(codes)
}

fn history(sink: &mut Sink<'_>, node: &Node, out: &mut Extension) {
    for Entry { key, value } in values::fields(sink, node, "history", &keys::HISTORY) {
        match key.text.as_str() {
            "succeeded" => out.history_succeeded = count(sink, value, "succeeded"),
            "failed" => out.history_failed = count(sink, value, "failed"),
            _ => {}
        }
    }
}
