//! The text of a cron expression: five Vixie fields, or a macro, read into ranges and steps; and
//! messages that point at the character that is wrong and say what to write instead.
//!
//! Nothing here knows a date, a zone or the `cron` crate (whose own syntax differs and whose
//! messages are near empty); what the fields mean together is `cron.rs`.

use std::fmt;
use std::ops::Range;

/// Why a cron expression was refused. The message is a lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    pub kind: CronErrorKind,
    pub message: String,
    /// Byte offsets into the expression as it was given; always on character boundaries.
    pub span: Range<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

/// The class of a [`CronError`]: what a program may tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CronErrorKind {
    /// Not five fields.
    Fields,
    /// A value, name or character that the field does not know.
    Value,
    /// A range that runs backwards or lacks an end.
    Range,
    /// A step of zero, wider than its range, or without one.
    Step,
    /// Quartz's, Jenkins' or another dialect's syntax.
    Dialect,
    /// A day and a weekday field that cron dialects combine differently.
    Ambiguous,
    /// No such day ever comes.
    Impossible,
}

impl CronError {
    pub(super) fn new(kind: CronErrorKind, span: Range<usize>, message: impl Into<String>) -> CronError {
        CronError {
            kind,
            message: message.into(),
            span,
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> CronError {
        self.help = Some(help.into());
        self
    }

    /// The expression on one line, and carets under what is wrong on the next. Control characters
    /// are shown as spaces, so that the two lines stay two.
    #[must_use]
    pub fn caret(&self, expression: &str) -> String {
        let line: String = expression
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let chars_before = |end: usize| expression.char_indices().take_while(|(at, _)| *at < end).count();
        let start = chars_before(self.span.start);
        let width = chars_before(self.span.end).saturating_sub(start).max(1);
        format!("{line}\n{}{}", " ".repeat(start), "^".repeat(width))
    }
}

/// Longer texts are refused unread: every sensible expression has less than a tenth of this.
const MAX_BYTES: usize = 1024;

/// The macros, and what each stands for.
pub(super) const MACROS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Which of the five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Unit {
    const ALL: [Unit; 5] = [Unit::Minute, Unit::Hour, Unit::Day, Unit::Month, Unit::Weekday];

    /// Smallest and largest value; a weekday's 7 is Sunday again.
    pub(super) fn bounds(self) -> (u32, u32) {
        match self {
            Unit::Minute => (0, 59),
            Unit::Hour => (0, 23),
            Unit::Day => (1, 31),
            Unit::Month => (1, 12),
            Unit::Weekday => (0, 7),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day of the month",
            Unit::Month => "month",
            Unit::Weekday => "weekday",
        }
    }

    /// The noun with its article.
    fn a_noun(self) -> &'static str {
        match self {
            Unit::Minute => "a minute",
            Unit::Hour => "an hour",
            Unit::Day => "a day of the month",
            Unit::Month => "a month",
            Unit::Weekday => "a weekday",
        }
    }

    fn nouns(self) -> &'static str {
        match self {
            Unit::Minute => "minutes",
            Unit::Hour => "hours",
            Unit::Day => "days",
            Unit::Month => "months",
            Unit::Weekday => "weekdays",
        }
    }

    fn values(self) -> &'static str {
        match self {
            Unit::Minute => "minutes go from 0 to 59",
            Unit::Hour => "hours go from 0 to 23; midnight is 0",
            Unit::Day => "days go from 1 to 31; `L` is the last day of the month",
            Unit::Month => "months go from 1 to 12, or `jan` to `dec`",
            Unit::Weekday => {
                "weekdays go from 0 (Sunday) over 6 (Saturday) to 7 (Sunday again), or `sun` to `sat`"
            }
        }
    }

    /// The three-letter names, and the value of the first.
    fn names(self) -> (&'static [&'static str], u32) {
        match self {
            Unit::Month => (&MONTHS, 1),
            Unit::Weekday => (&WEEKDAYS, 0),
            Unit::Minute | Unit::Hour | Unit::Day => (&[], 0),
        }
    }
}

/// One entry of a field's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// `*` or `*/step`.
    All {
        step: Option<u32>,
    },
    One(u32),
    /// `from-to` or `from-to/step`.
    Range {
        from: u32,
        to: u32,
        step: Option<u32>,
    },
    /// `L` as day of the month.
    LastDay,
    /// `5L`: the last such weekday of the month, 0 = Sunday.
    LastWeekday(u32),
    /// `2#1`: the nth such weekday of the month, 0 = Sunday.
    NthWeekday(u32, u32),
}

/// One field, as its list of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub unit: Unit,
    pub items: Vec<Item>,
    /// Where the field stands in the expression.
    pub span: Range<usize>,
    /// Vixie's star flag: the text begins with `*`.
    pub starred: bool,
}

impl Field {
    /// Whether the field is `*` and nothing else.
    pub(super) fn is_star(&self) -> bool {
        self.items == [Item::All { step: None }]
    }

    /// Whether it asks for days by their place in the month (`L`, `5L`, `2#1`).
    pub(super) fn has_place(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, Item::LastDay | Item::LastWeekday(_) | Item::NthWeekday(..)))
    }

    /// Whether a person would call it a clock time: no `*` and no step.
    pub(super) fn is_fixed(&self) -> bool {
        self.items.iter().all(|item| match item {
            Item::All { .. } => false,
            Item::Range { step, .. } => step.is_none(),
            Item::One(_) | Item::LastDay | Item::LastWeekday(_) | Item::NthWeekday(..) => true,
        })
    }

    /// The plain values as bits; a weekday's 7 becomes 0. Places in the month are not values.
    pub(super) fn mask(&self) -> u64 {
        let (low, high) = self.unit.bounds();
        let mut mask = 0;
        for item in &self.items {
            let (from, to, step) = match *item {
                Item::All { step } => (low, high, step),
                Item::One(value) => (value, value, None),
                Item::Range { from, to, step } => (from, to, step),
                Item::LastDay | Item::LastWeekday(_) | Item::NthWeekday(..) => continue,
            };
            // A step is at least 1: the parser refuses 0.
            for value in (from..=to).step_by(step.unwrap_or(1).max(1) as usize) {
                mask |= 1_u64 << value;
            }
        }
        if self.unit == Unit::Weekday {
            mask = (mask | (mask >> 7)) & 0x7f;
        }
        mask
    }
}

/// The five fields of an expression, a macro already replaced by what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    pub minute: Field,
    pub hour: Field,
    pub day: Field,
    pub month: Field,
    pub weekday: Field,
}

/// Reads an expression's text.
pub(super) fn parse(text: &str) -> Result<Expression, CronError> {
    if text.len() > MAX_BYTES {
        let message = format!("the expression is longer than {MAX_BYTES} characters");
        return Err(CronError::new(CronErrorKind::Fields, 0..0, message));
    }
    let words = words(text);
    if let Some((at, word)) = words.first()
        && word.starts_with('@')
    {
        return parse_macro(*at..text.trim_ascii_end().len(), word, words.len());
    }
    check_field_count(text, &words)?;
    let mut fields = words
        .iter()
        .zip(Unit::ALL)
        .map(|((at, word), unit)| parse_field(unit, word, *at))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    match (
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
    ) {
        (Some(minute), Some(hour), Some(day), Some(month), Some(weekday)) => Ok(Expression {
            minute,
            hour,
            day,
            month,
            weekday,
        }),
        _ => Err(CronError::new(CronErrorKind::Fields, 0..text.len(), NEED_FIVE)),
    }
}

/// Whitespace-separated words with their byte offsets.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = 0;
    for word in text.split_ascii_whitespace() {
        let at = rest + text[rest..].find(word).unwrap_or(0);
        words.push((at, word));
        rest = at + word.len();
    }
    words
}

fn parse_macro(span: Range<usize>, word: &str, words: usize) -> Result<Expression, CronError> {
    if words == 1
        && let Some((_, meaning)) = MACROS.iter().find(|(name, _)| *name == word)
    {
        let mut expression = parse(meaning)?;
        // The fields stand nowhere in the text: whatever is said about one is said about the macro.
        for field in [
            &mut expression.minute,
            &mut expression.hour,
            &mut expression.day,
            &mut expression.month,
            &mut expression.weekday,
        ] {
            field.span = span.clone();
        }
        return Ok(expression);
    }
    let lower = word.to_ascii_lowercase();
    let message = format!("{} is not a macro", quoted(word));
    let error = CronError::new(CronErrorKind::Value, span, message);
    Err(match lower.as_str() {
        "@every" => error.help("write `x-scheduler.every: 5m` in place of a cron expression"),
        "@reboot" => error.help("a job has no boot to wait for; write a time, or start it with `trigger`"),
        _ if MACROS.iter().any(|(name, _)| *name == lower) && words == 1 => {
            error.help(format!("write `{lower}`"))
        }
        _ if MACROS.iter().any(|(name, _)| *name == lower) => error.help(format!("`{lower}` stands alone")),
        _ => error.help("the macros are `@hourly @daily @midnight @weekly @monthly @yearly @annually`"),
    })
}

const NEED_FIVE: &str = "five fields are needed: minute hour day month weekday";

fn check_field_count(text: &str, words: &[(usize, &str)]) -> Result<(), CronError> {
    if let Some((at, word)) = words.first()
        && (word.starts_with("TZ=") || word.starts_with("CRON_TZ="))
    {
        let zone = word.split_once('=').map_or("", |(_, zone)| zone);
        let help = format!("write `timezone: {}` beside the expression", shown(zone));
        let message = "a time zone does not belong into the expression";
        return Err(CronError::new(CronErrorKind::Dialect, *at..*at + word.len(), message).help(help));
    }
    if words.len() == 5 {
        return Ok(());
    }
    let end = |index: usize| words.get(index).map_or(0, |(at, word)| at + word.len());
    let start = words.first().map_or(0, |(at, _)| *at);
    let whole = start..end(words.len().saturating_sub(1));
    let error = |span: Range<usize>, message: String| CronError::new(CronErrorKind::Fields, span, message);
    match words.len() {
        0 => Err(
            error(0..text.len(), format!("the expression is empty; {NEED_FIVE}"))
                .help("`30 2 * * *` is every day at 02:30"),
        ),
        n @ 1..=4 => {
            let plural = if n == 1 { "" } else { "s" };
            // Joined anew: the text may hold tabs and line ends.
            let stars = std::iter::repeat_n("*", 5 - n);
            let padded: Vec<_> = words.iter().map(|(_, word)| *word).chain(stars).collect();
            let padded = padded.join(" ");
            let error = error(whole, format!("found {n} field{plural}; {NEED_FIVE}"));
            Err(match parse(&padded) {
                Ok(_) => error.help(format!("perhaps `{padded}`")),
                Err(_) => error.help("`30 2 * * *` is every day at 02:30"),
            })
        }
        6 => Err(six_fields(words, end(5))),
        7 if words.iter().all(|(_, word)| looks_like_a_field(word)) => {
            let message = "seven fields, as Quartz writes them, with seconds first and a year last; \
                           cron has five: minute hour day month weekday";
            Err(error(whole, message.to_owned()).help(without("seconds and year", &words[1..6])))
        }
        n => Err(
            error(words[5].0..end(n - 1), format!("found {n} fields; {NEED_FIVE}"))
                .help("only the five time fields belong here; a command goes under `command`"),
        ),
    }
}

/// Six fields are most often seconds: read as five plus something they would run 60 times too
/// often, or at the wrong hours.
fn six_fields(words: &[(usize, &str)], end: usize) -> CronError {
    let (last_at, last) = words[5];
    let (first_at, first) = words[0];
    if last.len() == 4 && last.bytes().all(|b| b.is_ascii_digit()) {
        let message = "six fields, the last one a year; cron has five: minute hour day month weekday";
        return CronError::new(CronErrorKind::Fields, last_at..end, message)
            .help(without("the year", &words[..5]));
    }
    if !words.iter().all(|(_, word)| looks_like_a_field(word)) {
        let message = format!("found 6 fields; {NEED_FIVE}");
        return CronError::new(CronErrorKind::Fields, last_at..end, message)
            .help("only the five time fields belong here; a command goes under `command`");
    }
    let message = "six fields: the first would be seconds, which cron does not have; with seconds read as minutes \
                   a job runs 60 times too often or at the wrong time";
    let sub_minute = match first.strip_prefix("*/") {
        Some(step) if step.bytes().all(|b| b.is_ascii_digit()) => step,
        _ => "10",
    };
    let help = without("the seconds", &words[1..]);
    CronError::new(CronErrorKind::Fields, first_at..first_at + first.len(), message).help(format!(
        "{help}; for more often than once a minute write `x-scheduler.every: {sub_minute}s`"
    ))
}

fn without(what: &str, words: &[(usize, &str)]) -> String {
    let fields: Vec<_> = words
        .iter()
        .map(|(_, word)| if *word == "?" { "*" } else { word })
        .collect();
    format!("without {what} it is `{}`", shown(&fields.join(" ")))
}

fn looks_like_a_field(word: &str) -> bool {
    word.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"*/,-?#".contains(&b))
        && {
            let letters = word.split(|c: char| !c.is_ascii_alphabetic());
            letters.into_iter().all(|part| part.len() <= 3)
        }
}

fn parse_field(unit: Unit, text: &str, at: usize) -> Result<Field, CronError> {
    let span = at..at + text.len();
    let mut items = Vec::new();
    let mut item_at = at;
    for item in text.split(',') {
        items.push(parse_item(
            &Part {
                unit,
                text: item,
                at: item_at,
            },
            text,
        )?);
        item_at += item.len() + 1;
    }
    Ok(Field {
        unit,
        items,
        span,
        starred: text.starts_with('*'),
    })
}

/// A piece of the expression, with the place where it stands.
#[derive(Clone, Copy)]
struct Part<'t> {
    unit: Unit,
    text: &'t str,
    at: usize,
}

impl<'t> Part<'t> {
    fn span(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn error(self, kind: CronErrorKind, message: impl Into<String>) -> CronError {
        CronError::new(kind, self.span(), message)
    }

    /// The two pieces around the first `separator`.
    fn split(self, separator: char) -> Option<(Part<'t>, Part<'t>)> {
        let (left, right) = self.text.split_once(separator)?;
        let right_at = self.at + left.len() + separator.len_utf8();
        Some((
            Part { text: left, ..self },
            Part {
                text: right,
                at: right_at,
                ..self
            },
        ))
    }
}

fn parse_item(part: &Part<'_>, field: &str) -> Result<Item, CronError> {
    let part = *part;
    if part.text.is_empty() {
        let span = part.at.saturating_sub(1)..part.at.max(1);
        let message = format!("an entry of the list {} is empty", quoted(field));
        return Err(CronError::new(CronErrorKind::Value, span, message).help("leave out the extra comma"));
    }
    if let Some(error) = other_dialect(part) {
        return Err(error);
    }
    if let Some(place) = place_in_month(part)? {
        return Ok(place);
    }
    let (base, step) = match part.split('/') {
        Some((base, step)) => (base, Some(step)),
        None => (part, None),
    };
    if base.text == "*" {
        let (from, to) = part.unit.bounds();
        let step = step.map(|step| parse_step(part, step, from, to)).transpose()?;
        return Ok(Item::All { step });
    }
    if let Some((from, to)) = base.split('-') {
        return parse_range(part, base, from, to, step);
    }
    let value = parse_value(base)?;
    match step {
        None => Ok(Item::One(value)),
        Some(step) => Err(step_without_range(part, base, value, step)),
    }
}

fn parse_range(
    part: Part<'_>,
    base: Part<'_>,
    from: Part<'_>,
    to: Part<'_>,
    step: Option<Part<'_>>,
) -> Result<Item, CronError> {
    for (end, which) in [(from, "start"), (to, "end")] {
        if end.text.is_empty() {
            let message = format!("the range {} has no {which}", quoted(base.text));
            let help = format!(
                "write both ends, such as `{}-{}`",
                part.unit.bounds().0,
                part.unit.bounds().1
            );
            return Err(base.error(CronErrorKind::Range, message).help(help));
        }
    }
    let (low, high) = (parse_value(from)?, parse_value(to)?);
    if low > high {
        return Err(reversed_range(base, (from, low), (to, high), step));
    }
    let step = step.map(|step| parse_step(part, step, low, high)).transpose()?;
    Ok(Item::Range {
        from: low,
        to: high,
        step,
    })
}

/// Tells how to write a range that goes over the end of its cycle.
fn reversed_range(
    base: Part<'_>,
    (from, low): (Part<'_>, u32),
    (to, high): (Part<'_>, u32),
    step: Option<Part<'_>>,
) -> CronError {
    let unit = base.unit;
    let message = format!("the range {} runs backwards", quoted(base.text));
    let error = base.error(CronErrorKind::Range, message);
    let first = unit.bounds().0;
    // Sunday is 0 here: a cycle of weekdays ends at 6.
    let last = if unit == Unit::Weekday { 6 } else { unit.bounds().1 };
    if unit == Unit::Weekday && low == 7 {
        return error.help(format!("Sunday is also 0: write `0-{high}`"));
    }
    if let Some(step) = step {
        let Ok(step @ 1..=60) = step.text.parse::<u32>() else {
            return error;
        };
        let cycle = last - first + 1;
        let values = (low..=high + cycle)
            .step_by(step as usize)
            .map(|value| (value - first) % cycle + first);
        let list: Vec<_> = values.map(|value| value.to_string()).collect();
        return error.help(format!(
            "to go over the end of the cycle write `{}`",
            list.join(",")
        ));
    }
    let named = |value: u32| {
        let (names, start) = unit.names();
        let word = [from.text, to.text]
            .iter()
            .any(|text| text.parse::<u32>().is_err());
        match names.get(value.wrapping_sub(start) as usize) {
            Some(name) if word => (*name).to_owned(),
            _ => value.to_string(),
        }
    };
    let range = |a: u32, b: u32| {
        if a == b {
            named(a)
        } else {
            format!("{}-{}", named(a), named(b))
        }
    };
    error.help(format!(
        "to go over the end of the cycle write `{},{}`",
        range(low, last),
        range(first, high)
    ))
}

/// A step over `low..=high`.
fn parse_step(part: Part<'_>, step: Part<'_>, low: u32, high: u32) -> Result<u32, CronError> {
    if step.text.is_empty() || !step.text.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("the step {} is not a number", quoted(step.text));
        let span = step.at - 1..step.at + step.text.len();
        return Err(
            CronError::new(CronErrorKind::Step, span, message).help("a step is written `*/5` or `0-30/5`")
        );
    }
    // More digits than u32 holds are wider than any range.
    let value = step.text.parse::<u32>().unwrap_or(u32::MAX);
    if value == 0 {
        let message = "a step of 0 never moves on";
        return Err(step
            .error(CronErrorKind::Step, message)
            .help("the smallest step is 1"));
    }
    // Both of a weekday's Sundays are one day.
    let width = (high - low + 1).min(if part.unit == Unit::Weekday { 7 } else { u32::MAX });
    if value > width {
        return Err(wide_step(part, step, low, high, width));
    }
    Ok(value)
}

fn wide_step(part: Part<'_>, step: Part<'_>, low: u32, high: u32, width: u32) -> CronError {
    let noun = if width == 1 {
        part.unit.noun()
    } else {
        part.unit.nouns()
    };
    let value = shown(step.text);
    let message = format!(
        "the step {value} is wider than the {width} {noun} it applies to: only {low} would ever match"
    );
    let error = part.error(CronErrorKind::Step, message);
    let (first, last) = part.unit.bounds();
    let whole = low == first && high == last;
    match part.unit {
        Unit::Minute if whole => {
            error.help(format!("cron counts minutes within one hour; for every {value} minutes write `x-scheduler.every: {value}m`"))
        }
        Unit::Hour if whole => {
            error.help(format!("cron counts hours within one day; for every {value} hours write `x-scheduler.every: {value}h`"))
        }
        Unit::Day | Unit::Weekday if whole => {
            error.help(format!("for every {value} days write `x-scheduler.every: {value}d`"))
        }
        _ => error.help(format!("`{low}` alone has the same meaning")),
    }
}

fn step_without_range(part: Part<'_>, base: Part<'_>, value: u32, step: Part<'_>) -> CronError {
    let (_, last) = part.unit.bounds();
    let last = if part.unit == Unit::Weekday {
        6.max(value)
    } else {
        last
    };
    let message = format!("the step in {} has no range to walk", quoted(part.text));
    let error = part.error(CronErrorKind::Step, message);
    if step.text.is_empty() || !step.text.bytes().all(|b| b.is_ascii_digit()) {
        return error.help("a step is written `*/5` or `0-30/5`");
    }
    let (base, step) = (shown(base.text), shown(step.text));
    if value == part.unit.bounds().0 {
        error.help(format!(
            "write `*/{step}`, or `{base}` for that {} alone",
            part.unit.noun()
        ))
    } else {
        error.help(format!(
            "write `{base}-{last}/{step}`, or `{base}` for that {} alone",
            part.unit.noun()
        ))
    }
}

/// A number or a name.
fn parse_value(part: Part<'_>) -> Result<u32, CronError> {
    let (low, high) = part.unit.bounds();
    if !part.text.is_empty() && part.text.bytes().all(|b| b.is_ascii_digit()) {
        return match part.text.parse::<u32>() {
            Ok(value) if (low..=high).contains(&value) => Ok(value),
            _ => {
                let message = format!("{} is not {}", shown(part.text), part.unit.a_noun());
                Err(part.error(CronErrorKind::Value, message).help(part.unit.values()))
            }
        };
    }
    let (names, first) = part.unit.names();
    let lower = part.text.to_ascii_lowercase();
    for (value, name) in (first..).zip(names) {
        if lower == *name {
            return Ok(value);
        }
    }
    Err(unknown_word(part, &lower))
}

fn unknown_word(part: Part<'_>, lower: &str) -> CronError {
    let message = format!("{} is not {}", quoted(part.text), part.unit.a_noun());
    let error = part.error(CronErrorKind::Value, message);
    if lower.contains('~') {
        return error.help("`~` is a random time; write a time, and `x-scheduler.jitter` to spread starts");
    }
    if lower.starts_with('-') {
        return error.help(part.unit.values());
    }
    let (names, _) = part.unit.names();
    if lower.len() > 3
        && let Some(name) = names.iter().find(|name| lower.starts_with(**name))
    {
        return error.help(format!("write `{name}`"));
    }
    for (unit, names) in [(Unit::Month, &MONTHS[..]), (Unit::Weekday, &WEEKDAYS[..])] {
        if unit != part.unit && names.contains(&lower) {
            let place = if unit == Unit::Month { "fourth" } else { "fifth" };
            return error.help(format!("a {} goes into the {place} field", unit.noun()));
        }
    }
    error.help(part.unit.values())
}

/// Syntax that other schedulers have and this one has not, by name.
fn other_dialect(part: Part<'_>) -> Option<CronError> {
    let upper = part.text.to_ascii_uppercase();
    let error = |message: String| Some(part.error(CronErrorKind::Dialect, message));
    if upper.contains('?') {
        return error(format!("`?` in {} is Quartz's syntax", quoted(part.text)))
            .map(|e| e.help("write `*`"));
    }
    if upper == "H" || upper.starts_with("H/") || upper.starts_with("H(") {
        let message = "`H` is Jenkins' syntax".to_owned();
        return error(message).map(|e| e.help("write a time, and `x-scheduler.jitter` to spread starts"));
    }
    if !matches!(part.unit, Unit::Day | Unit::Weekday) {
        return None;
    }
    let digits_before = |letter: char| {
        let rest = upper.strip_suffix(letter)?;
        rest.bytes().all(|b| b.is_ascii_digit()).then_some(())
    };
    if part.unit == Unit::Day && (upper == "LW" || upper == "WL" || digits_before('W').is_some()) {
        let message = format!(
            "{} (the working day nearest to a date) is Quartz's syntax",
            quoted(part.text)
        );
        let help = "write a date, `L` for the last day of the month, or weekdays as the fifth field (`1-5`)";
        return error(message).map(|e| e.help(help));
    }
    if upper.starts_with("L-") {
        let message = format!(
            "{} (days before the end of the month) is Quartz's syntax",
            quoted(part.text)
        );
        return error(message).map(|e| e.help("only `L`, the last day of the month, is known"));
    }
    if part.unit == Unit::Weekday && upper == "L" {
        let message = "`L` alone is not a weekday (Quartz reads it as Saturday)".to_owned();
        return error(message)
            .map(|e| e.help("write `6` for each Saturday, or `6L` for the last one of the month"));
    }
    None
}

/// `L`, `5L` and `2#1`; `None` when the entry is none of them.
fn place_in_month(part: Part<'_>) -> Result<Option<Item>, CronError> {
    if part.unit == Unit::Day && part.text.eq_ignore_ascii_case("L") {
        return Ok(Some(Item::LastDay));
    }
    if part.text.contains('#') && part.unit != Unit::Weekday {
        let message = format!("{} is not {}", quoted(part.text), part.unit.a_noun());
        let help = "`2#1`, the first Tuesday of the month, goes into the fifth field";
        return Err(part.error(CronErrorKind::Value, message).help(help));
    }
    if part.unit != Unit::Weekday {
        if part.unit == Unit::Day
            && let Some(rest) = part.text.strip_suffix(['l', 'L'])
            && !rest.is_empty()
            && rest.bytes().all(|b| b.is_ascii_digit())
        {
            let message = format!("{} is not {}", quoted(part.text), part.unit.a_noun());
            let help = format!("`L` is the last day of the month; `{rest}L` goes into the fifth field");
            return Err(part.error(CronErrorKind::Value, message).help(help));
        }
        return Ok(None);
    }
    if let Some((day, place)) = part.split('#') {
        let weekday = parse_value(day)? % 7;
        return match place.text {
            "1" | "2" | "3" | "4" | "5" => Ok(Some(Item::NthWeekday(
                weekday,
                u32::from(place.text.as_bytes()[0] - b'0'),
            ))),
            text => {
                let message = format!("a month has no {} of that weekday", place_word(text));
                let help = "`#1` to `#5` count from its start; `L` in place of `#` is the last one (`5L`)";
                Err(part.error(CronErrorKind::Value, message).help(help))
            }
        };
    }
    // `jul` and the like end in L too, but no weekday's name does.
    match part.text.strip_suffix(['l', 'L']) {
        Some(day) => Ok(Some(Item::LastWeekday(
            parse_value(Part { text: day, ..part })? % 7,
        ))),
        None => Ok(None),
    }
}

fn place_word(text: &str) -> String {
    if text.is_empty() || text.len() > 3 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return quoted(text).to_string();
    }
    format!("number {text}")
}

/// Text from outside, safe for a terminal and a log line: escaped, and cut when long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| if c == '`' { vec!['\''] } else { escape(c) })
        .collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

fn escape(c: char) -> Vec<char> {
    // Letters of any script are readable; whatever steers a terminal or hides is not.
    if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' {
        vec![c]
    } else {
        c.escape_default().collect()
    }
}

/// As [`shown`], in backticks.
pub(super) fn quoted(text: &str) -> impl fmt::Display + use<> {
    format!("`{}`", shown(text))
}

#[cfg(test)]
mod tests {
    use super::CronErrorKind::{Ambiguous, Dialect, Fields, Impossible, Range, Step, Value};
    use super::*;
    use crate::schedule::parse_cron;

    fn check(expression: &str, kind: CronErrorKind, carets: &str, message: &str, help: &str) {
        let error = parse_cron(expression).expect_err(expression);
        assert_eq!(
            error.caret(expression),
            format!("{expression}\n{carets}"),
            "{expression}: {error:?}"
        );
        assert_eq!(
            (error.message.as_str(), error.help.as_deref()),
            (message, Some(help)),
            "{expression}"
        );
        assert_eq!(error.kind, kind, "{expression}");
    }

    #[test]
    fn six_fields_are_refused_with_the_trap_named() {
        check(
            "0 30 2 * * *",
            Fields,
            "^",
            "six fields: the first would be seconds, which cron does not have; with seconds read as minutes a job \
             runs 60 times too often or at the wrong time",
            "without the seconds it is `30 2 * * *`; for more often than once a minute write `x-scheduler.every: 10s`",
        );
        let error = parse_cron("*/15 * * * * ?").unwrap_err();
        let help = error.help.unwrap();
        assert!(
            help.starts_with("without the seconds it is `* * * * *`"),
            "{help}"
        );
        assert!(help.ends_with("`x-scheduler.every: 15s`"), "{help}");
        check(
            "0 12 1 1 * 2027",
            Fields,
            "           ^^^^",
            "six fields, the last one a year; cron has five: minute hour day month weekday",
            "without the year it is `0 12 1 1 *`",
        );
        check(
            "0 0 12 ? * MON 2027",
            Fields,
            "^^^^^^^^^^^^^^^^^^^",
            "seven fields, as Quartz writes them, with seconds first and a year last; cron has five: minute hour day \
             month weekday",
            "without seconds and year it is `0 12 * * MON`",
        );
    }

    #[test]
    fn too_few_fields_or_a_whole_crontab_line() {
        check(
            "30 2",
            Fields,
            "^^^^",
            "found 2 fields; five fields are needed: minute hour day month weekday",
            "perhaps `30 2 * * *`",
        );
        check(
            "  ",
            Fields,
            "^^",
            "the expression is empty; five fields are needed: minute hour day month weekday",
            "`30 2 * * *` is every day at 02:30",
        );
        for line in ["30 2 * * * /usr/bin/backup --all", "30 2 * * * backup"] {
            let error = parse_cron(line).unwrap_err();
            assert_eq!(error.span, 11..line.len());
            assert!(error.help.unwrap().contains("`command`"));
        }
        assert_eq!(parse_cron(&"1,".repeat(600)).unwrap_err().kind, Fields);
    }

    #[test]
    fn values_out_of_their_field() {
        for (expression, carets, message, help) in [
            (
                "60 2 * * *",
                "^^",
                "60 is not a minute",
                "minutes go from 0 to 59",
            ),
            (
                "0 24 * * *",
                "  ^^",
                "24 is not an hour",
                "hours go from 0 to 23; midnight is 0",
            ),
            (
                "0 0 0 * *",
                "    ^",
                "0 is not a day of the month",
                "days go from 1 to 31; `L` is the last day of the month",
            ),
            (
                "0 0 1 13 *",
                "      ^^",
                "13 is not a month",
                "months go from 1 to 12, or `jan` to `dec`",
            ),
            (
                "0 0 * * 1,8",
                "          ^",
                "8 is not a weekday",
                "weekdays go from 0 (Sunday) over 6 (Saturday) to 7 (Sunday again), or `sun` to `sat`",
            ),
            (
                "0 0 * * monday",
                "        ^^^^^^",
                "`monday` is not a weekday",
                "write `mon`",
            ),
            (
                "0 0 * mon *",
                "      ^^^",
                "`mon` is not a month",
                "a weekday goes into the fifth field",
            ),
            (
                "0 0 * * jan",
                "        ^^^",
                "`jan` is not a weekday",
                "a month goes into the fourth field",
            ),
            (
                "1,,2 0 * * *",
                " ^",
                "an entry of the list `1,,2` is empty",
                "leave out the extra comma",
            ),
            (
                "1, 0 * * *",
                " ^",
                "an entry of the list `1,` is empty",
                "leave out the extra comma",
            ),
            (
                "+5 0 * * *",
                "^^",
                "`+5` is not a minute",
                "minutes go from 0 to 59",
            ),
        ] {
            check(expression, Value, carets, message, help);
        }
    }

    #[test]
    fn ranges_that_run_backwards() {
        for (expression, carets, message, help) in [
            (
                "0 22-6 * * *",
                "  ^^^^",
                "the range `22-6` runs backwards",
                "to go over the end of the cycle write `22-23,0-6`",
            ),
            (
                "0 22-6/2 * * *",
                "  ^^^^",
                "the range `22-6` runs backwards",
                "to go over the end of the cycle write `22,0,2,4,6`",
            ),
            (
                "0 0 * * fri-mon",
                "        ^^^^^^^",
                "the range `fri-mon` runs backwards",
                "to go over the end of the cycle write `fri-sat,sun-mon`",
            ),
            (
                "0 0 * * sat-sun",
                "        ^^^^^^^",
                "the range `sat-sun` runs backwards",
                "to go over the end of the cycle write `sat,sun`",
            ),
            (
                "0 0 * * 7-2",
                "        ^^^",
                "the range `7-2` runs backwards",
                "Sunday is also 0: write `0-2`",
            ),
            (
                "0 5- * * *",
                "  ^^",
                "the range `5-` has no end",
                "write both ends, such as `0-23`",
            ),
        ] {
            check(expression, Range, carets, message, help);
        }
    }

    #[test]
    fn steps_that_do_not_step() {
        for (expression, carets, message, help) in [
            (
                "*/90 * * * *",
                "^^^^",
                "the step 90 is wider than the 60 minutes it applies to: only 0 would ever match",
                "cron counts minutes within one hour; for every 90 minutes write `x-scheduler.every: 90m`",
            ),
            (
                "0 */36 * * *",
                "  ^^^^",
                "the step 36 is wider than the 24 hours it applies to: only 0 would ever match",
                "cron counts hours within one day; for every 36 hours write `x-scheduler.every: 36h`",
            ),
            (
                "10-12/5 * * * *",
                "^^^^^^^",
                "the step 5 is wider than the 3 minutes it applies to: only 10 would ever match",
                "`10` alone has the same meaning",
            ),
            (
                "5/15 * * * *",
                "^^^^",
                "the step in `5/15` has no range to walk",
                "write `5-59/15`, or `5` for that minute alone",
            ),
            (
                "0/15 * * * *",
                "^^^^",
                "the step in `0/15` has no range to walk",
                "write `*/15`, or `0` for that minute alone",
            ),
            (
                "*/0 * * * *",
                "  ^",
                "a step of 0 never moves on",
                "the smallest step is 1",
            ),
            (
                "*/ * * * *",
                " ^",
                "the step `` is not a number",
                "a step is written `*/5` or `0-30/5`",
            ),
            (
                "*/5/2 * * * *",
                " ^^^^",
                "the step `5/2` is not a number",
                "a step is written `*/5` or `0-30/5`",
            ),
        ] {
            check(expression, Step, carets, message, help);
        }
        assert_eq!(parse_cron("*/99999999999 * * * *").unwrap_err().kind, Step);
    }

    #[test]
    fn other_dialects_are_known_by_name() {
        for (expression, carets, message, help) in [
            ("0 0 ? * 1", "    ^", "`?` in `?` is Quartz's syntax", "write `*`"),
            (
                "0 0 15W * *",
                "    ^^^",
                "`15W` (the working day nearest to a date) is Quartz's syntax",
                "write a date, `L` for the last day of the month, or weekdays as the fifth field (`1-5`)",
            ),
            (
                "0 0 LW * *",
                "    ^^",
                "`LW` (the working day nearest to a date) is Quartz's syntax",
                "write a date, `L` for the last day of the month, or weekdays as the fifth field (`1-5`)",
            ),
            (
                "0 0 L-3 * *",
                "    ^^^",
                "`L-3` (days before the end of the month) is Quartz's syntax",
                "only `L`, the last day of the month, is known",
            ),
            (
                "0 0 * * L",
                "        ^",
                "`L` alone is not a weekday (Quartz reads it as Saturday)",
                "write `6` for each Saturday, or `6L` for the last one of the month",
            ),
            (
                "H 2 * * *",
                "^",
                "`H` is Jenkins' syntax",
                "write a time, and `x-scheduler.jitter` to spread starts",
            ),
            (
                "TZ=Asia/Tokyo 0 2 * * *",
                "^^^^^^^^^^^^^",
                "a time zone does not belong into the expression",
                "write `timezone: Asia/Tokyo` beside the expression",
            ),
        ] {
            check(expression, Dialect, carets, message, help);
        }
    }

    #[test]
    fn places_in_the_month_have_their_fields() {
        for (expression, carets, message, help) in [
            (
                "0 0 5L * *",
                "    ^^",
                "`5L` is not a day of the month",
                "`L` is the last day of the month; `5L` goes into the fifth field",
            ),
            (
                "0 0 2#1 * *",
                "    ^^^",
                "`2#1` is not a day of the month",
                "`2#1`, the first Tuesday of the month, goes into the fifth field",
            ),
            (
                "0 0 * * 2#6",
                "        ^^^",
                "a month has no number 6 of that weekday",
                "`#1` to `#5` count from its start; `L` in place of `#` is the last one (`5L`)",
            ),
            (
                "0 0 * * 8#1",
                "        ^",
                "8 is not a weekday",
                "weekdays go from 0 (Sunday) over 6 (Saturday) to 7 (Sunday again), or `sun` to `sat`",
            ),
        ] {
            check(expression, Value, carets, message, help);
        }
        for (expression, carets) in [
            ("0 0 L * 1", "    ^"),
            ("0 0 1 * 5L", "        ^^"),
            ("0 0 */2 * 2#1", "          ^^^"),
        ] {
            let message = "`L` and `#` count days of the month: the other day field must be `*`";
            check(
                expression,
                Ambiguous,
                carets,
                message,
                "write two schedules, or `*` for the other day field",
            );
        }
    }

    #[test]
    fn two_day_fields_that_crons_read_differently() {
        for (expression, carets, pair) in [
            ("0 0 */2 * 1", "    ^^^", "`*/2` beside `1`"),
            ("0 0 */1 * mon", "    ^^^", "`*/1` beside `mon`"),
            ("0 0 *,4 * 1", "    ^^^", "`*,4` beside `1`"),
            ("0 0 13 * */2", "         ^^^", "`*/2` beside `13`"),
        ] {
            let message =
                format!("{pair} is ambiguous: some crons want both day fields to match, others either");
            check(
                expression,
                Ambiguous,
                carets,
                &message,
                "say which with `x-scheduler.day_match: any` or `all`",
            );
        }
        for fine in ["0 0 */2 * *", "0 0 * * */2", "0 0 13 * 5", "0 0 4,* * 1"] {
            assert!(parse_cron(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_day_that_never_comes() {
        check(
            "0 0 30 2 *",
            Impossible,
            "    ^^^^",
            "no month of `30 2` (day, month) has a day 30: the job would never start",
            "`L` is the last day of any month",
        );
        assert_eq!(parse_cron("0 0 31 2,4,jun,9,11 *").unwrap_err().kind, Impossible);
        for fine in ["0 0 29 2 *", "0 0 30 2 1", "0 0 30,29 2 *", "0 0 31 2,3 *"] {
            assert!(parse_cron(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn macros_stand_alone_and_in_small_letters() {
        for (name, _) in MACROS {
            assert!(parse_cron(name).is_ok());
        }
        check(
            "@Daily",
            Value,
            "^^^^^^",
            "`@Daily` is not a macro",
            "write `@daily`",
        );
        check(
            "@daily x",
            Value,
            "^^^^^^^^",
            "`@daily` is not a macro",
            "`@daily` stands alone",
        );
        check(
            "@every 5m",
            Value,
            "^^^^^^^^^",
            "`@every` is not a macro",
            "write `x-scheduler.every: 5m` in place of a cron expression",
        );
        assert_eq!(parse_cron("@reboot").unwrap_err().kind, Value);
        assert_eq!(parse_cron("@").unwrap_err().kind, Value);
    }

    #[test]
    fn carets_count_characters_and_hostile_text_is_escaped() {
        let expression = "0 0 * * \u{fc}\u{1b}[31m,9";
        let error = parse_cron(expression).unwrap_err();
        assert_eq!(error.message, "`ü\\u{1b}[31m` is not a weekday");
        assert_eq!(error.caret(expression), "0 0 * * ü [31m,9\n        ^^^^^^");
        let error = parse_cron("0 0 * * é,9").unwrap_err();
        assert_eq!(error.caret("0 0 * * é,9"), "0 0 * * é,9\n        ^");
        assert_eq!(parse_cron("0\t0 * *  8\n").unwrap_err().span, 9..10);
    }

    #[test]
    fn fields_may_be_parted_by_any_blanks_and_names_by_any_case() {
        for fine in [
            " 05\t2  * JAN-mar Mon-FRI\n",
            "0 0 * * sat-7",
            "0 0 * * friL",
            "0 0 * * TUE#1,tue#3",
            "0 0 15,l * *",
        ] {
            assert!(parse_cron(fine).is_ok(), "{fine}");
        }
    }
}
