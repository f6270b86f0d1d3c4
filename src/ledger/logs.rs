//! Where the output of each run is kept, beside the database, and the form it is kept in.
//!
//! One line of the file is one line of output: the engine's time stamp, a letter for the stream
//! (`o`, `e`), and the bytes as they were. A capital letter marks a last line without a newline.
//! What is written there, and when, is the affair of `apply`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::model::RunId;

use super::{Ledger, files};

use crate::os;

impl Ledger {
    /// The file of a run's log; it exists once its log was captured.
    #[must_use]
    pub fn log_path(&self, run: &RunId) -> PathBuf {
        // A run's name has passed the engine's rule for names, which knows no `/`.
        self.dir.join(files::LOGS).join(format!("{run}.log"))
    }
}

/// Which of its two outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// One line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// As the engine stamped it.
    pub at: Timestamp,
    pub output: Output,
    /// Without its newline.
    pub text: Vec<u8>,
    /// Whether a newline followed: a last line may have none.
    pub ended: bool,
}

/// Writes what the engine sends with time stamps. The file appears under its name only when it is
/// whole.
pub struct LogWriter {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    stdout: Pending,
    stderr: Pending,
    bytes: u64,
}

/// The beginning of a line whose end has not come yet.
#[derive(Default)]
struct Pending {
    stamp: Vec<u8>,
    text: Vec<u8>,
    /// Reading the time stamp of a new line, or of a further piece of one.
    in_stamp: bool,
    begun: bool,
}

impl LogWriter {
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<LogWriter> {
        let partial = path.with_extension("partial");
        let file = os::draft(&partial)?;
        Ok(LogWriter {
            path: path.to_owned(),
            partial,
            file: BufWriter::new(file),
            stdout: Pending::default(),
            stderr: Pending::default(),
            bytes: 0,
        })
    }

    /// Takes one message of the engine's stream. Each begins with a time stamp, also a further
    /// piece of a line longer than 16 KiB.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, output: Output, message: &[u8]) -> io::Result<()> {
        let (pending, letter) = match output {
            Output::Stdout => (&mut self.stdout, b'o'),
            Output::Stderr => (&mut self.stderr, b'e'),
        };
        pending.in_stamp = true;
        for &byte in message {
            match (pending.in_stamp, byte) {
                (true, b' ') => pending.in_stamp = false,
                (true, b'\n') => {} // an empty line may come without the blank
                (true, _) if !pending.begun => pending.stamp.push(byte),
                (true, _) => {}
                (false, b'\n') => {}
                (false, _) => pending.text.push(byte),
            }
            if byte == b'\n' {
                self.bytes += pending.flush(&mut self.file, letter)?;
                pending.in_stamp = true;
            }
        }
        pending.begun = !pending.stamp.is_empty();
        Ok(())
    }

    /// Lets readers of the unfinished file see what was written so far.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// How much was written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes + (self.stdout.text.len() + self.stderr.text.len()) as u64
    }

    /// Writes last lines without a newline and puts the file in its place, durably.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        for (pending, letter) in [(&mut self.stdout, b'O'), (&mut self.stderr, b'E')] {
            if !pending.stamp.is_empty() {
                pending.flush(&mut self.file, letter)?;
            }
        }
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.partial, &self.path)
    }
}

impl Pending {
    fn flush(&mut self, file: &mut impl Write, letter: u8) -> io::Result<u64> {
        let mut line = std::mem::take(&mut self.stamp);
        line.extend([b' ', letter, b' ']);
        line.append(&mut self.text);
        line.push(b'\n');
        self.begun = false;
        file.write_all(&line)?;
        Ok(line.len() as u64)
    }
}

/// A captured log, line by line.
///
/// # Errors
/// When there is none, or it cannot be read; a damaged line is an error of kind `InvalidData`.
pub fn read_log(path: &Path) -> io::Result<impl Iterator<Item = io::Result<LogLine>>> {
    let file = BufReader::new(File::open(path)?);
    Ok(file.split(b'\n').map(|line| parse(&line?)))
}

fn parse(line: &[u8]) -> io::Result<LogLine> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged line in a captured log");
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (stamp, letter) = (
        parts.next().ok_or_else(damaged)?,
        parts.next().ok_or_else(damaged)?,
    );
    let at = std::str::from_utf8(stamp)
        .ok()
        .and_then(|stamp| stamp.parse().ok())
        .ok_or_else(damaged)?;
    let (output, ended) = match letter {
        b"o" => (Output::Stdout, true),
        b"O" => (Output::Stdout, false),
        b"e" => (Output::Stderr, true),
        b"E" => (Output::Stderr, false),
        _ => return Err(damaged()),
    };
    Ok(LogLine {
        at,
        output,
        text: parts.next().unwrap_or_default().to_vec(),
        ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(messages: &[(Output, &[u8])]) -> Vec<LogLine> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut writer = LogWriter::create(&path).unwrap();
        for (output, message) in messages {
            writer.write(*output, message).unwrap();
        }
        assert!(!path.exists(), "the file appears only when it is whole");
        writer.finish().unwrap();
        read_log(&path).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_in_pieces_is_one_line_and_the_last_may_lack_its_end() {
        let lines = round_trip(&[
            (Output::Stdout, b"2026-11-22T21:00:00.000000001Z one\n"),
            (Output::Stdout, b"2026-11-22T21:00:01Z long "),
            (Output::Stderr, b"2026-11-22T21:00:01Z oops\n"),
            (Output::Stdout, b"2026-11-22T21:00:02Z line\n"),
            (Output::Stdout, b"2026-11-22T21:00:03Z \n"),
            (Output::Stdout, b"2026-11-22T21:00:04Z end"),
        ]);
        let texts: Vec<_> = lines
            .iter()
            .map(|line| (String::from_utf8_lossy(&line.text).into_owned(), line.ended))
            .collect();
        let expected = [
            ("one", true),
            ("oops", true),
            ("long line", true),
            ("", true),
            ("end", false),
        ];
        assert_eq!(texts, expected.map(|(text, ended)| (text.to_owned(), ended)));
        assert_eq!(lines[1].output, Output::Stderr);
        assert_eq!(lines[2].at, "2026-11-22T21:00:01Z".parse().unwrap());
    }

    #[test]
    fn bytes_stay_as_they_are_and_a_damaged_line_is_an_error() {
        let lines = round_trip(&[(Output::Stdout, b"2026-11-22T21:00:00Z \xff\x00 \r x\n")]);
        assert_eq!(lines[0].text, b"\xff\x00 \r x");
        assert!(parse(b"2026-11-22T21:00:00Z x hello").is_err());
        assert!(parse(b"hello o hello").is_err());
    }
}
