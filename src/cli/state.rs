//! Where an instance keeps its ledger, and what the commands ask of it.

use std::path::{Path, PathBuf};

use crate::ledger::{Ledger, LedgerError};
use crate::model::Instance;
use crate::os;

use super::error::{CommandError, ErrorKind};
use super::settings::Settings;

/// Where root's state lies.
const SYSTEM: &str = "/var/lib/docker-scheduler";

/// Who runs this process, as far as folders depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub is_root: bool,
    pub home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
}

impl User {
    #[must_use]
    pub fn of_process() -> User {
        User {
            is_root: os::is_root(),
            home: std::env::home_dir(),
            state_home: std::env::var_os("XDG_STATE_HOME").map(PathBuf::from),
        }
    }
}

/// `<state>/<instance>`.
///
/// # Errors
/// When neither flag nor environment says where state goes.
pub fn folder(settings: &Settings, instance: &Instance, user: &User) -> Result<PathBuf, CommandError> {
    let state = match &settings.state {
        Some(state) => state.clone(),
        None => default_state(user)?,
    };
    Ok(state.join(instance.as_str()))
}

fn default_state(user: &User) -> Result<PathBuf, CommandError> {
    if user.is_root {
        return Ok(PathBuf::from(SYSTEM));
    }
    // The XDG specification: a relative path is to be ignored.
    let base = match user.state_home.as_ref().filter(|path| path.is_absolute()) {
        Some(path) => path.clone(),
        None => user
            .home
            .as_ref()
            .filter(|home| home.is_absolute())
            .map(|home| os::state_home(home))
            .ok_or_else(|| {
                CommandError::failed("there is no home directory for the ledger").hint("set `--state`")
            })?,
    };
    Ok(base.join("docker-scheduler"))
}

/// The ledger in that folder, for reading: `None` when nothing was ever applied.
///
/// # Errors
/// When it cannot be read.
pub fn existing(folder: &Path) -> Result<Option<Ledger>, CommandError> {
    Ledger::open_existing(folder).map_err(|error| of_ledger("open the ledger", &error))
}

/// An error of the ledger while doing `what`.
#[must_use]
pub fn of_ledger(what: &str, error: &LedgerError) -> CommandError {
    let failed = CommandError::failed(format!("failed to {what}")).caused_by(error.to_string());
    match error {
        LedgerError::Locked { .. } | LedgerError::OtherEngine { .. } => failed.with_kind(ErrorKind::Refused),
        _ if error.is_permission_denied() => {
            failed.hint(
                "it belongs to another user, or its file system is read-only: run this as that user, or set `--state`",
            )
        }
        _ => failed,
    }
}

/// Who calls this command, for the record: the person behind `sudo` rather than root.
#[must_use]
pub fn who() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| is_user_name(text));
    ["SUDO_USER", "USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(variable)
        .unwrap_or_else(os::user)
}

/// The record is read by others: a name and nothing else.
fn is_user_name(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '\\' | '$');
    !text.is_empty() && text.chars().count() <= 64 && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_is_recorded_as_one() {
        assert!(is_user_name("alice") && is_user_name("a.b-c_d"));
        for bad in ["", "a b", "x\nfailed", &"x".repeat(65)] {
            assert!(!is_user_name(bad), "{bad:?}");
        }
    }

    fn folder_of(user: &User, state: Option<&str>) -> Result<String, CommandError> {
        let settings = Settings {
            state: state.map(PathBuf::from),
            ..Settings::default()
        };
        folder(&settings, &"blue".parse().unwrap(), user).map(|path| path.display().to_string())
    }

    #[test]
    fn the_state_folder_depends_on_who_asks() {
        let root = User {
            is_root: true,
            ..User::default()
        };
        let me = User {
            home: Some("/home/me".into()),
            ..User::default()
        };
        let xdg = User {
            state_home: Some("/s".into()),
            ..me.clone()
        };
        let relative = User {
            state_home: Some("s".into()),
            ..me.clone()
        };
        assert_eq!(folder_of(&root, None).unwrap(), "/var/lib/docker-scheduler/blue");
        assert_eq!(
            folder_of(&me, None).unwrap(),
            "/home/me/.local/state/docker-scheduler/blue"
        );
        assert_eq!(folder_of(&xdg, None).unwrap(), "/s/docker-scheduler/blue");
        assert_eq!(folder_of(&relative, None), folder_of(&me, None));
        assert_eq!(folder_of(&root, Some("/x")).unwrap(), "/x/blue");
        assert!(folder_of(&User::default(), None).is_err());
    }
}
