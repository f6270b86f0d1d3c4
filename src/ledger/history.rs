//! What is read about runs: the planner's view of what is open, and the views of people.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, ToSql, Transaction, params_from_iter};

use crate::model::{ContainerSpec, JobName, Outcome, Run, RunId, Within};

use super::Ledger;
use super::error::{Fault, Result};
use super::sql::{At, Count, Json};

/// Which rows of history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    pub job: Option<JobFilter>,
    /// `None` in the list is a run without outcome, that is a running one; an empty list is all.
    pub outcome: Vec<Option<Outcome>>,
    /// Due at or after; a series counts when any of its slots does.
    pub since: Option<Timestamp>,
    /// Due before.
    pub until: Option<Timestamp>,
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobFilter {
    Job(JobName),
    /// Every job of that project.
    Project(String),
}

/// More hits than that are no answer to "which run?".
const FIND_LIMIT: u32 = 100;

/// In the order that [`run_of`] reads.
pub(super) const COLUMNS: &str = "id, job, slot, attempt, trigger_kind, outcome, reason, exit_code, due_at, intent, \
     started_at, finished_at, recorded_at, container, container_gone, held_until, stop_requested, image, spec_hash, \
     origin, slot_last, count, note, reused, exec, stop_reason, retry_at, job_group";

impl Ledger {
    /// Every run without outcome, with a container that is not gone, with a hold that was not
    /// released, or with another attempt to come; and each job's newest. Oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs_to_plan(&self) -> Result<Vec<Run>> {
        self.read(to_plan)
    }

    /// Every run without outcome, and every `unknown` one whose hold was not released (see
    /// [`Run::is_active`] for whether it still holds).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn active_runs(&self) -> Result<Vec<Run>> {
        self.read(|tx| list(tx, &active_sql(), &[]))
    }

    /// # Errors
    /// When the database cannot be read.
    pub fn run(&self, id: &RunId) -> Result<Option<Run>> {
        self.read(|tx| {
            Ok(tx
                .prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"))?
                .query_row([id], run_of)
                .optional()?)
        })
    }

    /// The run of that name, or those of that container ID; else those that begin so, newest first, at most 100.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_runs(&self, prefix_or_container: &str) -> Result<Vec<Run>> {
        if prefix_or_container.is_empty() {
            return Ok(Vec::new());
        }
        let exact = format!(
            "SELECT {COLUMNS} FROM runs WHERE id = ?1 OR container = ?1
             ORDER BY last_due_at DESC, seq DESC LIMIT {FIND_LIMIT}"
        );
        // Names and IDs are ASCII, so DEL sorts after all that can follow the prefix.
        let end = format!("{prefix_or_container}\u{7f}");
        self.read(|tx| {
            let found = list(tx, &exact, &[&prefix_or_container])?;
            if found.is_empty() {
                list(tx, &prefix_sql(), &[&prefix_or_container, &end])
            } else {
                Ok(found)
            }
        })
    }

    /// The newest run that started a container, by its full ID; not one whose command ran in it
    /// beside what it is for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest_in(&self, container: &str) -> Result<Option<Run>> {
        self.read(|tx| newest_in(tx, container))
    }

    /// The job's last row in the order of `history`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest_run(&self, job: &JobName) -> Result<Option<Run>> {
        let query = HistoryQuery {
            job: Some(JobFilter::Job(job.clone())),
            limit: Some(1),
            ..HistoryQuery::default()
        };
        Ok(self.history(&query)?.pop())
    }

    /// Every attempt of the run's slot, in order; of a manual run itself.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn attempts_of(&self, run: &Run) -> Result<Vec<Run>> {
        let Some(slot) = run.slot else {
            return Ok(self.run(&run.id)?.into_iter().collect());
        };
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE job = ?1 AND slot = ?2 ORDER BY attempt");
        self.read(|tx| list(tx, &sql, &[&run.job, &slot]))
    }

    /// Who asked for the run's end, when a person cancelled it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stop_by(&self, run: &RunId) -> Result<Option<String>> {
        self.read(|tx| {
            let by = tx
                .prepare_cached("SELECT stop_by FROM runs WHERE id = ?1")?
                .query_row([run], |row| row.get(0))
                .optional()?;
            Ok(by.flatten())
        })
    }

    /// What the run's container was made from, masked; `None` for a slot that never became a run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn spec_of(&self, run: &RunId) -> Result<Option<String>> {
        self.read(|tx| {
            Ok(tx
                .prepare_cached(
                    "SELECT text FROM runs JOIN containers USING (nonce) JOIN specs ON specs.id = containers.spec
                     WHERE runs.id = ?1",
                )?
                .query_row([run], |row| row.get(0))
                .optional()?)
        })
    }

    /// Whether the engine's words about a run's output may quote a value that is masked here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn masks_logging(&self, run: &RunId) -> Result<bool> {
        let spec = self.spec_of(run)?;
        let spec = spec.and_then(|text| serde_json::from_str::<ContainerSpec>(&text).ok());
        Ok(spec.is_some_and(|spec| spec.masks_logging()))
    }

    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<Run>> {
        let (sql, values) = history_sql(query);
        self.read(|tx| {
            let mut statement = tx.prepare_cached(&sql)?;
            let runs = statement.query_map(params_from_iter(values), run_of)?;
            Ok(runs.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// The statement of a query and its parameters.
pub(super) fn history_sql(query: &HistoryQuery) -> (String, Vec<Value>) {
    let HistoryQuery {
        job,
        outcome,
        since,
        until,
        limit,
    } = query;
    let mut terms: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    match job {
        None => {}
        Some(JobFilter::Job(job)) => {
            terms.push("job = ?".to_owned());
            values.push(job.to_string().into());
        }
        Some(JobFilter::Project(project)) => {
            terms.push("project = ?".to_owned());
            values.push(project.clone().into());
        }
    }
    if !outcome.is_empty() {
        let any: Vec<String> = outcome
            .iter()
            .map(|outcome| match outcome {
                None => "outcome IS NULL".to_owned(),
                Some(outcome) => format!("outcome = '{}'", outcome.as_str()),
            })
            .collect();
        terms.push(format!("({})", any.join(" OR ")));
    }
    if let Some(since) = since {
        terms.push("last_due_at >= ?".to_owned());
        values.push(At::text(*since).into());
    }
    if let Some(until) = until {
        terms.push("due_at < ?".to_owned());
        values.push(At::text(*until).into());
    }
    let condition = if terms.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", terms.join(" AND "))
    };
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    let sql = format!("SELECT {COLUMNS} FROM runs{condition} ORDER BY last_due_at DESC, seq DESC{limit}");
    (sql, values)
}

pub(super) fn newest_in(tx: &Transaction<'_>, container: &str) -> std::result::Result<Option<Run>, Fault> {
    Ok(tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE container = ?1 AND exec IS NULL ORDER BY seq DESC LIMIT 1"
        ))?
        .query_row([container], run_of)
        .optional()?)
}

pub(super) fn to_plan(tx: &Transaction<'_>) -> std::result::Result<Vec<Run>, Fault> {
    list(tx, &to_plan_sql(), &[])
}

fn to_plan_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM runs WHERE seq IN (
             SELECT seq FROM runs WHERE open = 1
             UNION
             SELECT seq FROM runs INDEXED BY runs_retry WHERE retry_at IS NOT NULL
             UNION
             SELECT (SELECT seq FROM runs WHERE job = jobs.name ORDER BY last_due_at DESC, seq DESC LIMIT 1) FROM jobs
         ) ORDER BY last_due_at, seq"
    )
}

fn active_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM runs
         WHERE open = 1 AND (outcome IS NULL OR held_until IS NOT NULL) ORDER BY last_due_at, seq"
    )
}

fn prefix_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM runs WHERE (id >= ?1 AND id < ?2) OR (container >= ?1 AND container < ?2)
         ORDER BY last_due_at DESC, seq DESC LIMIT {FIND_LIMIT}"
    )
}

/// Statements that must not walk the whole history, each with the index that they rest on.
#[cfg(test)]
pub(super) fn statements() -> [(String, &'static str); 3] {
    [
        (to_plan_sql(), "runs_open"),
        (active_sql(), "runs_open"),
        (prefix_sql(), "runs_container"),
    ]
}

fn list(tx: &Transaction<'_>, sql: &str, params: &[&dyn ToSql]) -> std::result::Result<Vec<Run>, Fault> {
    let mut statement = tx.prepare_cached(sql)?;
    let runs = statement.query_map(params, run_of)?;
    Ok(runs.collect::<rusqlite::Result<_>>()?)
}

/// A row of [`COLUMNS`].
pub(super) fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let moment = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<At>>(column)?.map(|At(at)| at));
    let At(due_at) = row.get(8)?;
    let Json(origin) = row.get(19)?;
    Ok(Run {
        id: row.get(0)?,
        job: row.get(1)?,
        slot: row.get(2)?,
        attempt: row.get(3)?,
        trigger: row.get(4)?,
        outcome: row.get(5)?,
        reason: row.get(6)?,
        exit_code: row.get(7)?,
        due_at,
        intent: row.get::<_, Option<Json<_>>>(9)?.map(|Json(intent)| intent),
        started_at: moment(10)?,
        finished_at: moment(11)?,
        recorded_at: moment(12)?,
        container: row.get(13)?,
        container_gone: row.get(14)?,
        held_until: moment(15)?,
        stop_requested: row.get(16)?,
        image: row.get(17)?,
        spec_hash: row.get(18)?,
        origin,
        slot_last: row.get(20)?,
        count: row.get::<_, Option<Count>>(21)?.map(|Count(count)| count),
        note: row.get(22)?,
        within: match (row.get::<_, Option<Json<_>>>(23)?, row.get(24)?) {
            (Some(Json(before)), _) => Within::Reused(before),
            (None, Some(exec)) => Within::Exec(exec),
            (None, None) => Within::Own,
        },
        stop_reason: row.get(25)?,
        retry_at: moment(26)?,
        group: row.get(27)?,
    })
}
