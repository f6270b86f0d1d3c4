//! The image of a launch: had already, or pulled; and pulled once more before the slot.

use std::time::Duration;

use super::{ApplyError, Context, LaneReport};
use crate::engine::EngineError;
use crate::event::What;
use crate::model::{ContainerSpec, PullPolicy};
use crate::plan::Launch;

/// Asks the registry once more, shortly before a slot: its container was made long ago. A failed pull
/// runs what is armed.
pub(super) async fn refresh(
    context: &Context,
    launch: &Launch,
    report: &mut LaneReport,
) -> Result<(), ApplyError> {
    match pull_aloud(context, launch).await? {
        Ok(()) => report.progress = true,
        Err(error) if error.is_unreachable() => return Err(error.into()),
        Err(error) => go_on_without(context, launch, &error),
    }
    Ok(())
}

/// The image's ID, after a pull where the policy asks for one.
pub(super) async fn image(context: &Context, launch: &Launch) -> Result<String, ApplyError> {
    let image = &launch.spec.image;
    let present = context.engine.image_id(image).await?;
    let pull = match (launch.pull, &present) {
        (PullPolicy::Never, None) => {
            return Err(ApplyError::CannotArm(format!(
                "no image {image}, and `pull_policy: never` forbids a pull"
            )));
        }
        (PullPolicy::Never | PullPolicy::Missing, Some(_)) => false,
        (PullPolicy::Every(period), Some(_)) => is_stale(context, &launch.spec, period)?,
        (PullPolicy::Always, _) | (PullPolicy::Missing | PullPolicy::Every(_), None) => true,
    };
    if pull {
        match (pull_aloud(context, launch).await?, &present) {
            (Ok(()), _) => {}
            (Err(error), Some(_)) => go_on_without(context, launch, &error),
            (Err(error), None) if error.is_unreachable() => return Err(error.into()),
            (Err(error), None) => {
                let advice = error.advice().map(|advice| format!(" ({advice})"));
                let advice = advice.unwrap_or_default();
                return Err(ApplyError::CannotArm(format!(
                    "cannot pull {image}: {error}{advice}"
                )));
            }
        }
    }
    let found = context.engine.image_id(image).await?;
    found.ok_or_else(|| ApplyError::CannotArm(format!("no image {image} after a pull that reported success")))
}

/// As [`pull_now`], and says before that it takes its time.
async fn pull_aloud(context: &Context, launch: &Launch) -> Result<Result<(), EngineError>, ApplyError> {
    let image = launch.spec.conceal(launch.spec.image.as_str());
    context.say(Some(&launch.job), What::Pulling { image });
    pull_now(context, launch).await
}

/// A registry that is away must not cost the night its backup: what is there runs.
fn go_on_without(context: &Context, launch: &Launch, error: &EngineError) {
    let image = &launch.spec.image;
    let text = format!("cannot pull {image}: {error}; going on with the image that is here");
    let text = launch.spec.conceal(&text);
    context.say(Some(&launch.job), What::Trouble { text });
}

/// One pull; what came of it is noted. Its failure is the caller's to judge.
pub(super) async fn pull_now(
    context: &Context,
    launch: &Launch,
) -> Result<Result<(), EngineError>, ApplyError> {
    let image = &launch.spec.image;
    let platform = launch.spec.platform.as_deref();
    let pulled = context.engine.pull(image, platform, &|_| {}).await;
    // An engine that is away was not asked for anything.
    if !matches!(&pulled, Err(error) if error.is_unreachable()) {
        let noted = launch.spec.masked_image(context.ledger.masks());
        context
            .ledger
            .note_pull(&noted, context.clock.now(), pulled.is_ok())?;
    }
    Ok(pulled)
}

/// Whether our last pull is at least that long ago; one that we know nothing of is.
fn is_stale(context: &Context, spec: &ContainerSpec, period: Duration) -> Result<bool, ApplyError> {
    let Some(at) = context
        .ledger
        .pulled_at(&spec.masked_image(context.ledger.masks()))?
    else {
        return Ok(true);
    };
    let age = context.clock.now().duration_since(at);
    // After the clock was set back, a pull in the future is as good as none.
    Ok(age.is_negative() || age.unsigned_abs() >= period)
}
