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

/// Ctrl-C.
#[cfg(not(unix))]
pub struct Interrupts;

#[cfg(not(unix))]
impl Interrupts {
    /// # Errors
    /// Never.
    pub fn listen() -> Result<Interrupts, CommandError> {
        Ok(Interrupts)
    }

    /// The next of them; never, where the system cannot tell.
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
