//! An engine on another machine, reached as the docker CLI reaches it: `ssh HOST docker system
//! dial-stdio` carries one connection each.
//!
//! bollard speaks to a door of our own ([`door`]), and each connection that it makes there is carried by an
//! `ssh` process. `ssh` reads its own configuration, so keys, jump hosts and shared connections
//! (`ControlMaster`) are set up there; it is never allowed to ask a question.

use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::engine::context::{Endpoint, Remote};

use door::{Address, Door};

/// What `ssh` says of a failure is a line or two.
const MAX_WORDS: u64 = 4096;

/// The way to one remote engine; its connections end with it.
pub(super) struct Tunnel {
    address: Address,
    said: Arc<Mutex<String>>,
    listener: JoinHandle<()>,
}

impl Tunnel {
    /// Listens at a door of our own; `ssh` is started at the first connection.
    ///
    /// # Errors
    /// When the door cannot be made.
    pub fn open(remote: &Remote) -> io::Result<Tunnel> {
        let (door, address) = door::open(&remote.scratch)?;
        let said = Arc::new(Mutex::new(String::new()));
        let listener = tokio::spawn(listen(door, arguments(remote), said.clone()));
        Ok(Tunnel {
            address,
            said,
            listener,
        })
    }

    /// What bollard connects to.
    pub fn endpoint(&self) -> Endpoint {
        self.address.endpoint()
    }

    /// What `ssh` said last, when it could not do its work.
    pub fn words(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (!said.is_empty()).then(|| said.clone())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// A socket in a folder that nobody else may enter: whoever can connect to it is root on the remote machine.
#[cfg(unix)]
mod door {
    use std::fs::DirBuilder;
    use std::io;
    use std::os::unix::fs::DirBuilderExt as _;
    use std::path::{Path, PathBuf};

    use tokio::net::{UnixListener, UnixStream};

    use crate::engine::context::Endpoint;

    pub struct Door(UnixListener);

    /// Removed when dropped.
    pub struct Address(PathBuf);

    pub fn open(scratch: &Path) -> io::Result<(Door, Address)> {
        let name = format!("docker-scheduler-ssh-{}", uuid::Uuid::new_v4().simple());
        let folder = scratch.join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let address = Address(folder);
        let listener = UnixListener::bind(address.socket())?;
        Ok((Door(listener), address))
    }

    impl Door {
        pub async fn accept(&mut self) -> io::Result<UnixStream> {
            self.0.accept().await.map(|(stream, _)| stream)
        }
    }

    impl Address {
        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }

        pub fn endpoint(&self) -> Endpoint {
            Endpoint::unix(self.socket())
        }
    }

    /// A folder that stays behind holds a dead socket and harms nobody.
    impl Drop for Address {
        fn drop(&mut self) {
            drop(std::fs::remove_file(self.socket()));
            drop(std::fs::remove_dir(&self.0));
        }
    }
}

/// A named pipe. As the system makes it, only this user and the system's own may write to it, and it is
/// closed to other machines.
#[cfg(windows)]
mod door {
    use std::io;
    use std::path::Path;

    use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

    use crate::engine::context::Endpoint;

    pub struct Door {
        name: String,
        /// Waits for the next connection: there is always one, so that nobody else can take the name.
        next: NamedPipeServer,
    }

    pub struct Address(String);

    pub fn open(_scratch: &Path) -> io::Result<(Door, Address)> {
        let name = format!(r"\\.\pipe\docker-scheduler-ssh-{}", uuid::Uuid::new_v4().simple());
        let next = ServerOptions::new().first_pipe_instance(true).create(&name)?;
        let address = Address(name.clone());
        Ok((Door { name, next }, address))
    }

    impl Door {
        pub async fn accept(&mut self) -> io::Result<NamedPipeServer> {
            self.next.connect().await?;
            let next = ServerOptions::new().create(&self.name)?;
            Ok(std::mem::replace(&mut self.next, next))
        }
    }

    impl Address {
        pub fn endpoint(&self) -> Endpoint {
            Endpoint::named_pipe(&self.0)
        }
    }
}

fn arguments(remote: &Remote) -> Vec<String> {
    let Remote {
        user,
        host,
        port,
        socket,
        scratch: _,
    } = remote;
    let mut arguments: Vec<String> = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-T"]
        .map(str::to_owned)
        .to_vec();
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), host.clone(), "docker".to_owned()]);
    if let Some(socket) = socket {
        arguments.extend(["--host".to_owned(), format!("unix://{socket}")]);
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    arguments
}

async fn listen(mut door: Door, arguments: Vec<String>, said: Arc<Mutex<String>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept() => match accepted {
                Ok(stream) => {
                    connections.spawn(carry(stream, arguments.clone(), said.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    return;
                }
            },
            // What has ended is let go of.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until either side ends it.
async fn carry<S>(stream: S, arguments: Vec<String>, said: Arc<Mutex<String>>)
where
    S: AsyncRead + AsyncWrite,
{
    let say = |words: String| *said.lock().unwrap_or_else(PoisonError::into_inner) = words;
    let spawned = Command::new("ssh")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return say(format!("cannot start `ssh`: {error}")),
    };
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return;
    };
    let (mut from, mut to) = tokio::io::split(stream);
    let upwards = copy(&mut from, &mut stdin);
    let mut downwards = pin!(async {
        let mut words = Vec::new();
        let mut stderr = stderr.take(MAX_WORDS);
        // A side that went away ends the connection, and needs no reason.
        let (carried, _) = tokio::join!(copy(&mut stdout, &mut to), stderr.read_to_end(&mut words));
        let nothing_came = matches!(carried, Ok(0));
        if nothing_came {
            say(String::from_utf8_lossy(&words).trim().to_owned());
        } else {
            say(String::new());
        }
        drop(to.shutdown().await);
    });
    let ended = tokio::select! {
        ended = upwards => ended.map(drop),
        () = &mut downwards => Ok(()),
    };
    if ended.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // `ssh` takes no more: it has ended, and what it said of that comes first.
        downwards.await;
    }
    drop(child.kill().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_called_as_the_docker_cli_calls_it() {
        let remote = Remote {
            user: Some("me".into()),
            host: "build.lan".into(),
            port: Some(2222),
            socket: Some("/run/user/1000/docker.sock".into()),
            scratch: "/tmp".into(),
        };
        assert_eq!(
            arguments(&remote).join(" "),
            "-o BatchMode=yes -o ConnectTimeout=15 -T -l me -p 2222 -- build.lan \
             docker --host unix:///run/user/1000/docker.sock system dial-stdio"
        );
    }
}
