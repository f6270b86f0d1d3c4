//! Everything that an import or an export could not carry over, each at its place in what was read.
//!
//! Errors are entries that became nothing; warnings are parts that a job lacks, or that are no longer
//! quite what they were. Nothing is left out, however long the list gets.

use std::ops::Range;

use crate::manifest::Diagnostic;
use crate::manifest::reader::{Sink, code};

/// Collects the findings of one file.
pub(crate) struct Report<'f> {
    sink: Sink<'f>,
    text: &'f str,
    /// Bytes before the text that spans count from: a document in the middle of a file.
    pub base: usize,
    /// That times name no zone was said, or need not be.
    pub zone_was_said: bool,
    /// Who a job without a user runs as was said.
    pub user_was_said: bool,
}

impl<'f> Report<'f> {
    pub fn new(file: &'f str, text: &'f str) -> Report<'f> {
        Report {
            sink: Sink::whole(file, text),
            text,
            base: 0,
            zone_was_said: false,
            user_was_said: false,
        }
    }

    /// An entry that becomes no job.
    pub fn refused(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.shifted(span);
        self.sink.error(code::NOT_CARRIED_OVER, span, message)
    }

    /// A part that the job lacks.
    pub fn lost(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.shifted(span);
        self.sink.warning(code::LOST, span, message)
    }

    /// A part that is not quite what it was.
    pub fn changed(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.shifted(span);
        self.sink.warning(code::CHANGED, span, message)
    }

    pub fn advice(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.shifted(span);
        self.sink.warning(code::ADVICE, span, message)
    }

    /// The file as a whole.
    pub fn unreadable(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.sink.file_error(code::FILE, message)
    }

    /// The 1-based line of a place.
    pub fn line_of(&self, byte: usize) -> u32 {
        self.sink.line_of(self.base + byte)
    }

    /// Findings that a reader of a part of the text made, put at their place in the whole.
    pub fn take_over(&mut self, found: Vec<Diagnostic>) {
        for diagnostic in found {
            let span = diagnostic.span.clone().unwrap_or(0..0);
            let taken = self.lost(span, diagnostic.message);
            taken.code = diagnostic.code;
            taken.severity = diagnostic.severity;
            taken.label = diagnostic.label;
            taken.help = diagnostic.help;
        }
    }

    /// In the order of the text. A line that seems to hold a secret is named, and not shown.
    pub fn finish(self) -> Vec<Diagnostic> {
        let text = self.text;
        let mut found = self.sink.finish();
        for diagnostic in &mut found {
            let line = diagnostic
                .span
                .clone()
                .and_then(|span| line_around(text, span.start));
            if line.is_some_and(holds_secret) {
                diagnostic.span = None;
            }
        }
        found
    }

    fn shifted(&self, span: Range<usize>) -> Range<usize> {
        span.start + self.base..span.end + self.base
    }
}

fn line_around(text: &str, at: usize) -> Option<&str> {
    let (before, after) = text.split_at_checked(at)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = at + after.find('\n').unwrap_or(after.len());
    text.get(start..end)
}

/// Whether a variable or a flag of that name is likely to hold a secret.
pub(crate) fn names_secret(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "PWD",
        "SECRET",
        "TOKEN",
        "APIKEY",
        "API_KEY",
        "CREDENTIAL",
        "WEBHOOK",
        "AUTHORIZATION",
        "BEARER",
    ];
    let name = name.to_ascii_uppercase().replace('-', "_");
    // The shell's own PWD is a folder, and a file that holds a secret is no secret.
    name != "PWD"
        && name != "OLDPWD"
        && !name.ends_with("_FILE")
        && (PARTS.iter().any(|part| name.contains(part))
            || name.ends_with("_KEY")
            || name.ends_with("PASS")
            || name == "PW"
            || name.ends_with("_PW"))
}

/// Whether a line gives a value to such a name, or shows one in a way that programs are given secrets.
fn holds_secret(line: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_given = line.match_indices(['=', ':']).any(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'', ' ']);
        let start = before
            .rfind(|c| !is_name(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        names_secret(&before[start..])
    });
    is_given || url_has_login(line) || words_hold_secret(line)
}

/// `scheme://user:password@host`, or a token alone.
fn url_has_login(line: &str) -> bool {
    line.match_indices("://").any(|(at, mark)| {
        let rest = &line[at + mark.len()..];
        let host = rest
            .split(['/', ' ', '\t', '"', '\'', ','])
            .next()
            .unwrap_or_default();
        host.contains('@')
    })
}

/// `--password hunter2`, `mysql -phunter2`, `curl -u bob:hunter2`, `docker login -p hunter2`, `Bearer …`.
fn words_hold_secret(line: &str) -> bool {
    // Programs, and how the flag begins by which they are given a secret.
    const FLAGS: [(&str, &[&str]); 16] = [
        ("mysql", &["-p"]),
        ("mariadb", &["-p"]),
        ("sshpass", &["-p"]),
        ("login", &["-p"]),
        ("7z", &["-p"]),
        ("curl", &["-u", "--user", "-b", "--cookie"]),
        ("wget", &["--user"]),
        ("http", &["-a"]),
        ("lftp", &["-u"]),
        ("redis-cli", &["-a"]),
        ("smbclient", &["-U"]),
        ("ldap", &["-w"]),
        ("ipmitool", &["-P"]),
        ("zip", &["-P"]),
        ("openssl", &["-k", "-pass"]),
        ("sudo", &["-S"]),
    ];
    let flags: Vec<&str> = (FLAGS.iter())
        .filter(|(program, _)| line.contains(program))
        .flat_map(|(_, flags)| flags.iter().copied())
        .collect();
    line.split([' ', '\t', '"', '\'', ',', '[', ']']).any(|word| {
        let flag = word.strip_prefix("--").or(word.strip_prefix('-'));
        flag.is_some_and(names_secret)
            || word.eq_ignore_ascii_case("bearer")
            || flags.iter().any(|flag| word.starts_with(flag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_secret_is_named_and_not_shown() {
        let text = "A=1\nDB_PASSWORD=hunter2\n";
        let mut report = Report::new("crontab", text);
        report.lost(0..1, "a");
        report.lost(4..5, "b");
        let found = report.finish();
        assert_eq!(found[0].span, Some(0..1));
        assert_eq!((found[1].span.clone(), found[1].line), (None, 2));
    }

    #[test]
    fn names_of_secrets() {
        for name in [
            "DB_PASSWORD",
            "token",
            "AWS_SECRET_ACCESS_KEY",
            "RESTIC_PASSWORD",
            "SSH_KEY",
        ] {
            assert!(names_secret(name), "{name}");
        }
        for name in ["PWD", "POSTGRES_PASSWORD_FILE", "KEYBOARD", "PATH", ""] {
            assert!(!names_secret(name), "{name}");
        }
        assert!(holds_secret("* * * * * docker run -e API_TOKEN=x y"));
        assert!(holds_secret("      - name: \"DB_PASSWORD\" : x"));
        assert!(!holds_secret("PATH=/bin"));
        for line in [
            "slack-webhook = https://hooks.example.org/T0/B0/x",
            "docker exec -e PASS=hunter2 db x > /y",
            "docker exec -e DATABASE_URL=postgres://u:hunter2@h/d db x > /y",
            "psql postgres://u:hunter2@h/db",
            "git clone https://token@example.org/x",
            "curl -u bob:hunter2 https://example.org",
            "curl -H 'Authorization: Bearer hunter2' x",
            "docker login -p hunter2",
            "redis-cli -a hunter2 save",
            "curl -H \"X-Api-Key: hunter2\" https://example.org",
            "lftp -u user,hunter2 ftp://example.org",
            "docker exec -e PW=hunter2 c sh -c x",
            "zip -P hunter2 a.zip a",
            "mysql -phunter2 shop",
            "docker run mysql mysqldump --password hunter2",
            r#"command: ["mysqldump", "--password", "hunter2"]"#,
        ] {
            assert!(holds_secret(line), "{line}");
        }
        for line in [
            "docker run -p 8080:80 -u 1000:1000 web > /log",
            "*/5 * * * * mailx ops@example.org",
            "see https://example.org/a@b",
            "docker run --user www-data app",
        ] {
            assert!(!holds_secret(line), "{line}");
        }
    }

    #[test]
    fn nothing_is_left_out() {
        let text = "x\n".repeat(500);
        let mut report = Report::new("crontab", &text);
        for line in 0..500 {
            report.lost(2 * line..2 * line + 1, format!("{line}"));
        }
        assert_eq!(report.finish().len(), 500);
    }
}
