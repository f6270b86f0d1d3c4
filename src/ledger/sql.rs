//! How values of `model` stand in a column. A text that does not parse is an error on reading,
//! never a default.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{ContainerName, GapKind, JobName, Line, Outcome, RunTrigger, Slot};

/// A moment, kept to the nanosecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub Timestamp);

impl At {
    /// Of fixed width, so that the order of the texts is the order of the moments.
    pub(super) fn text(moment: Timestamp) -> String {
        format!("{moment:.9}")
    }
}

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(At::text(self.0)))
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<At> {
        Ok(At(parse(value)?))
    }
}

/// For an optional column.
pub(super) fn at(moment: Option<Timestamp>) -> Option<At> {
    moment.map(At)
}

/// A value kept as JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(text))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Json<T>> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

impl ToSql for Slot {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_second()))
    }
}

impl FromSql for Slot {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Slot> {
        let second = value.as_i64()?;
        let slot = Slot::from_second(second);
        if slot.as_second() == second {
            Ok(slot)
        } else {
            Err(FromSqlError::OutOfRange(second))
        }
    }
}

/// Types whose column is their text.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.to_string()))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                parse(value)
            }
        }
    )*};
}

as_text!(ContainerName, JobName, Outcome);

impl ToSql for RunTrigger {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_str()))
    }
}

impl FromSql for RunTrigger {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<RunTrigger> {
        parse(value)
    }
}

impl ToSql for GapKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            GapKind::SchedulerDown => "scheduler_down",
            GapKind::EngineUnreachable => "engine_unreachable",
            GapKind::ClockJumped => "clock_jumped",
        }))
    }
}

impl FromSql for GapKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<GapKind> {
        match value.as_str()? {
            "scheduler_down" => Ok(GapKind::SchedulerDown),
            "engine_unreachable" => Ok(GapKind::EngineUnreachable),
            "clock_jumped" => Ok(GapKind::ClockJumped),
            other => Err(unreadable(format!("`{other}` is not a kind of gap"))),
        }
    }
}

impl ToSql for Line {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Line::Queue => "queue",
            Line::Backlog => "backlog",
        }))
    }
}

impl FromSql for Line {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Line> {
        match value.as_str()? {
            "queue" => Ok(Line::Queue),
            "backlog" => Ok(Line::Backlog),
            other => Err(unreadable(format!("`{other}` is not a line"))),
        }
    }
}

/// An unsigned count in SQLite's signed integer; beyond its range it is as good as infinite.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count read back: never negative.
pub(super) struct Count(pub u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Count> {
        let value = value.as_i64()?;
        u64::try_from(value)
            .map(Count)
            .map_err(|_| FromSqlError::OutOfRange(value))
    }
}

fn parse<T>(value: ValueRef<'_>) -> FromSqlResult<T>
where
    T: FromStr,
    T::Err: Display,
{
    value
        .as_str()?
        .parse()
        .map_err(|error: T::Err| unreadable(error.to_string()))
}

pub(super) fn unreadable(why: String) -> FromSqlError {
    FromSqlError::Other(Box::<dyn Error + Send + Sync>::from(why))
}
