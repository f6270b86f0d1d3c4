//! What a simulated container does: its command, read as a tiny script and laid out in time.
//!
//! The whole run is known when it starts: which lines it prints after how long, when and how it
//! ends, and what a stop signal does to it. It is no shell: `;`, newlines, `&&`, `||`, quotes,
//! `$NAME`, `trap`, a `while` that never ends, `>` into nowhere and the commands in [`COMMANDS`]
//! are all there is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::LogStream;

/// What every simulated image has in `/bin`.
///
/// `stubborn N` sleeps and ignores the stop signal, `oom N` is killed for its memory after N
/// seconds; the others do what they do elsewhere.
pub(super) const COMMANDS: [&str; 11] = [
    "busybox", "sh", "echo", "printf", "sleep", "true", "false", "exit", "printenv", "stubborn", "oom",
];

/// Programs that a test has installed: name to script.
pub(super) type Installed = BTreeMap<String, String>;

/// A run laid out in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    pub(super) lines: Vec<Line>,
    /// `None`: it runs until it is ended.
    pub(super) end: Option<(Duration, Ending)>,
    /// By the signal's name without `SIG`; [`ANY`] stands for each of them.
    pub(super) traps: BTreeMap<String, OnSignal>,
}

/// Every signal but `KILL`.
const ANY: &str = "*";

impl Timeline {
    /// What a signal (`SIGTERM`, `INT`) does; `KILL` is not asked about.
    pub(super) fn on_signal(&self, name: &str) -> OnSignal {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        let trap = self.traps.get(name).or_else(|| self.traps.get(ANY));
        trap.copied().unwrap_or(OnSignal::Dies)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Since the start.
    pub(super) after: Duration,
    pub(super) stream: LogStream,
    /// With its newline, where it has one.
    pub(super) text: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) code: i64,
    pub(super) out_of_memory: bool,
}

impl Ending {
    pub(super) fn code(code: i64) -> Ending {
        Ending {
            code,
            out_of_memory: false,
        }
    }
}

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnSignal {
    Dies,
    Ignores,
    /// It has a handler and ends with this code.
    Exits(i64),
}

/// Lays out the run of `argv`.
///
/// # Errors
/// The name of the executable that the image does not have.
pub(super) fn lay_out(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    installed: &Installed,
) -> Result<Timeline, String> {
    let name = argv.first().map(String::as_str).unwrap_or_default();
    if !is_executable(name, installed) {
        return Err(name.to_owned());
    }
    let mut run = Run {
        environment,
        installed,
        at: Duration::ZERO,
        depth: 0,
        lines: Vec::new(),
        traps: BTreeMap::new(),
    };
    let end = match run.command(argv) {
        Flow::Goes(code) | Flow::Ends(Ending { code, .. }) if code < 0 => Some(Ending::code(255)),
        Flow::Goes(code) => Some(Ending::code(code)),
        Flow::Ends(ending) => Some(ending),
        Flow::Stays => None,
    };
    Ok(Timeline {
        end: end.map(|ending| (run.at, ending)),
        lines: run.lines,
        traps: run.traps,
    })
}

/// Whether a simulated image has it, by name or by its path in `/bin`.
pub(super) fn is_executable(name: &str, installed: &Installed) -> bool {
    let name = name.strip_prefix("/bin/").unwrap_or(name);
    COMMANDS.contains(&name) || installed.contains_key(name)
}

/// What a command leaves behind.
enum Flow {
    /// It is over, with this code, and the script goes on.
    Goes(i64),
    /// The whole program is over.
    Ends(Ending),
    /// It never ends by itself.
    Stays,
}

/// An installed program that calls itself must not take the test down with it.
const MAX_DEPTH: u32 = 16;

struct Run<'a> {
    environment: &'a BTreeMap<String, String>,
    installed: &'a Installed,
    at: Duration,
    depth: u32,
    lines: Vec<Line>,
    traps: BTreeMap<String, OnSignal>,
}

impl Run<'_> {
    fn script(&mut self, text: &str) -> Flow {
        if self.depth == MAX_DEPTH {
            return Flow::Goes(126);
        }
        self.depth += 1;
        let mut code = 0;
        for (joint, words) in split(text, self.environment) {
            let wanted = match joint {
                Joint::Always => true,
                Joint::IfGood => code == 0,
                Joint::IfBad => code != 0,
            };
            if !wanted || words.is_empty() {
                continue;
            }
            match self.command(&words) {
                Flow::Goes(its) => code = its,
                over => return over,
            }
        }
        self.depth -= 1;
        Flow::Goes(code)
    }

    fn command(&mut self, words: &[String]) -> Flow {
        let into_file = words.iter().position(|word| word == ">" || word == ">>");
        if let Some(at) = into_file.filter(|at| *at > 0) {
            let printed = self.lines.len();
            let flow = self.command(&words[..at]);
            self.lines.truncate(printed);
            return flow;
        }
        let name = words[0].strip_prefix("/bin/").unwrap_or(&words[0]);
        let first = words.get(1).map(String::as_str).unwrap_or_default();
        match name {
            "sh" if first == "-c" => self.script(words.get(2).map(String::as_str).unwrap_or_default()),
            "sh" | "true" | ":" => Flow::Goes(0),
            "busybox" if words.len() > 1 => self.command(&words[1..]),
            "busybox" => Flow::Goes(0),
            // With a condition that never fails, whatever it does.
            "while" => Flow::Stays,
            "false" => Flow::Goes(1),
            "echo" => self.echo(&words[1..]),
            "printf" => {
                self.print(LogStream::Stdout, unescape(first));
                Flow::Goes(0)
            }
            "printenv" => self.printenv(first),
            "exit" => Flow::Ends(Ending::code(first.parse().unwrap_or(0))),
            "sleep" => self.sleep(first),
            "stubborn" => {
                self.traps.insert(ANY.to_owned(), OnSignal::Ignores);
                self.sleep(first)
            }
            "oom" => match self.sleep(if first.is_empty() { "0" } else { first }) {
                Flow::Goes(0) => Flow::Ends(Ending {
                    code: 137,
                    out_of_memory: true,
                }),
                other => other,
            },
            "trap" => self.trap(first, &words[words.len().min(2)..]),
            _ => match self.installed.get(name) {
                Some(script) => self.script(&script.clone()),
                None => {
                    self.print(LogStream::Stderr, format!("sh: {name}: not found\n"));
                    Flow::Goes(127)
                }
            },
        }
    }

    fn echo(&mut self, words: &[String]) -> Flow {
        let (stream, words) = match words.split_last() {
            Some((last, rest)) if last == ">&2" => (LogStream::Stderr, rest),
            _ => (LogStream::Stdout, words),
        };
        self.print(stream, words.join(" ") + "\n");
        Flow::Goes(0)
    }

    fn printenv(&mut self, name: &str) -> Flow {
        match self.environment.get(name) {
            Some(value) => {
                self.print(LogStream::Stdout, format!("{value}\n"));
                Flow::Goes(0)
            }
            None => Flow::Goes(1),
        }
    }

    fn sleep(&mut self, text: &str) -> Flow {
        if text == "infinity" {
            return Flow::Stays;
        }
        match duration(text) {
            Some(how_long) => {
                self.at = self.at.saturating_add(how_long);
                Flow::Goes(0)
            }
            None => {
                self.print(LogStream::Stderr, format!("sleep: invalid number '{text}'\n"));
                Flow::Goes(1)
            }
        }
    }

    /// `trap '' TERM` and `trap 'exit N' INT TERM`.
    fn trap(&mut self, handler: &str, signals: &[String]) -> Flow {
        let does = match handler.strip_prefix("exit") {
            Some(code) => OnSignal::Exits(code.trim().parse().unwrap_or(0)),
            None => OnSignal::Ignores,
        };
        for signal in signals {
            let name = signal.strip_prefix("SIG").unwrap_or(signal);
            self.traps.insert(name.to_owned(), does);
        }
        Flow::Goes(0)
    }

    fn print(&mut self, stream: LogStream, text: String) {
        self.lines.push(Line {
            after: self.at,
            stream,
            text,
        });
    }
}

/// The escapes of `printf` that matter to a log.
fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
}

/// `5`, `0.5`, `2m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit_secs) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1.0),
        b'm' => (&text[..text.len() - 1], 60.0),
        b'h' => (&text[..text.len() - 1], 3600.0),
        _ => (text, 1.0),
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit_secs).ok()
}

/// Whether a command runs, given the code of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    Always,
    IfGood,
    IfBad,
}

/// Cuts a script into commands and those into words, with quotes and variables resolved.
fn split(text: &str, environment: &BTreeMap<String, String>) -> Vec<(Joint, Vec<String>)> {
    let mut commands = vec![(Joint::Always, Vec::new())];
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let joint = match c {
            ';' | '\n' => Some(Joint::Always),
            '&' if chars.next_if_eq(&'&').is_some() => Some(Joint::IfGood),
            '|' if chars.next_if_eq(&'|').is_some() => Some(Joint::IfBad),
            _ => None,
        };
        if joint.is_some() || c.is_whitespace() {
            if let (Some(word), Some((_, words))) = (word.take(), commands.last_mut()) {
                words.push(word);
            }
            commands.extend(joint.map(|joint| (joint, Vec::new())));
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '\'' => word.extend(chars.by_ref().take_while(|c| *c != '\'')),
            '"' => {
                let quoted: String = chars.by_ref().take_while(|c| *c != '"').collect();
                word.push_str(&expand(&quoted, environment));
            }
            '$' => {
                let mut name = String::from("$");
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || "_{}".contains(*c)) {
                    name.push(c);
                }
                word.push_str(&expand(&name, environment));
            }
            other => word.push(other),
        }
    }
    if let (Some(word), Some((_, words))) = (word, commands.last_mut()) {
        words.push(word);
    }
    commands
}

/// Replaces `$NAME` and `${NAME}`; an unset one is empty.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(
                part.find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(part.len()),
            ),
        };
        out.push_str(environment.get(name).map(String::as_str).unwrap_or_default());
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(argv: &[&str]) -> Timeline {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let environment = BTreeMap::from([("WHO".to_owned(), "you and me".to_owned())]);
        let installed = Installed::from([
            ("dump".to_owned(), "echo dumping; sleep 3".to_owned()),
            ("loop".to_owned(), "loop".to_owned()),
        ]);
        lay_out(&argv, &environment, &installed).unwrap()
    }

    fn ends(argv: &[&str]) -> (u64, i64) {
        let (after, ending) = run(argv).end.unwrap();
        (after.as_millis().try_into().unwrap(), ending.code)
    }

    fn prints(argv: &[&str]) -> Vec<(u64, String)> {
        let lines = run(argv).lines.into_iter();
        lines
            .map(|line| (line.after.as_secs(), line.text.trim_end_matches('\n').to_owned()))
            .collect()
    }

    #[test]
    fn a_command_runs_and_ends_in_its_time() {
        assert_eq!(ends(&["sleep", "5"]), (5000, 0));
        assert_eq!(ends(&["/bin/sleep", "0.5"]), (500, 0));
        assert_eq!(ends(&["exit", "3"]), (0, 3));
        assert_eq!(ends(&["true"]), (0, 0));
        assert_eq!(ends(&["false"]), (0, 1));
        assert_eq!(
            ends(&["sh", "-c", "echo hi; sleep 2; exit 1; sleep 9"]),
            (2000, 1)
        );
        assert_eq!(ends(&["sh", "-c", "false && sleep 9; sleep 1m"]), (60_000, 0));
        assert_eq!(ends(&["sh", "-c", "sleep 1; false || exit 7"]), (1000, 7));
        assert_eq!(ends(&["sh", "-c", "nope"]), (0, 127));
        assert_eq!(ends(&["dump"]), (3000, 0));
        assert_eq!(ends(&["loop"]), (0, 126));
        assert_eq!(run(&["sleep", "infinity"]).end, None);
    }

    #[test]
    fn lines_carry_their_time_and_variables_their_value() {
        let script = "echo hi '$WHO;'; sleep 2\necho \"to $WHO\" ${WHO}! ; echo oops >&2";
        assert_eq!(
            prints(&["sh", "-c", script]),
            [
                (0, "hi $WHO;".to_owned()),
                (2, "to you and me you and me!".to_owned()),
                (2, "oops".to_owned())
            ]
        );
        assert_eq!(run(&["sh", "-c", script]).lines[2].stream, LogStream::Stderr);
    }

    #[test]
    fn the_stop_signal_can_be_ignored_or_handled() {
        let on = |script: &str, signal: &str| run(&["sh", "-c", script]).on_signal(signal);
        assert_eq!(on("sleep 5", "SIGTERM"), OnSignal::Dies);
        assert_eq!(on("stubborn 60", "SIGINT"), OnSignal::Ignores);
        assert_eq!(on("trap '' TERM; sleep 5", "SIGTERM"), OnSignal::Ignores);
        assert_eq!(on("trap '' TERM; sleep 5", "SIGINT"), OnSignal::Dies);
        let script = "trap 'exit 9' USR1 TERM; while :; do sleep 0.1; done";
        assert_eq!(on(script, "USR1"), OnSignal::Exits(9));
        assert_eq!(on(script, "SIGTERM"), OnSignal::Exits(9));
        assert_eq!(run(&["sh", "-c", script]).end, None);
    }

    #[test]
    fn output_can_lack_its_newline_or_go_nowhere() {
        let lines = run(&["sh", "-c", "printf 'a\\r'; printf b; echo gone > /file"]).lines;
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["a\r", "b"]);
    }

    #[test]
    fn too_much_memory_is_told_from_a_kill() {
        let (after, ending) = run(&["oom", "2"]).end.unwrap();
        assert_eq!(
            (after.as_secs(), ending.code, ending.out_of_memory),
            (2, 137, true)
        );
    }

    #[test]
    fn an_unknown_executable_does_not_start() {
        let missing = lay_out(&["nope".to_owned()], &BTreeMap::new(), &Installed::new());
        assert_eq!(missing, Err("nope".to_owned()));
    }
}
