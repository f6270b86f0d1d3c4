//! Commands in containers that run anyway.
//!
//! Always attached: a detached exec has no result on Podman, and its output is lost everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{CREATE, DockerEngine, KILL, QUESTION, START, attached_chunk, checked, failure, none_when_gone};
use crate::engine::{Engine, EngineError, ExecRequest, ExecState, LogChunk, Observe, Result, lower};
use crate::model::Text;

/// Looks through the container's processes, because the process ID that the engine tells is the
/// host's. `$1` is the signal, `$2` what the environment must hold.
const SIGNAL_MARKED: &str = r#"command -v grep >/dev/null && command -v tr >/dev/null || exit 127
for p in /proc/[0-9]*; do
  if { tr '\000' '\n' <"$p/environ" | grep -qxF "$2"; } 2>/dev/null; then kill -"$1" "${p#/proc/}"; fi
done
exit 0"#;

/// What that command is called in a list of processes.
const SIGNAL_MARKED_NAME: &str = "docker-scheduler-stop";

/// A shell's and the engine's codes for a program that is not there or cannot be run.
const NO_PROGRAM: [i64; 2] = [126, 127];

impl DockerEngine {
    pub(super) async fn exec_create(&self, request: &ExecRequest) -> Result<String> {
        let container = checked(&request.container)?.to_owned();
        let config = exec_config(request);
        let created = self
            .call(CREATE, async move |docker: bollard::Docker| {
                docker.create_exec(&container, config).await
            })
            .await?;
        Ok(created.id)
    }

    pub(super) async fn exec_start(
        &self,
        id: &str,
        tty: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let id = checked(id)?.to_owned();
        let host = self.endpoint.host.clone();
        let started = self
            .call(START, async move |docker: bollard::Docker| {
                let options = StartExecOptions {
                    detach: false,
                    tty,
                    output_capacity: None,
                };
                docker.start_exec(&id, Some(options)).await
            })
            .await?;
        match started {
            StartExecResults::Attached { output, .. } => Ok(output
                .map(move |output| {
                    output
                        .map(attached_chunk)
                        .map_err(|error| failure::of_request(&host, error))
                })
                .boxed()),
            StartExecResults::Detached => Err(EngineError::Undecodable {
                why: "the engine detached from a command that it was to stay attached to".to_owned(),
            }),
        }
    }

    pub(super) async fn exec_inspect(&self, id: &str) -> Result<Option<ExecState>> {
        let id = checked(id)?.to_owned();
        let answer = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                docker.inspect_exec(&id).await
            })
            .await;
        Ok(none_when_gone(answer)?.map(|state| {
            let running = state.running.unwrap_or(false);
            let ran = state.pid.is_some_and(|pid| pid > 0);
            ExecState {
                running,
                // Podman says 0 of one that has not been started.
                exit_code: state.exit_code.filter(|code| !running && (ran || *code != 0)),
                ran,
            }
        }))
    }

    pub(super) async fn exec_signal(
        &self,
        container: &str,
        user: Option<&str>,
        (name, value): (&str, &str),
        signal: &str,
    ) -> Result<bool> {
        let marked = format!("{name}={value}");
        let words = ["sh", "-c", SIGNAL_MARKED, SIGNAL_MARKED_NAME, signal, &marked];
        let id = self
            .create_exec(&ExecRequest {
                container: container.to_owned(),
                command: words.into_iter().map(Text::plain).collect(),
                environment: BTreeMap::new(),
                user: user.map(str::to_owned),
                working_dir: None,
                tty: false,
            })
            .await?;
        let mut output = self.start_exec(&id, false).await?;
        let read = async { while output.next().await.is_some() {} };
        if tokio::time::timeout(KILL, read).await.is_err() {
            return Err(EngineError::Unanswered {
                why: "the command that was to send a signal did not end".to_owned(),
            });
        }
        // The engine notes the end a moment after the output's.
        for _ in 0..20 {
            match self.inspect_exec(&id).await? {
                Some(ExecState {
                    exit_code: Some(code),
                    ..
                }) => return Ok(!NO_PROGRAM.contains(&code)),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => break,
            }
        }
        Ok(false)
    }
}

fn exec_config(request: &ExecRequest) -> ExecConfig {
    let ExecRequest {
        container: _,
        command,
        environment,
        user,
        working_dir,
        tty,
    } = request;
    ExecConfig {
        attach_stdin: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(*tty),
        env: Some(lower::environment(environment, &BTreeMap::new())),
        cmd: Some(command.iter().map(|word| word.expose().to_owned()).collect()),
        user: user.clone(),
        working_dir: working_dir.clone(),
        ..ExecConfig::default()
    }
}
