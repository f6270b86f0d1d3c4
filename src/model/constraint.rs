//! Which nodes may run a job: `node.labels.disk==ssd`, as Swarm's scheduler has it.

use std::fmt;
use std::str::FromStr;

/// One condition on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub subject: Subject,
    /// `!=` instead of `==`.
    pub negated: bool,
    pub value: String,
}

/// What of a node is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Arch,
    NodeLabel(String),
    EngineLabel(String),
}

/// What a node may be asked for, for messages.
pub const SUBJECTS: &str = "`node.id`, `node.hostname`, `node.ip`, `node.role`, `node.platform.os`, \
                            `node.platform.arch`, `node.labels.NAME` and `engine.labels.NAME`";

impl FromStr for Constraint {
    type Err = String;

    fn from_str(text: &str) -> Result<Constraint, String> {
        let (subject, negated, value) = match (text.split_once("!="), text.split_once("==")) {
            (Some((subject, value)), _) => (subject, true, value),
            (None, Some((subject, value))) => (subject, false, value),
            (None, None) => return Err(format!("`{text}` has neither `==` nor `!=`")),
        };
        let (subject, value) = (subject.trim(), value.trim());
        let of_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | ' ');
        if value.is_empty() || !value.chars().all(of_value) {
            return Err(format!("`{value}` is no value that a node could have"));
        }
        let lower = subject.to_ascii_lowercase();
        let subject = match lower.as_str() {
            "node.id" => Subject::Id,
            "node.hostname" => Subject::Hostname,
            "node.ip" => Subject::Ip,
            "node.role" => Subject::Role,
            "node.platform.os" => Subject::Os,
            "node.platform.arch" => Subject::Arch,
            _ => {
                // Labels are told apart by case.
                let label = |prefix: &str| {
                    let name = lower.strip_prefix(prefix).map(|_| &subject[prefix.len()..]);
                    name.filter(|name| !name.is_empty()).map(str::to_owned)
                };
                match (label("node.labels."), label("engine.labels.")) {
                    (Some(name), _) => Subject::NodeLabel(name),
                    (None, Some(name)) => Subject::EngineLabel(name),
                    (None, None) => return Err(format!("a node has no `{subject}`")),
                }
            }
        };
        Ok(Constraint {
            subject,
            negated,
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Id => f.write_str("node.id"),
            Subject::Hostname => f.write_str("node.hostname"),
            Subject::Ip => f.write_str("node.ip"),
            Subject::Role => f.write_str("node.role"),
            Subject::Os => f.write_str("node.platform.os"),
            Subject::Arch => f.write_str("node.platform.arch"),
            Subject::NodeLabel(name) => write!(f, "node.labels.{name}"),
            Subject::EngineLabel(name) => write!(f, "engine.labels.{name}"),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negated { "!=" } else { "==" };
        write!(f, "{}{sign}{}", self.subject, self.value)
    }
}

impl Constraint {
    /// Whether a node meets it that has this there; case does not count (as in swarmkit), and a label
    /// that is not set is an empty text.
    #[must_use]
    pub fn is_met_by(&self, found: &str) -> bool {
        self.value.eq_ignore_ascii_case(found) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_swarm_takes_is_read_and_the_rest_is_refused() {
        for text in [
            "node.role==worker",
            "node.labels.Disk!=ssd",
            "node.platform.os==linux",
            "engine.labels.operatingsystem==debian 12",
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), text);
        }
        assert_eq!(
            " node.ROLE == worker ".parse::<Constraint>().unwrap().to_string(),
            "node.role==worker"
        );
        for bad in [
            "",
            "node.role=worker",
            "node.role==",
            "node.name==x",
            "node.labels.==x",
            "node.id==a\"b",
        ] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn case_does_not_count_and_a_missing_label_is_empty() {
        let is: Constraint = "node.labels.disk==SSD".parse().unwrap();
        assert!(is.is_met_by("ssd") && !is.is_met_by(""));
        let is_not: Constraint = "node.labels.disk!=ssd".parse().unwrap();
        assert!(is_not.is_met_by("") && !is_not.is_met_by("Ssd"));
    }
}
