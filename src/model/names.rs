//! Names that are checked once, at the edge, and trusted from there on.
//!
//! bollard puts names into URLs as they are, so a name such as `../images/x` would reach another
//! endpoint: nothing that has not passed one of these types (or [`validate_container_ref`]) may
//! reach the engine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Slot;

/// Why a text is no valid name. Reads after "invalid …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {why}")]
pub struct InvalidName {
    pub what: &'static str,
    pub text: String,
    pub why: &'static str,
}

/// Docker refuses longer host names and Swarm longer service names; a container's name carries
/// instance, project, job and slot, so each part is kept well below 255.
const MAX_PART: usize = 63;

fn invalid(what: &'static str, text: &str, why: &'static str) -> InvalidName {
    // Control characters must not reach a terminal, and a hostile name may be megabytes long.
    let mut text: String = text.chars().take(80).flat_map(char::escape_default).collect();
    if text.is_empty() {
        text = String::from("(empty)");
    }
    InvalidName { what, text, why }
}

/// Compose's rule for project names (compose-go `NormalizeProjectName`): lower-case letters,
/// digits, `-` and `_`, beginning with a letter or a digit.
fn check_project(text: &str) -> Result<(), InvalidName> {
    let what = "project name";
    let mut chars = text.chars();
    match chars.next() {
        None => return Err(invalid(what, text, "it is empty")),
        Some(c) if c.is_ascii_lowercase() || c.is_ascii_digit() => {}
        Some(_) => {
            return Err(invalid(
                what,
                text,
                "it must begin with a lower-case letter or a digit",
            ));
        }
    }
    if !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_') {
        return Err(invalid(
            what,
            text,
            "only lower-case letters, digits, `-` and `_` are allowed",
        ));
    }
    if text.len() > MAX_PART {
        return Err(invalid(what, text, "it is longer than 63 characters"));
    }
    Ok(())
}

/// Compose's rule for keys under `services` and `jobs` (`[a-zA-Z0-9._-]+`), less the dot, which
/// separates the parts of a container's name.
fn check_key(what: &'static str, text: &str) -> Result<(), InvalidName> {
    match text.chars().next() {
        None => return Err(invalid(what, text, "it is empty")),
        Some(c) if c.is_ascii_alphanumeric() => {}
        Some(_) => return Err(invalid(what, text, "it must begin with a letter or a digit")),
    }
    if text.contains('.') {
        return Err(invalid(
            what,
            text,
            "a dot is not allowed: it separates the parts of a container's name",
        ));
    }
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return Err(invalid(
            what,
            text,
            "only letters, digits, `-` and `_` are allowed",
        ));
    }
    if text.len() > MAX_PART {
        return Err(invalid(what, text, "it is longer than 63 characters"));
    }
    Ok(())
}

/// A job's full name, `<project>.<job>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName {
    project: String,
    job: String,
}

impl JobName {
    /// # Errors
    /// When the project or the job is not a name that Compose (and a container's name) allows.
    pub fn new(project: &str, job: &str) -> Result<JobName, InvalidName> {
        check_project(project)?;
        check_key("job name", job)?;
        Ok(JobName {
            project: project.to_owned(),
            job: job.to_owned(),
        })
    }

    /// Checks a project's name alone, for a message that points at `name:`.
    ///
    /// # Errors
    /// As [`JobName::new`].
    pub fn check_project(project: &str) -> Result<(), InvalidName> {
        check_project(project)
    }

    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The short name: the key under `jobs:`.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.project, self.job))
    }
}

impl fmt::Debug for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project, self.job)
    }
}

impl FromStr for JobName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<JobName, InvalidName> {
        let (project, job) = text
            .split_once('.')
            .ok_or_else(|| invalid("job name", text, "a full job name is `<project>.<job>`"))?;
        JobName::new(project, job)
    }
}

impl TryFrom<String> for JobName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<JobName, InvalidName> {
        text.parse()
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> String {
        name.to_string()
    }
}

/// Whose containers these are. Two schedulers with two instance names on one engine never touch
/// each other's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instance(String);

impl Instance {
    pub const DEFAULT: &'static str = "default";

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What goes before a container's name: nothing for `default`, else `<instance>.`.
    #[must_use]
    pub fn prefix(&self) -> String {
        if self.0 == Self::DEFAULT {
            String::new()
        } else {
            format!("{}.", self.0)
        }
    }

    /// The volume on the engine that says which ledger this instance belongs to.
    #[must_use]
    pub fn lock_volume(&self) -> String {
        format!("docker-scheduler.{}", self.0)
    }
}

impl Default for Instance {
    fn default() -> Instance {
        Instance(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Instance {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Instance, InvalidName> {
        check_key("instance name", text)?;
        Ok(Instance(text.to_owned()))
    }
}

impl TryFrom<String> for Instance {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Instance, InvalidName> {
        text.parse()
    }
}

impl From<Instance> for String {
    fn from(instance: Instance) -> String {
        instance.0
    }
}

/// A container's name that the engine accepts: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// A run is known by the name of its container.
pub type RunId = ContainerName;

impl ContainerName {
    /// The name of the container that executes `attempt` of `slot`.
    #[must_use]
    pub fn of_slot(instance: &Instance, job: &JobName, slot: Slot, attempt: u32) -> ContainerName {
        let retry = if attempt == 0 {
            String::new()
        } else {
            format!(".r{attempt}")
        };
        ContainerName(format!("{}{job}.{}{retry}", instance.prefix(), slot.compact()))
    }

    /// The name of a manual run; `id` is unique and made of letters and digits.
    #[must_use]
    pub fn of_manual(instance: &Instance, job: &JobName, id: &str) -> ContainerName {
        ContainerName(format!("{}{job}.m-{id}", instance.prefix()))
    }

    /// The name of the one container that a job with `container: reuse` has.
    #[must_use]
    pub fn of_reused(instance: &Instance, job: &JobName) -> ContainerName {
        ContainerName(format!("{}{job}", instance.prefix()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ContainerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<ContainerName, InvalidName> {
        validate_container_ref(text)?;
        Ok(ContainerName(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<ContainerName, InvalidName> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> String {
        name.0
    }
}

/// Whether `text` may be put into a URL as a container's name or ID.
///
/// # Errors
/// When it is anything but `[a-zA-Z0-9][a-zA-Z0-9_.-]*` of at most 255 characters.
pub fn validate_container_ref(text: &str) -> Result<(), InvalidName> {
    let what = "container name";
    match text.chars().next() {
        None => return Err(invalid(what, text, "it is empty")),
        Some(c) if c.is_ascii_alphanumeric() => {}
        Some(_) => return Err(invalid(what, text, "it must begin with a letter or a digit")),
    }
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    {
        return Err(invalid(
            what,
            text,
            "only letters, digits, `_`, `.` and `-` are allowed",
        ));
    }
    if text.len() > 255 {
        return Err(invalid(what, text, "it is longer than 255 characters"));
    }
    Ok(())
}

/// An image reference: `[registry[:port]/]path[:tag][@digest]`, checked for the characters that
/// may stand in a URL's path, without resolving anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

impl ImageRef {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the reference pins its content (`@sha256:…`), so that a tag cannot move under it.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.0.contains('@') || self.0.starts_with("sha256:")
    }

    /// Repository and tag (or digest) as the pull endpoint wants them; the tag is `latest` when
    /// none is given, so that a pull never fetches every tag.
    #[must_use]
    pub fn repository_and_tag(&self) -> (&str, &str) {
        if let Some((repository, digest)) = self.0.split_once('@') {
            return (repository, digest);
        }
        let last_slash = self.0.rfind('/').map_or(0, |at| at + 1);
        match self.0[last_slash..].find(':') {
            Some(colon) => (&self.0[..last_slash + colon], &self.0[last_slash + colon + 1..]),
            None => (&self.0, "latest"),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ImageRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<ImageRef, InvalidName> {
        let what = "image reference";
        match text.chars().next() {
            None => return Err(invalid(what, text, "it is empty")),
            Some(c) if c.is_ascii_alphanumeric() => {}
            Some(_) => return Err(invalid(what, text, "it must begin with a letter or a digit")),
        }
        if !text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '@' | '+'))
        {
            return Err(invalid(
                what,
                text,
                "only letters, digits and `_ . - / : @ +` are allowed",
            ));
        }
        if text.contains("..") || text.contains("//") || text.ends_with(['/', ':', '@']) {
            return Err(invalid(what, text, "it has an empty part"));
        }
        let path = text.split(['@']).next().unwrap_or_default();
        let repository_start = path.find('/').map_or(0, |at| at + 1);
        if path[repository_start..]
            .split(':')
            .next()
            .is_some_and(|repo| repo.chars().any(|c| c.is_ascii_uppercase()))
        {
            return Err(invalid(what, text, "the repository must be lower-case"));
        }
        if text.len() > 255 {
            return Err(invalid(what, text, "it is longer than 255 characters"));
        }
        Ok(ImageRef(text.to_owned()))
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<ImageRef, InvalidName> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_has_two_parts_and_no_third_dot() {
        assert_eq!(
            "shop.nightly-backup".parse::<JobName>().unwrap().job(),
            "nightly-backup"
        );
        for bad in [
            "shop",
            "Shop.x",
            "shop.",
            ".x",
            "shop.a.b",
            "shop.a b",
            "sh op.a",
            "shop.-a",
            "shop./etc",
        ] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_container_reference_cannot_leave_its_endpoint() {
        for bad in [
            "../images/busybox:latest",
            "a/b",
            "",
            "-x",
            "a?b",
            "a%2e",
            "a\n",
            "ä",
        ] {
            assert!(validate_container_ref(bad).is_err(), "{bad:?}");
        }
        validate_container_ref("shop.backup.20261123T013000Z.r1").unwrap();
    }

    #[test]
    fn an_image_reference_splits_at_its_own_colon() {
        let of = |text: &str| {
            let image: ImageRef = text.parse().unwrap();
            let (repository, tag) = image.repository_and_tag();
            (repository.to_owned(), tag.to_owned())
        };
        assert_eq!(of("busybox"), ("busybox".into(), "latest".into()));
        assert_eq!(
            of("localhost:5000/a/b"),
            ("localhost:5000/a/b".into(), "latest".into())
        );
        assert_eq!(
            of("localhost:5000/a/b:1"),
            ("localhost:5000/a/b".into(), "1".into())
        );
        assert_eq!(of("a/b@sha256:00ff"), ("a/b".into(), "sha256:00ff".into()));
        for bad in ["", "../images/x", "a b", "a?b", "a//b", "a:", "Busybox", "x/../y"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_runs_are_a_pure_function_of_their_slot() {
        let job: JobName = "shop.backup".parse().unwrap();
        let slot: Slot = "2026-11-23T01:30:00Z".parse().unwrap();
        let default = Instance::default();
        assert_eq!(
            ContainerName::of_slot(&default, &job, slot, 0).as_str(),
            "shop.backup.20261123T013000Z"
        );
        assert_eq!(
            ContainerName::of_slot(&default, &job, slot, 1).as_str(),
            "shop.backup.20261123T013000Z.r1"
        );
        let other: Instance = "lab".parse().unwrap();
        assert_eq!(
            ContainerName::of_manual(&other, &job, "0a1b").as_str(),
            "lab.shop.backup.m-0a1b"
        );
    }
}
