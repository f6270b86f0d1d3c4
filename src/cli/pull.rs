//! Pulling an image while a person watches: bars on a terminal, two lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::{Engine, PullProgress};
use crate::model::ImageRef;

use super::error::CommandError;
use super::output::{printable, talk};

/// Pulls the image, saying so on stderr.
///
/// # Errors
/// The engine's or the registry's refusal.
pub async fn pull(engine: &dyn Engine, image: &ImageRef) -> Result<(), CommandError> {
    talk(&format!("pulling {image}, which the engine does not have"));
    let failed = |error| CommandError::engine(&format!("pull the image `{image}`"), &error);
    if std::io::stderr().is_terminal() {
        let bars = Bars::default();
        let pulled = engine.pull(image, None, &|progress| bars.show(&progress)).await;
        bars.clear();
        pulled.map_err(failed)?;
    } else {
        engine.pull(image, None, &|_| {}).await.map_err(failed)?;
    }
    talk(&format!("pulled {image}"));
    Ok(())
}

/// A bar for each layer.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn show(&self, progress: &PullProgress) {
        // The lines without a layer repeat the image's name and digest.
        if progress.id.is_empty() {
            return;
        }
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = layers.entry(progress.id.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::no_length().with_style(style()));
            bar.set_prefix(printable(&progress.id));
            bar
        });
        bar.set_message(printable(&progress.status));
        if progress.total_bytes > 0 {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.current_bytes);
        } else {
            bar.tick();
        }
    }

    fn clear(&self) {
        // A terminal that went away is no reason to fail a pull.
        let _ = self.all.clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:12} {msg:20} {bar:30} {bytes}/{total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_a_bar_is_one() {
        ProgressStyle::with_template("{prefix:12} {msg:20} {bar:30} {bytes}/{total_bytes}").unwrap();
    }
}
