//! One pull: the engine's progress lines, and the error that may come among them.

use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;

use super::failure;
use crate::engine::registry::Credentials;
use crate::engine::{EngineError, PullProgress, Result};
use crate::model::ImageRef;

/// Between two lines of progress. A registry that is asked for the first time, or a large layer
/// being unpacked, takes its time.
const IDLE: Duration = Duration::from_secs(180);

pub(super) async fn pull(
    docker: &Docker,
    host: &str,
    image: &ImageRef,
    platform: Option<&str>,
    credentials: Option<Credentials>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<()> {
    let (repository, tag) = image.repository_and_tag();
    let options = CreateImageOptions {
        from_image: Some(repository.to_owned()),
        tag: Some(tag.to_owned()),
        platform: platform.unwrap_or_default().to_owned(),
        ..CreateImageOptions::default()
    };
    let mut lines = docker.create_image(Some(options), None, credentials.map(lower));
    loop {
        let line = tokio::time::timeout(IDLE, lines.next()).await;
        match line {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(line))) => progress(step(line)),
            Ok(Some(Err(error))) => return Err(refusal(failure::of_request(host, error))),
            Err(_) => {
                return Err(EngineError::Unanswered {
                    why: format!("no progress within {} s", IDLE.as_secs()),
                });
            }
        }
    }
}

pub(super) fn lower(credentials: Credentials) -> DockerCredentials {
    let server = Some(credentials.server);
    match credentials.secret {
        crate::engine::registry::Secret::Password { username, password } => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: server,
            ..DockerCredentials::default()
        },
        crate::engine::registry::Secret::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token),
            serveraddress: server,
            ..DockerCredentials::default()
        },
    }
}

/// The engine answers a failed pull in its registry's words, whatever the status.
fn refusal(error: EngineError) -> EngineError {
    match error {
        EngineError::Refused { message, .. } => EngineError::Registry(message),
        other => other,
    }
}

fn step(line: CreateImageInfo) -> PullProgress {
    let detail = line.progress_detail.unwrap_or_default();
    let bytes = |count: Option<i64>| {
        count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default()
    };
    PullProgress {
        id: line.id.unwrap_or_default(),
        status: line.status.unwrap_or_default(),
        current_bytes: bytes(detail.current),
        total_bytes: bytes(detail.total),
    }
}
