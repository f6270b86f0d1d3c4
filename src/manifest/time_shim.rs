//! stand-in until room `schedule` is merged
use std::ops::Range;
use std::time::Duration;
pub struct CronError {
    pub message: String,
    pub span: Range<usize>,
    pub help: Option<String>,
}
pub struct ZoneError {
    pub message: String,
    pub help: Option<String>,
}
pub struct DurationError {
    pub message: String,
    pub help: Option<String>,
}
pub fn parse_cron_matching(text: &str, _m: Option<crate::model::DayMatch>) -> Result<(), CronError> {
    if text.starts_with('@') || text.split_whitespace().count() == 5 {
        return Ok(());
    }
    Err(CronError {
        message: "a cron expression has five fields".into(),
        span: 0..text.len(),
        help: None,
    })
}
pub fn check_timezone(text: &str) -> Result<(), ZoneError> {
    jiff::tz::TimeZone::get(text).map(|_| ()).map_err(|_| ZoneError {
        message: format!("`{text}` is not a time zone"),
        help: None,
    })
}
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    humantime::parse_duration(text).map_err(|e| DurationError {
        message: format!("`{text}` is not a duration: {e}"),
        help: None,
    })
}
