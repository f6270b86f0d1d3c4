//! Commands in containers that run, as the daemon has them: in memory only, attached to a reader.
//!
//! As measured on 20.10: an exec is forgotten with the daemon; a program that is not there is said in
//! the output, and leaves 126 without a process; a reader that goes away is noticed at the next line,
//! and the daemon then reports 126 of a process that runs on.

use std::collections::BTreeMap;

use super::super::{EventAction, ExecRequest, ExecState, LogChunk, LogStream, Result};
use super::SimEngine;
use super::program::{self, Ending, OnSignal};
use super::state::{LogLine, State};
use super::verbs::{declare, no_such_container, refused, signal_number};
use crate::model::ContainerStatus;

/// One command, as the daemon knows it.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) container: String,
    request: ExecRequest,
    /// While it runs, as far as the daemon knows.
    pub(super) process: Option<u64>,
    ran: bool,
    pub(super) exit_code: Option<i64>,
    pub(super) output: Vec<LogLine>,
    /// The reader of its output has gone away.
    pub(super) unread: bool,
}

/// The exit code that the daemon gives to what it could not start, or lost sight of.
const LOST: i64 = 126;

impl State {
    pub(super) fn create_exec(&mut self, request: ExecRequest) -> Result<String> {
        let container = self
            .find_id(&request.container)
            .ok_or_else(|| no_such_container(&request.container))?;
        match self.status(&container) {
            Some(ContainerStatus::Running) => {}
            Some(ContainerStatus::Paused) => {
                let why = format!("Container {container} is paused, unpause the container before exec");
                return Err(refused(409, why));
            }
            _ => return Err(refused(409, format!("Container {container} is not running"))),
        }
        let id = self.next_id("exec");
        let exec = Exec {
            container: container.clone(),
            request,
            process: None,
            ran: false,
            exit_code: None,
            output: Vec::new(),
            unread: false,
        };
        self.execs.insert(id.clone(), exec);
        self.emit(&container, EventAction::Other("exec_create".to_owned()));
        Ok(id)
    }

    pub(super) fn start_exec(&mut self, id: &str) -> Result<()> {
        let Some(exec) = self.execs.get(id) else {
            return Err(refused(404, format!("No such exec instance: {id}")));
        };
        let container = exec.container.clone();
        let already = exec.ran || exec.exit_code.is_some();
        let argv: Vec<String> = exec
            .request
            .command
            .iter()
            .map(|word| word.expose().to_owned())
            .collect();
        if already {
            return Err(refused(409, format!("Error: Exec command {id} has already run")));
        }
        if !self.is_running(&container) {
            return Err(refused(409, format!("Container {container} is not running")));
        }
        let environment = self.exec_environment(id);
        match program::lay_out(&argv, &environment, &self.installed) {
            Err(name) => {
                let text = format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: exec: \"{name}\": \
                     executable file not found in $PATH: unknown\r\n"
                );
                let at = self.now.wall;
                if let Some(exec) = self.execs.get_mut(id) {
                    exec.exit_code = Some(LOST);
                    exec.output.push(LogLine {
                        at,
                        stream: LogStream::Stdout,
                        text,
                    });
                }
            }
            Ok(timeline) => {
                let number = self.launch_exec(&container, id, &environment, timeline);
                if let Some(exec) = self.execs.get_mut(id) {
                    exec.ran = true;
                    exec.process = Some(number);
                }
                self.emit(&container, EventAction::Other("exec_start".to_owned()));
                self.settle(self.now);
            }
        }
        Ok(())
    }

    fn exec_environment(&self, id: &str) -> BTreeMap<String, String> {
        let Some(exec) = self.execs.get(id) else {
            return BTreeMap::new();
        };
        let container = self.containers.get(&exec.container);
        let mut environment = container.map(|one| one.environment.clone()).unwrap_or_default();
        declare(&mut environment, &exec.request.environment);
        environment
    }

    pub(super) fn inspect_exec(&self, id: &str) -> Option<ExecState> {
        self.execs.get(id).map(|exec| ExecState {
            running: exec.process.is_some(),
            exit_code: exec.exit_code,
            ran: exec.ran,
        })
    }

    /// The daemon notes the end of a command, when it has not lost sight of it.
    pub(super) fn end_exec(&mut self, id: &str, number: u64, ending: Ending) {
        if !self.daemon.up {
            return;
        }
        let Some(exec) = self.execs.get_mut(id).filter(|exec| exec.process == Some(number)) else {
            return;
        };
        exec.process = None;
        exec.exit_code = Some(ending.code);
        let container = exec.container.clone();
        self.emit(&container, EventAction::Other("exec_die".to_owned()));
    }

    /// With a container's own process all others of it end.
    pub(super) fn end_execs_of(&mut self, container: &str) {
        let its = self.processes.iter();
        let numbers: Vec<u64> = its
            .filter(|(_, process)| process.container == container && process.exec.is_some())
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.end_process(number, Ending::code(137));
        }
    }

    /// Signals every command in the container that has the variable in its environment.
    pub(super) fn signal_marked(
        &mut self,
        container: &str,
        variable: (&str, &str),
        signal: &str,
    ) -> Result<bool> {
        let id = self
            .find_id(container)
            .ok_or_else(|| no_such_container(container))?;
        if !self.is_running(&id) {
            return Err(refused(409, format!("Container {id} is not running")));
        }
        if !program::is_executable("sh", &self.installed) || self.without_shell.contains(&id) {
            return Ok(false);
        }
        let marked: Vec<u64> = self
            .processes
            .iter()
            .filter(|(_, process)| process.container == id)
            .filter(|(_, process)| {
                process.environment.get(variable.0).map(String::as_str) == Some(variable.1)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in marked {
            let Some(process) = self.processes.get(&number) else {
                continue;
            };
            let ending = match process.timeline.on_signal(signal) {
                _ if signal_number(signal) == 9 => Ending::code(137),
                OnSignal::Dies => Ending::code(128 + signal_number(signal)),
                OnSignal::Exits(code) => Ending::code(code),
                OnSignal::Ignores => continue,
            };
            self.end_process(number, ending);
        }
        Ok(true)
    }
}

/// Who reads a command's output; the daemon notices when that one has gone.
pub(super) struct Reader {
    pub(super) engine: SimEngine,
    pub(super) id: String,
    pub(super) from: usize,
}

impl Reader {
    /// `None`: wait. `Some(None)`: that was all.
    #[allow(clippy::option_option)]
    pub(super) fn next(&self, state: &State) -> Option<Option<LogChunk>> {
        // The connection ends with the daemon.
        let Some(exec) = state.execs.get(&self.id) else {
            return Some(None);
        };
        match exec.output.get(self.from) {
            Some(line) => Some(Some(LogChunk {
                stream: line.stream,
                bytes: line.text.clone().into(),
            })),
            None => exec.process.is_none().then_some(None),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.engine.change(|state| {
            if let Some(exec) = state.execs.get_mut(&self.id) {
                exec.unread = true;
            }
        });
    }
}

impl Exec {
    /// Takes a line of output. One that nobody reads costs the daemon the sight of the process.
    pub(super) fn write(&mut self, line: LogLine) {
        if self.unread {
            self.process = None;
            self.exit_code.get_or_insert(LOST);
        } else {
            self.output.push(line);
        }
    }
}
