//! The scheduler as a library: load, observe, plan; print the plan; and with `--apply` carry it out.
//!
//! ```console
//! $ cargo run --example embed                          # what would be done for schedules.d
//! $ cargo run --example embed -- examples/zones
//! $ cargo run --example embed -- schedules.d --apply   # one pass, as `docker-scheduler apply` does it
//! ```
//!
//! It is the instance `embedded`, with its ledger in `target/embedded`, so it never meets another
//! scheduler's containers; `docker-scheduler --instance embedded --state target down` takes away what
//! `--apply` made. One pass alone: for runs at their times, timeouts and results, call it again, or use
//! `watch`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docker_scheduler::apply::claim::claim;
use docker_scheduler::apply::{self, Context, StreamWitness, owner};
use docker_scheduler::clock::{Clock, SystemClock};
use docker_scheduler::config::Limits;
use docker_scheduler::engine::context::{self, Env, Selection};
use docker_scheduler::engine::{self, SharedEngine};
use docker_scheduler::ledger::Ledger;
use docker_scheduler::manifest::{self, Settings};
use docker_scheduler::model::{Desired, EngineName, Instance};
use docker_scheduler::observe::{Circumstances, facts, observe};
use docker_scheduler::plan::{Plan, plan, render};
use docker_scheduler::source;
use tokio::sync::Semaphore;

const INSTANCE: &str = "embedded";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (applying, dirs): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word == "--apply");
    let dir = dirs
        .first()
        .map_or_else(|| PathBuf::from("schedules.d"), PathBuf::from);

    let desired = load(&dir)?;
    let engine = connect().await?;
    let instance: Instance = INSTANCE.parse()?;
    // A ledger belongs to whoever applies; a plan is made without one, from the containers' labels.
    let ledger = if applying.is_empty() {
        None
    } else {
        let ledger = Ledger::open(&Path::new("target").join(INSTANCE))?;
        claim(engine.as_ref(), &ledger, &instance, false).await?;
        Some(Arc::new(ledger))
    };

    let plan = look(&engine, ledger.as_deref(), &instance, &desired).await?;
    print!("{}", render(&plan));
    match ledger {
        Some(ledger) => carry_out(engine, ledger, instance, &plan).await,
        None => Ok(()),
    }
}

/// Manifests to the jobs they declare; with an error in any file, to nothing.
fn load(dir: &Path) -> Result<Desired, Box<dyn Error>> {
    let (files, loaded) = source::load(dir, &Settings::default())?;
    let prefix = format!("{}/", dir.display());
    eprint!(
        "{}",
        manifest::render(&loaded.diagnostics, &files.texts(), &prefix, false)
    );
    if loaded.has_errors() {
        return Err("the manifests have errors".into());
    }
    Ok(loaded.desired)
}

/// The engine that the docker command line would use.
async fn connect() -> Result<SharedEngine, Box<dyn Error>> {
    let text = |name: &str| std::env::var(name).ok();
    let env = Env {
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_config: text("DOCKER_CONFIG").map(PathBuf::from),
        docker_tls: text("DOCKER_TLS"),
        docker_tls_verify: text("DOCKER_TLS_VERIFY"),
        docker_cert_path: text("DOCKER_CERT_PATH").map(PathBuf::from),
        home: std::env::home_dir(),
        scratch: Some(std::env::temp_dir()),
        ..Env::default()
    };
    let endpoint = context::resolve(&Selection::default(), &env)?;
    Ok(engine::connect(&endpoint, EngineName::Docker).await?)
}

/// The world as one value, and what is to be done about it.
async fn look(
    engine: &SharedEngine,
    ledger: Option<&Ledger>,
    instance: &Instance,
    desired: &Desired,
) -> Result<Plan, Box<dyn Error>> {
    let now = SystemClock.now();
    let facts = facts(engine.as_ref(), desired).await?;
    let circumstances = Circumstances {
        up_since: now,
        ..Circumstances::default()
    };
    let observed = observe(engine.as_ref(), ledger, instance, desired, &facts, &circumstances).await?;
    Ok(plan(desired, &observed, now))
}

async fn carry_out(
    engine: SharedEngine,
    ledger: Arc<Ledger>,
    instance: Instance,
    plan: &Plan,
) -> Result<(), Box<dyn Error>> {
    let context = Context {
        engine,
        ledger,
        instance,
        clock: Arc::new(SystemClock),
        owner: owner::current(),
        report: Box::new(|event| eprintln!("{}", event.what)),
        starts: Semaphore::new(Limits::default().starts as usize),
        stream: StreamWitness::default(),
    };
    let mut failed = false;
    for report in apply::apply(&context, plan).await? {
        if let Some(error) = report.error {
            eprintln!("error: {error}");
            failed = true;
        }
    }
    if failed {
        return Err("not everything could be done".into());
    }
    Ok(())
}
