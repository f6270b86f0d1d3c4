//! SIGINT and SIGTERM as something to wait for.

use super::error::CommandError;

/// Both signals of a person or a service manager that wants an end. From [`Interrupts::listen`]
/// on they no longer end the process by themselves.
#[cfg(unix)]
pub struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Interrupts {
    /// # Errors
    /// When the system refuses the handlers.
    pub fn listen() -> Result<Interrupts, CommandError> {
        use tokio::signal::unix::{SignalKind, signal};
        let handler = |kind| {
            signal(kind).map_err(|error| {
                CommandError::failed("failed to listen for signals").caused_by(error.to_string())
            })
        };
        Ok(Interrupts {
            interrupt: handler(SignalKind::interrupt())?,
            terminate: handler(SignalKind::terminate())?,
        })
    }

    /// The next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C and Ctrl-Break.
#[cfg(windows)]
pub struct Interrupts {
    interrupt: tokio::signal::windows::CtrlC,
    break_off: tokio::signal::windows::CtrlBreak,
}

#[cfg(windows)]
impl Interrupts {
    /// # Errors
    /// When the system refuses to tell of them.
    pub fn listen() -> Result<Interrupts, CommandError> {
        let failed = |error: std::io::Error| {
            CommandError::failed("failed to listen for signals").caused_by(error.to_string())
        };
        Ok(Interrupts {
            interrupt: tokio::signal::windows::ctrl_c().map_err(failed)?,
            break_off: tokio::signal::windows::ctrl_break().map_err(failed)?,
        })
    }

    /// The next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.break_off.recv() => {}
        }
    }
}
