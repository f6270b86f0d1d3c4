//! bollard's errors in our words, by what they prove: nothing was sent, something was sent, or
//! the engine answered.

use std::error::Error as StdError;
use std::io;

use bollard::errors::Error;

use crate::engine::EngineError;

/// What a failed request means. When in doubt, the request may have been carried out.
pub(super) fn of_request(host: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refused(host, status_code, message),
        Error::HyperLegacyError { err } if err.is_connect() => EngineError::Unreachable {
            host: host.to_owned(),
            why: root_cause(&err),
        },
        Error::SocketNotFoundError(_) => EngineError::Unreachable {
            host: host.to_owned(),
            why: "no such file or directory".to_owned(),
        },
        Error::JsonDataError { .. }
        | Error::StrParseError { .. }
        | Error::HttpHeaderNotFoundError(_)
        | Error::HttpHeaderToStrError { .. }
        | Error::Base64DecodeError { .. } => EngineError::Undecodable {
            why: error.to_string(),
        },
        // A document that ends too early is a reply that did not arrive whole.
        Error::JsonSerdeError { ref err } if !err.is_eof() => {
            EngineError::Undecodable { why: err.to_string() }
        }
        Error::HttpClientError { .. }
        | Error::URLEncodedError { .. }
        | Error::URLParseError { .. }
        | Error::InvalidURIError { .. }
        | Error::InvalidURIPartsError { .. } => EngineError::Invalid(error.to_string()),
        Error::DockerStreamError { error } => EngineError::Registry(error),
        other => EngineError::Unanswered {
            why: root_cause(&other),
        },
    }
}

fn refused(host: &str, status: u16, message: String) -> EngineError {
    // The engine was exchanged under us and its window of API versions moved: it looked at the
    // version and did nothing. As a refusal this would read as the verdict on a start request.
    let version_moved = message.contains("is too old. Minimum supported API version")
        || message.contains("is too new. Maximum supported API version");
    if status == 400 && version_moved {
        return EngineError::Unreachable {
            host: host.to_owned(),
            why: format!("it now speaks another API version ({message})"),
        };
    }
    let message = match message.trim() {
        "" => format!("HTTP status {status}"),
        text => text.to_owned(),
    };
    EngineError::Refused { status, message }
}

/// What a failure while the connection was being set up means: nothing of ours was sent yet.
pub(super) fn of_handshake(host: &str, error: Error) -> EngineError {
    let why = match of_request(host, error) {
        unreachable @ EngineError::Unreachable { .. } => return unreachable,
        EngineError::Refused { status, message } => {
            format!("it is not a container engine ({status}: {message})")
        }
        EngineError::Unanswered { why } if why.starts_with("invalid HTTP") => {
            format!("it does not speak HTTP ({why})")
        }
        EngineError::Unanswered { why } if why.starts_with("connection closed") => {
            "it closed the connection without an answer".to_owned()
        }
        EngineError::Undecodable { .. } => {
            "it speaks HTTP, and does not answer as a container engine does".to_owned()
        }
        other => other.to_string(),
    };
    EngineError::Unreachable {
        host: host.to_owned(),
        why,
    }
}

/// The innermost error, which says most; the operating system's in plain words.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => io_words(error),
        None => cause.to_string(),
    }
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> EngineError {
        let message = message.to_owned();
        of_request(
            "unix:///a",
            Error::DockerResponseServerError { status_code, message },
        )
    }

    #[test]
    fn an_answer_is_a_refusal() {
        let expected = EngineError::Refused {
            status: 409,
            message: "in use".to_owned(),
        };
        assert_eq!(answered(409, "in use"), expected);
        assert_eq!(answered(500, "").to_string(), "HTTP status 500");
    }

    #[test]
    fn a_moved_api_window_is_no_verdict() {
        let moved = answered(
            400,
            "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client",
        );
        assert!(moved.is_unreachable(), "{moved:?}");
    }

    #[test]
    fn in_doubt_it_may_have_been_carried_out() {
        let lost = of_request("unix:///a", Error::RequestTimeoutError);
        assert!(matches!(lost, EngineError::Unanswered { .. }));
        let cut = serde_json::from_str::<u8>("").unwrap_err();
        let cut = of_request("unix:///a", Error::JsonSerdeError { err: cut });
        assert!(matches!(cut, EngineError::Unanswered { .. }));
        let odd = serde_json::from_str::<u8>("\"a\"").unwrap_err();
        let odd = of_request("unix:///a", Error::JsonSerdeError { err: odd });
        assert!(matches!(odd, EngineError::Undecodable { .. }));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_systems_refusals_are_in_plain_words() {
        let words = |number: i32| io_words(&io::Error::from_raw_os_error(number));
        assert_eq!(words(13), "permission denied");
        assert_eq!(words(2), "no such file or directory");
        assert_eq!(words(111), "connection refused");
    }
}
