//! A crontab, of a user or of the system, line by line.
//!
//! A line's command ran in a shell on the host. Where it runs now has to be said (`Place`); a line that
//! calls docker says it itself.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::schedule::check_timezone;

use super::caller::Locks;
use super::docker_line::{self, Docker, Line, program_name, warn_of_secret};
use super::draft::{Draft, Job, duration, literal, literals};
use super::report::Report;
use super::when::{self, Dialect, When, shown};
use super::yaml::Yaml;
use super::{Imported, Options, Place};

/// What the lines above decide for those below.
#[derive(Default)]
struct Settings {
    environment: BTreeMap<String, String>,
    timezone: Option<String>,
    shell: Option<String>,
    /// cronie's `RANDOM_DELAY`, in minutes.
    delay: Option<u32>,
}

/// A day, in minutes: cronie's longest delay.
const MOST_DELAY: u32 = 1440;

/// Reads a crontab. `source` names it in comments.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut draft = Draft::new(options.project_or(file), &format!("crontab `{file}`"));
    draft.remark("as cron does: no start is made up for, and a run may start beside another");
    if let Some(zone) = &options.timezone {
        draft.defaults.push(("timezone", Yaml::text(zone.clone())));
    }
    draft.defaults.push(("concurrency", Yaml::text("allow")));
    draft.defaults.push(("missed_fires", Yaml::text("skip")));
    let mut reader = Reader {
        options,
        settings: Settings::default(),
        zone_was_said: options.timezone.is_some(),
        host_was_said: false,
        entries: 0,
        with_user: Vec::new(),
        locks: Locks::default(),
    };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        reader.line(content, at, &mut draft, &mut report);
        at += line.len();
    }
    reader.say_users(&mut report);
    Imported::new(draft, report)
}

struct Reader<'o> {
    options: &'o Options,
    settings: Settings,
    /// Said once, not for each line.
    zone_was_said: bool,
    host_was_said: bool,
    /// Lines with a schedule and a command.
    entries: usize,
    /// Those of them that seem to name a user in front of the command.
    with_user: Vec<Range<usize>>,
    locks: Locks,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, start: usize, draft: &mut Draft, report: &mut Report<'_>) {
        let trimmed = line.trim_start();
        let start = start + line.len() - trimmed.len();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        let at = start..start + trimmed.trim_end().len();
        if let Some((name, value)) = variable(trimmed) {
            self.variable(name, value, at, report);
        } else {
            self.entry(trimmed, at, draft, report);
        }
    }

    fn variable(&mut self, name: &str, value: &str, at: Range<usize>, report: &mut Report<'_>) {
        match name {
            "CRON_TZ" => match check_timezone(value) {
                Ok(_) => self.settings.timezone = Some(value.to_owned()),
                Err(error) => {
                    report.lost(at, error.message).help = error.help;
                    self.settings.timezone = None;
                }
            },
            "MAILTO" | "MAILFROM" | "CONTENT_TYPE" | "CONTENT_TRANSFER_ENCODING" => {
                if !(name == "MAILTO" && value.is_empty()) {
                    report
                        .lost(at, format!("`{name}` is not carried over: no mail is sent"))
                        .help("`docker-scheduler logs` shows the output of each run, `history` its end");
                }
            }
            "RANDOM_DELAY" if value.parse::<u32>().is_ok_and(|minutes| minutes <= MOST_DELAY) => {
                self.settings.delay = value.parse().ok().filter(|minutes| *minutes > 0);
                if self.settings.delay.is_some() {
                    report.changed(
                        at,
                        "`RANDOM_DELAY` is `jitter` now: each slot has a delay of its own",
                    );
                }
            }
            "RANDOM_DELAY" | "START_HOURS_RANGE" | "CRON_WITHIN" => {
                report.lost(at, format!("`{name}` is not carried over"));
            }
            "SHELL" => self.settings.shell = (value != "/bin/sh").then(|| value.to_owned()),
            "PATH" | "HOME" | "LOGNAME" | "USER" => {
                report
                    .lost(at, format!("`{name}` is the host's: a container has its own"))
                    .help("write it under `environment` of a job that needs it");
            }
            name => {
                warn_of_secret(name, at, report);
                self.settings
                    .environment
                    .insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn entry(&mut self, line: &str, mut at: Range<usize>, draft: &mut Draft, report: &mut Report<'_>) {
        // Of SUSE's cron: this line does not go to the system's log.
        let line = match line.strip_prefix('-') {
            Some(loud) if loud.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '*' | '@')) => {
                at.start += 1;
                loud
            }
            _ => line,
        };
        let Some((schedule, rest)) = split_schedule(line) else {
            report
                .refused(at, "this is neither a variable nor a schedule with a command")
                .help("a line of a crontab is `minute hour day month weekday command`");
            return;
        };
        self.entries += 1;
        if names_user(rest) {
            self.with_user.push(at.clone());
        }
        let place = at.start..at.start + schedule.trim_end().len();
        let when = match when::read(schedule, Dialect::Vixie) {
            Ok(when) => when,
            Err(error) => {
                report.refused(place, error.message).help = error.help;
                return;
            }
        };
        let (user, command) = if self.options.system {
            match rest.split_once(char::is_whitespace) {
                Some((user, command)) => (Some(user), command.trim_start()),
                None => {
                    report
                        .refused(at, "this line has a user and no command, or a command and no user")
                        .help("a crontab of the system has a user in front of the command; `--user` says that it is a user's");
                    return;
                }
            }
        } else {
            (None, rest)
        };
        let (command, input) = percent(command);
        if command.trim().is_empty() {
            report.refused(at, "this line has no command");
            return;
        }
        let mut job = Job::new(format!("line {}: {}", report.line_of(at.start), schedule.trim()));
        for note in &when.notes {
            report.changed(place.clone(), note.clone());
        }
        let Some(name) = self.command(
            &mut job,
            &command,
            input.as_deref(),
            user,
            at.clone(),
            draft,
            report,
        ) else {
            return;
        };
        self.say_zone(&when, at.clone(), report);
        job.start(&when, self.settings.timezone.as_deref());
        if let Some(minutes) = self.settings.delay {
            job.extend("jitter", Yaml::Text(duration(u64::from(minutes) * 60)));
        }
        draft.add(job, &name, false, at, report);
    }

    /// What is run, and where. The name that suits it; `None` when it is refused.
    #[allow(clippy::too_many_arguments, reason = "a line's parts, each used once")]
    fn command(
        &mut self,
        job: &mut Job,
        command: &str,
        input: Option<&str>,
        user: Option<&str>,
        at: Range<usize>,
        draft: &mut Draft,
        report: &mut Report<'_>,
    ) -> Option<String> {
        let simple = docker_line::simple(command);
        if let Some(simple) = &simple {
            let mut line = Line {
                job,
                draft,
                report,
                at: at.clone(),
            };
            match docker_line::read(simple, &self.settings.environment, &mut self.locks, &mut line) {
                Some(Docker::Job(name)) => {
                    if input.is_some_and(|input| !input.is_empty()) {
                        report.lost(
                            at,
                            "the text behind `%` was its standard input, and is not carried over",
                        );
                    }
                    return Some(name);
                }
                Some(Docker::No { why, help }) => {
                    report.refused(at, why).help = help.map(str::to_owned);
                    return None;
                }
                None => {}
            }
        }
        // Also behind a program in front of it that is not known.
        if calls_docker(command) && (simple.is_none() || runs_docker(command)) {
            let found = report.refused(
                at,
                "this line calls docker in a way that is not plain to see, by a shell or another program",
            );
            match user_in_front(command).filter(|_| !self.options.system) {
                Some(word) => found.help(format!(
                    "write a job by hand; or, where `{}` is the user that it runs as, read it with `--system`",
                    shown(word)
                )),
                None => found.help(
                    "write a job by hand: `exec` for `docker exec`, `image` and `command` for `docker run`",
                ),
            };
            return None;
        }
        let Some(place) = &self.options.place else {
            report
                .refused(at, "this command ran on the host, and a job runs in a container")
                .help("say where: `--image IMAGE`, `--exec-container NAME`, or `--exec-service NAME --exec-project NAME`");
            return None;
        };
        self.place(job, place, command, input, at.clone(), report);
        if let Some(user) = user {
            job.set("user", literal(user));
        }
        // Every container has that one.
        if let Some(user) = user.filter(|user| *user != "root") {
            report.changed(
                at,
                format!(
                    "user `{}` was the host's, and has to exist in the container",
                    shown(user)
                ),
            );
        }
        Some(name_of(command))
    }

    /// A command of the host in the container that was named for it.
    fn place(
        &mut self,
        job: &mut Job,
        place: &Place,
        command: &str,
        input: Option<&str>,
        at: Range<usize>,
        report: &mut Report<'_>,
    ) {
        if !self.host_was_said {
            self.host_was_said = true;
            let found = report.changed(at, "this command and those below ran on the host");
            // Whose crontab it was, a user's one does not say.
            if self.options.system {
                found.help("programs and files that they use have to be in the container, or mounted");
            } else {
                found.help("programs and files that they use have to be in the container, or mounted; they run as its user unless `user` names another");
            }
        }
        let shell = self.settings.shell.as_deref().unwrap_or("sh");
        let script = match input {
            None => command.to_owned(),
            Some(input) => with_input(command, input),
        };
        let by_shell = literals([shell, "-c", script.as_str()]);
        match place {
            Place::Image(image) => {
                job.set("image", literal(image));
                // An image may have an entrypoint of its own, which would take a shell for its argument.
                job.set("entrypoint", literals([shell, "-c"]));
                job.set("command", literals([script.as_str()]));
            }
            Place::Container(name) => {
                job.exec_in(name);
                job.set("command", by_shell);
            }
            Place::Service { service, project } => {
                job.exec_in_service(service, project);
                job.set("command", by_shell);
            }
        }
        for (name, value) in &self.settings.environment {
            job.put("environment", name, literal(value));
        }
    }

    /// A crontab of the system that is read as a user's.
    fn say_users(&self, report: &mut Report<'_>) {
        let [first, ..] = self.with_user.as_slice() else {
            return;
        };
        if !self.options.system && self.with_user.len() * 2 > self.entries {
            report
                .advice(
                    first.clone(),
                    "this line, as most, seems to name a user in front of its command",
                )
                .help("`--system` reads them as a crontab of the system, with users");
        }
    }

    /// cron takes the machine's zone; here it is UTC.
    fn say_zone(&mut self, when: &When, at: Range<usize>, report: &mut Report<'_>) {
        let has_zone = self.settings.timezone.is_some();
        if self.zone_was_said || has_zone || !matches!(when.start, when::Start::Cron { .. }) {
            return;
        }
        self.zone_was_said = true;
        report
            .changed(
                at,
                "cron took these times in the zone of its machine; without one they are UTC",
            )
            .help("name it: `--timezone Europe/Berlin`");
    }
}

/// `NAME = value`, with quotes around either.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = unquoted(name.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name, unquoted(value.trim())))
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

/// Five fields or a word with `@`, and what follows.
fn split_schedule(line: &str) -> Option<(&str, &str)> {
    let count = if line.starts_with('@') { 1 } else { 5 };
    let mut rest = line;
    for _ in 0..count {
        let end = rest.find(char::is_whitespace)?;
        rest = rest[end..].trim_start();
    }
    let schedule = &line[..line.len() - rest.len()];
    (!rest.is_empty()).then_some((schedule, rest))
}

/// Up to the first `%` is the command, what follows its standard input; `\%` is a percent sign. In the
/// command, `\\%` is none, as cron has it: that backslash is escaped itself.
pub(super) fn percent(text: &str) -> (String, Option<String>) {
    let mut command = String::new();
    let mut input: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let (out, is_input) = match &mut input {
            Some(input) => (input, true),
            None => (&mut command, false),
        };
        match c {
            '\\' if chars.peek() == Some(&'%') => {
                out.push('%');
                chars.next();
            }
            '\\' if !is_input => {
                out.push(c);
                out.extend(chars.next());
            }
            '%' if is_input => out.push('\n'),
            '%' => input = Some(String::new()),
            c => out.push(c),
        }
    }
    (command, input)
}

/// The command with a text as its standard input.
fn with_input(command: &str, input: &str) -> String {
    if input.is_empty() {
        return format!("{{ {command}\n}} </dev/null\n");
    }
    let mut mark = String::from("INPUT");
    while input.lines().any(|line| line == mark) {
        mark.push('_');
    }
    let end = if input.ends_with('\n') { "" } else { "\n" };
    format!("{{ {command}\n}} <<'{mark}'\n{input}{end}{mark}\n")
}

/// Whether docker is called anywhere in a line of a shell.
fn calls_docker(command: &str) -> bool {
    command
        .split(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '`' | '"' | '\''))
        .any(|word| {
            matches!(
                word.rsplit('/').next(),
                Some("docker" | "docker-compose" | "podman")
            )
        })
}

/// A word in front of a plain call of docker, as a crontab of the system has the user there.
fn user_in_front(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    let (user, program) = (words.next()?, words.next()?);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (calls_docker(program) && user.chars().all(is_name)).then_some(user)
}

/// Whether a command seems to have a user in front: root, or a word that stands apart, as in the columns
/// of /etc/crontab.
fn names_user(command: &str) -> bool {
    let Some((word, rest)) = command.split_once(char::is_whitespace) else {
        return false;
    };
    let stands_apart = command[word.len()..].starts_with('\t') || rest.starts_with([' ', '\t']);
    let is_name = word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let next = rest.trim_start();
    let is_command =
        next.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '[' | '.' | '('));
    is_name && is_command && (word == "root" || (stands_apart && !calls_docker(word)))
}

/// Whether docker is called to run something: `systemctl restart docker` is another thing.
fn runs_docker(command: &str) -> bool {
    const VERBS: [&str; 6] = ["run", "exec", "compose", "container", "start", "stack"];
    let words: Vec<&str> = command.split_whitespace().collect();
    words
        .windows(2)
        .any(|pair| calls_docker(pair[0]) && (VERBS.contains(&pair[1]) || pair[0].ends_with("-compose")))
}

/// A name that a person would give to it.
fn name_of(command: &str) -> String {
    const INTERPRETERS: [&str; 12] = [
        "sh", "bash", "dash", "zsh", "php", "python", "python3", "perl", "ruby", "node", "java", "env",
    ];
    const WRAPPERS: [&str; 9] = [
        "sudo", "nice", "ionice", "flock", "timeout", "chronic", "exec", "test", "[",
    ];
    let last = command
        .rsplit("&&")
        .find(|part| !part.trim().is_empty())
        .unwrap_or(command);
    let mut words = last
        .split_whitespace()
        .filter(|word| !word.starts_with('-') && !word.contains('='));
    let mut program = words.next().unwrap_or_default();
    while WRAPPERS.contains(&program) {
        // A lock's file, a limit.
        if matches!(program, "flock" | "timeout") {
            words.next();
        }
        let is_program = |word: &&str| word.starts_with(|c: char| c == '/' || c == '.' || c.is_alphabetic());
        match words.find(is_program) {
            Some(next) => program = next,
            None => break,
        }
    }
    let name = program_name(program);
    if INTERPRETERS.contains(&name.as_str())
        && let Some(script) = words.find(|word| word.contains(['/', '.']))
    {
        return program_name(script);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_ends_the_command() {
        assert_eq!(percent("date +\\%F"), ("date +%F".to_owned(), None));
        let (command, input) = percent("mail -s x%a%b\\%");
        assert_eq!((command.as_str(), input.as_deref()), ("mail -s x", Some("a\nb%")));
        // In the command, a backslash that is escaped itself escapes nothing; behind it, the last one does.
        assert_eq!(percent(r"a\\%b"), (r"a\\".to_owned(), Some("b".to_owned())));
        assert_eq!(percent(r"a\\\%b"), (r"a\\%b".to_owned(), None));
        assert_eq!(percent(r"a\x\%b"), (r"a\x%b".to_owned(), None));
        assert_eq!(percent(r"a%b\\%c"), ("a".to_owned(), Some(r"b\%c".to_owned())));
        assert_eq!(percent(r"a\"), (r"a\".to_owned(), None));
        assert_eq!(with_input("cat", ""), "{ cat\n} </dev/null\n");
        assert_eq!(with_input("cat", "\n"), "{ cat\n} <<'INPUT'\n\nINPUT\n");
        assert_eq!(
            with_input("cat", "INPUT\nx"),
            "{ cat\n} <<'INPUT_'\nINPUT\nx\nINPUT_\n"
        );
    }

    #[test]
    fn a_user_in_front_is_told_from_a_program() {
        for (command, is_user) in [
            ("root cd / && run-parts /etc/cron.hourly", true),
            ("root\tcd / && run-parts", true),
            ("www-data  php /x.php", true),
            ("root    test -x /usr/sbin/anacron || x", true),
            ("root", false),
            ("php /x.php", false),
            ("find  -delete", false),
            ("docker  exec db true", false),
            ("/opt/a.sh  x", false),
            ("A=1  x", false),
        ] {
            assert_eq!(names_user(command), is_user, "{command}");
        }
    }

    #[test]
    fn names_are_what_a_person_would_say() {
        for (command, name) in [
            ("/usr/local/bin/backup.sh --all", "backup"),
            ("cd /srv/x && ./run.sh >/dev/null", "run"),
            ("php -f /var/www/html/cron.php", "cron"),
            ("A=1 B=2 restic backup /srv", "restic"),
            ("sudo -u x /opt/sync", "x"),
            ("flock -n /tmp/lock /opt/sync", "/opt/sync"),
            ("timeout 30m /opt/report.sh", "report"),
            ("timeout -k 5 1h ./slow", "slow"),
        ] {
            let expected = program_name(name);
            assert_eq!(name_of(command), expected, "{command}");
        }
    }

    #[test]
    fn a_variable_is_told_from_a_schedule() {
        assert_eq!(variable("MAILTO=\"\""), Some(("MAILTO", "")));
        assert_eq!(variable("A = 'b c' "), Some(("A", "b c")));
        assert_eq!(variable("* * * * * A=1 x"), None);
    }
}
