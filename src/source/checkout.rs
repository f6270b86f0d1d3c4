//! A directory of manifests that is the working copy of a branch somewhere else, kept by the installed `git`.
//!
//! The working copy stays at one place, so that what jobs mount of it has the same path after each commit.
//! It is moved to another commit while nobody reads it ([`Checkout::reading`]): a checkout under way would
//! look as if files had been deleted. No hook of the repository runs, and no question is asked.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::os;

/// A repository that takes longer than this to send one commit is as good as away.
const PATIENCE: Duration = Duration::from_secs(300);

/// `URL[#BRANCH[:DIR]]`
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    url: String,
    /// `None`: what the repository itself has checked out.
    branch: Option<String>,
    /// The folder of manifests in it.
    dir: PathBuf,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Remote, String> {
        let (url, rest) = text.split_once('#').unwrap_or((text, ""));
        let (branch, dir) = rest.split_once(':').unwrap_or((rest, ""));
        let is_word =
            |text: &str| !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if url.is_empty() || !is_word(url) {
            return Err(
                "the URL of a repository is missing; write URL, URL#BRANCH or URL#BRANCH:DIR".to_owned(),
            );
        }
        if !is_word(branch) || branch.contains("..") {
            return Err("this is not the name of a branch".to_owned());
        }
        let dir = Path::new(dir);
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !dir.components().all(inside) {
            return Err("the folder of manifests is a path within the repository".to_owned());
        }
        Ok(Remote {
            url: url.to_owned(),
            branch: (!branch.is_empty()).then(|| branch.to_owned()),
            dir: dir.to_owned(),
        })
    }
}

impl Remote {
    /// A path of this machine counts from where the command runs; git reads it in the working copy.
    #[must_use]
    pub fn seen_from_here(mut self) -> Remote {
        let is_path =
            !self.url.contains("://") && !self.url.split('/').next().unwrap_or_default().contains(':');
        if is_path && let Ok(absolute) = std::path::absolute(&self.url) {
            // A path that is no text cannot have been written here.
            if let Some(text) = absolute.to_str() {
                text.clone_into(&mut self.url);
            }
        }
        self
    }

    /// `user:password` of the URL.
    fn credentials(&self) -> Option<&str> {
        let (_, rest) = self.url.split_once("://")?;
        let host = rest.split('/').next().unwrap_or_default();
        host.rsplit_once('@').map(|(credentials, _)| credentials)
    }

    /// A text of git's without the URL's credentials.
    fn masked(&self, text: &str) -> String {
        match self.credentials() {
            Some(credentials) => text.replace(&format!("{credentials}@"), ""),
            None => text.to_owned(),
        }
    }
}

/// As it was written, without credentials.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked(&self.url))?;
        if let Some(branch) = &self.branch {
            write!(f, "#{branch}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({self}:{})", self.dir.display())
    }
}

/// Why a pull came to nothing; what was pulled before is still there.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("`git` is not installed")]
    NoGit,
    #[error("cannot run `git`: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Git(String),
    #[error("`git` took longer than {} s", PATIENCE.as_secs())]
    TooLong,
}

/// What a pull found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Full ID of the commit that is checked out now.
    pub commit: String,
    /// It is another one than before.
    pub is_new: bool,
}

/// The working copy of a remote branch.
#[derive(Debug, Clone)]
pub struct Checkout {
    remote: Remote,
    folder: PathBuf,
    quiet: Arc<Mutex<()>>,
}

impl Checkout {
    /// In a folder of its own below `base`.
    #[must_use]
    pub fn new(remote: Remote, base: &Path) -> Checkout {
        let mut hash = Sha256::new();
        hash.update(&remote.url);
        hash.update([0]);
        hash.update(remote.branch.as_deref().unwrap_or_default());
        let name = hex::encode(&hash.finalize()[..8]);
        Checkout {
            folder: base.join(name),
            remote,
            quiet: Arc::default(),
        }
    }

    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where its manifests are.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.folder.join(&self.remote.dir)
    }

    /// Whether an earlier pull left something to go on with.
    pub async fn is_there(&self) -> bool {
        // A repository that was only just made has no commit.
        let head = ["rev-parse", "--quiet", "--verify", "HEAD"];
        self.manifests().is_dir() && self.git(&head).await.is_ok()
    }

    /// Nothing is moved while this is held.
    pub fn reading(&self) -> MutexGuard<'_, ()> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the newest commit of the branch, and checks it out.
    ///
    /// # Errors
    /// When there is no git, or it fails.
    pub async fn pull(&self) -> Result<Pulled, PullError> {
        if !self.folder.join(".git").is_dir() {
            // What lies in it may be as private as the repository.
            os::private_dir(&self.folder)?;
            self.git(&["init", "--quiet", "--template="]).await?;
        }
        let branch = self.remote.branch.as_deref().unwrap_or("HEAD");
        self.git(&[
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--end-of-options",
            &self.remote.url,
            branch,
        ])
        .await?;
        let before = self.git(&["rev-parse", "--quiet", "--verify", "HEAD"]).await.ok();
        let commit = self
            .git(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])
            .await?;
        let (of, to) = (self.clone(), commit.clone());
        let moved = tokio::task::spawn_blocking(move || of.check_out(&to));
        moved.await.map_err(io::Error::other)??;
        Ok(Pulled {
            is_new: before.as_deref() != Some(commit.as_str()),
            commit,
        })
    }

    /// Also puts back what somebody changed by hand.
    fn check_out(&self, commit: &str) -> Result<(), PullError> {
        let mut command = std::process::Command::new("git");
        prepared(&mut command, &self.folder).args(["reset", "--quiet", "--hard", commit]);
        let _quiet = self.reading();
        self.answer(command.output())?;
        Ok(())
    }

    async fn git(&self, arguments: &[&str]) -> Result<String, PullError> {
        let mut command = std::process::Command::new("git");
        prepared(&mut command, &self.folder).args(arguments);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output();
        match tokio::time::timeout(PATIENCE, output).await {
            Ok(output) => self.answer(output),
            Err(_) => Err(PullError::TooLong),
        }
    }

    /// What it printed, or its last words.
    fn answer(&self, output: io::Result<std::process::Output>) -> Result<String, PullError> {
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PullError::NoGit,
            _ => PullError::Io(error),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let words = lines.join("; ");
        let words = if words.is_empty() {
            format!("`git` ended with {}", output.status)
        } else {
            words
        };
        Err(PullError::Git(self.remote.masked(&words)))
    }
}

/// Without hooks, helpers that run a command of the URL's, questions, and another repository's variables.
fn prepared<'c>(command: &'c mut std::process::Command, folder: &Path) -> &'c mut std::process::Command {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_ASKPASS"] {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .arg("-c")
        .arg(format!("core.hooksPath={}", os::NOTHING))
        .args(["-c", "protocol.ext.allow=never"])
        .args(["-c", "core.sshCommand=ssh -o BatchMode=yes", "-c", "gc.auto=0"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_a_url_a_branch_and_a_folder() {
        let parts = |text: &str| {
            let remote: Remote = text.parse().unwrap();
            (remote.url, remote.branch.unwrap_or_default(), remote.dir)
        };
        let of = |url: &str, branch: &str, dir: &str| (url.to_owned(), branch.to_owned(), PathBuf::from(dir));
        assert_eq!(parts("https://x/y.git"), of("https://x/y.git", "", ""));
        assert_eq!(parts("https://x/y.git#main"), of("https://x/y.git", "main", ""));
        assert_eq!(
            parts("git@x:y.git#a/b:jobs/all"),
            of("git@x:y.git", "a/b", "jobs/all")
        );
        assert_eq!(parts("/srv/y.git#:jobs"), of("/srv/y.git", "", "jobs"));
        for text in [
            "",
            "#main",
            "-u",
            "x#-b",
            "x#a b",
            "x#a..b",
            "x#main:/etc",
            "x#main:a/../..",
            "x\n",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_path_is_seen_from_where_the_command_runs() {
        let seen = |text: &str| text.parse::<Remote>().unwrap().seen_from_here().url;
        let here = std::env::current_dir().unwrap();
        let of = |path: &str| here.join(path).to_str().unwrap().to_owned();
        assert_eq!(seen("shop.git#main:jobs"), of("shop.git"));
        assert_eq!(seen("./a:b/shop"), of("a:b/shop"));
        for url in [
            "/srv/y.git",
            "https://x/y.git",
            "git@x:y.git",
            "x:y/z",
            "file:///srv/y",
        ] {
            assert_eq!(seen(url), url);
        }
    }

    #[test]
    fn credentials_of_the_url_are_shown_nowhere() {
        let remote: Remote = "https://me:hunter2@example.com/y.git#main".parse().unwrap();
        let said = "fatal: Authentication failed for 'https://me:hunter2@example.com/y.git/'";
        for text in [format!("{remote} {remote:?}"), remote.masked(said)] {
            assert!(
                !text.contains("hunter2") && text.contains("example.com"),
                "{text}"
            );
        }
    }
}
