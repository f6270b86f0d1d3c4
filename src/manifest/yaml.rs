//! One YAML text to a small tree in which every key and value knows where it stands.
//!
//! Scalars follow the YAML 1.2 core schema as Compose reads it (`on` is a text, `0644` and `0o644`
//! are 420). Anchors, aliases and merge keys are resolved here; everything a hostile text could do
//! (depth, alias bombs, duplicate keys, tags) is bounded or refused here. What the keys mean is not
//! known here.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::diagnostic::{Sink, code};

/// Compose files are flat; deeper ones exist to exhaust a stack.
const MAX_DEPTH: usize = 32;
/// Nodes that aliases may add in one file: "a billion laughs" stops here.
const MAX_ALIAS_NODES: usize = 10_000;
/// And so does one huge text that is named ten thousand times.
const MAX_ALIAS_BYTES: usize = 8 << 20;

/// A value and the bytes it stands in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub value: Value,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    Seq(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: Key,
    pub value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub text: String,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub text: String,
    pub kind: Kind,
    /// It holds something that came from `.env` or the scheduler's environment.
    pub sensitive: bool,
    /// Byte n of `text` is byte n of the source: a caret may point into it.
    pub verbatim: bool,
    /// A variable in it could not be replaced, which was reported: nothing more is said about it.
    pub broken: bool,
}

/// What a scalar is under the core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

impl Node {
    /// What kind of value this is, for a message.
    pub fn noun(&self) -> &'static str {
        match &self.value {
            Value::Seq(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => "nothing",
                Kind::Bool(_) => "a boolean",
                Kind::Int(_) | Kind::Float(_) => "a number",
                Kind::Text => "a text",
            },
        }
    }

    pub fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.text == "true")
    }

    /// Whether any part of it came from outside of the file.
    pub fn is_sensitive(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => scalar.sensitive,
            Value::Seq(items) => items.iter().any(Node::is_sensitive),
            Value::Map(entries) => entries.iter().any(|entry| entry.value.is_sensitive()),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.text == key),
            Value::Scalar(_) | Value::Seq(_) => None,
        }
    }

    /// Nodes in this tree, itself included.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Seq(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }

    /// Bytes of all texts in this tree.
    fn bytes(&self) -> usize {
        match &self.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::Seq(items) => items.iter().map(Node::bytes).sum(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| entry.key.text.len() + entry.value.bytes())
                .sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Seq(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
        }
    }
}

impl Scalar {
    /// The value as a line of an environment: numbers and booleans as Compose prints them.
    pub fn as_text(&self) -> String {
        match self.kind {
            Kind::Null => String::new(),
            Kind::Bool(value) => value.to_string(),
            Kind::Int(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Text => self.text.clone(),
        }
    }
}

/// Reads one document. `None` when nothing usable is there; why is in `sink`. An empty text is
/// `None` without a diagnostic.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        offsets: Offsets::new(text),
        text,
        anchors: HashMap::new(),
        alias_nodes: 0,
        alias_bytes: 0,
        sink,
    };
    reader.document().ok().flatten()
}

/// Markers count characters, everything else counts bytes.
struct Offsets {
    /// Byte of each character; empty for a text that is all ASCII.
    bytes: Vec<u32>,
    len: usize,
}

impl Offsets {
    fn new(text: &str) -> Offsets {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices()
                .map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX))
                .collect()
        };
        Offsets {
            bytes,
            len: text.len(),
        }
    }

    fn byte(&self, marker: &Marker) -> usize {
        let index = marker.index();
        let byte = if self.bytes.is_empty() {
            index
        } else {
            self.bytes.get(index).map_or(self.len, |&at| at as usize)
        };
        byte.min(self.len)
    }
}

/// The diagnostic is already in the sink.
struct Stop;

struct Reader<'t, 's, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    offsets: Offsets,
    text: &'t str,
    anchors: HashMap<usize, Node>,
    alias_nodes: usize,
    alias_bytes: usize,
    sink: &'s mut Sink<'f>,
}

impl<'t> Reader<'t, '_, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    self.sink
                        .error(code::SYNTAX, span, "a manifest is one YAML document")
                        .label("a second one begins here")
                        .help("put it into a file of its own");
                    return Err(Stop);
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 1)?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Stop> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
            Some(Ok((event, span))) => Ok((
                event,
                self.offsets.byte(&span.start)..self.offsets.byte(&span.end),
            )),
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker());
                let at = at.min(self.text.trim_end().len());
                // The scanner has a bound of its own, which it meets before we see a value.
                if error.info().contains("recursion limit") {
                    return Err(self.too_deep(at..at));
                }
                let message = format!("not valid YAML: {}", plain_words(error.info()));
                let help = help_for_syntax(self.text, at);
                let diagnostic = self.sink.error(code::SYNTAX, at..at, message);
                diagnostic.help = help.map(str::to_owned);
                Err(Stop)
            }
        }
    }

    fn too_deep(&mut self, span: Range<usize>) -> Stop {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        self.sink.error(code::LIMIT, span, message);
        Stop
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), span);
                Ok(self.remember(anchor, node))
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", &span);
                let node = self.sequence(span, depth)?;
                Ok(self.remember(anchor, node))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", &span);
                let node = self.mapping(span, depth)?;
                Ok(self.remember(anchor, node))
            }
            Event::Alias(anchor) => self.alias(anchor, span, depth),
            _ => {
                self.sink
                    .error(code::SYNTAX, span, "not valid YAML: a value is missing");
                Err(Stop)
            }
        }
    }

    fn remember(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    /// The anchored value again, at its own place in the text: an error in it is mended there.
    fn alias(&mut self, anchor: usize, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.sink
                .error(code::SYNTAX, span, "an alias inside the value that it names");
            return Err(Stop);
        };
        self.alias_nodes = self.alias_nodes.saturating_add(node.size());
        self.alias_bytes = self.alias_bytes.saturating_add(node.bytes());
        if self.alias_nodes > MAX_ALIAS_NODES || self.alias_bytes > MAX_ALIAS_BYTES {
            let message = if self.alias_nodes > MAX_ALIAS_NODES {
                format!("aliases of this file add up to more than {MAX_ALIAS_NODES} values")
            } else {
                format!(
                    "aliases of this file add up to more than {} MiB",
                    MAX_ALIAS_BYTES >> 20
                )
            };
            self.sink.error(code::LIMIT, span, message);
            return Err(Stop);
        }
        if depth + node.depth() > MAX_DEPTH + 1 {
            return Err(self.too_deep(span));
        }
        Ok(node.clone())
    }

    fn sequence(&mut self, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, item_span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node {
                    value: Value::Seq(items),
                    span: span.start..item_span.end.max(span.end),
                });
            }
            items.push(self.node(event, item_span, depth + 1)?);
        }
    }

    fn mapping(&mut self, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Range<usize>> = HashMap::new();
        let mut merges: Vec<Node> = Vec::new();
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                self.merge(&mut entries, merges);
                return Ok(Node {
                    value: Value::Map(entries),
                    span: span.start..key_span.end.max(span.end),
                });
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.key(event, key_span, depth)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            let Some(key) = key else { continue };
            if let Some(first) = seen.get(&key.text) {
                let line = self.sink.line_of(first.start);
                self.sink
                    .error(
                        code::DUPLICATE_KEY,
                        key.span,
                        format!("duplicate key `{}`", key.text),
                    )
                    .label(format!("already given in line {line}"));
                continue;
            }
            seen.insert(key.text.clone(), key.span.clone());
            if is_merge {
                merges.push(value);
            } else {
                entries.push(Entry { key, value });
            }
        }
    }

    /// `None` when the key is not usable; reported.
    fn key(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Option<Key>, Stop> {
        let node = self.node(event, span, depth + 1)?;
        let span = node.span.clone();
        match node.value {
            Value::Scalar(scalar) if scalar.kind == Kind::Text => Ok(Some(Key {
                text: scalar.text,
                span,
            })),
            Value::Scalar(scalar) => {
                let help = format!("write `\"{}\"`", scalar.text);
                self.sink
                    .error(code::TYPE, span, "a key must be a text")
                    .help(help);
                Ok(None)
            }
            Value::Seq(_) | Value::Map(_) => {
                self.sink.error(code::TYPE, span, "a key must be a text");
                Ok(None)
            }
        }
    }

    /// `<<`: keys of the mapping itself win, then earlier merged mappings over later ones.
    fn merge(&mut self, entries: &mut Vec<Entry>, merges: Vec<Node>) {
        let mut known: HashSet<String> = HashSet::new();
        if !merges.is_empty() {
            known.extend(entries.iter().map(|entry| entry.key.text.clone()));
        }
        for node in merges {
            let sources = match node.value {
                Value::Seq(items) => items,
                Value::Map(_) | Value::Scalar(_) => vec![node],
            };
            for source in sources {
                let noun = source.noun();
                let Value::Map(merged) = source.value else {
                    self.sink
                        .error(code::TYPE, source.span, "`<<` merges mappings only")
                        .label(format!("this is {noun}"));
                    continue;
                };
                entries.extend(
                    merged
                        .into_iter()
                        .filter(|entry| known.insert(entry.key.text.clone())),
                );
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Range<usize>) -> Node {
        let plain = style == ScalarStyle::Plain;
        let kind = match self.scalar_tag(tag, &span) {
            Some("str") => Kind::Text,
            Some(wanted) => self.tagged(text, wanted, &span),
            None if plain => resolve(text),
            None => Kind::Text,
        };
        if text.contains('\0') {
            self.sink
                .error(code::TYPE, span.clone(), "a NUL character, which no engine takes");
        }
        let inner = match style {
            ScalarStyle::Plain => span.clone(),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                span.start + 1..span.end.saturating_sub(1).max(span.start + 1)
            }
            ScalarStyle::Literal | ScalarStyle::Folded => 0..0,
        };
        let verbatim = self.text.get(inner).is_some_and(|source| source == text);
        // A multi-line block ends where the next key begins: point at what is written.
        let written = self
            .text
            .get(span.clone())
            .map_or(0, |source| source.trim_end().len());
        Node {
            span: span.start..span.start + written,
            value: Value::Scalar(Scalar {
                text: text.to_owned(),
                kind,
                sensitive: false,
                verbatim,
                broken: false,
            }),
        }
    }

    fn tagged(&mut self, text: &str, wanted: &str, span: &Range<usize>) -> Kind {
        let kind = resolve(text);
        let matches = match wanted {
            "null" => kind == Kind::Null,
            "bool" => matches!(kind, Kind::Bool(_)),
            "int" => matches!(kind, Kind::Int(_)),
            _ => matches!(kind, Kind::Float(_) | Kind::Int(_)),
        };
        if !matches {
            self.sink.error(
                code::TYPE,
                span.clone(),
                format!("this value is not what its tag `!!{wanted}` says"),
            );
        }
        kind
    }

    fn scalar_tag(&mut self, tag: Option<&Tag>, span: &Range<usize>) -> Option<&'static str> {
        let tag = tag?;
        if tag.is_yaml_core_schema() {
            let known = ["str", "int", "float", "bool", "null"]
                .into_iter()
                .find(|known| *known == tag.suffix);
            if known.is_some() {
                return known;
            }
        }
        self.refuse_tag(tag, span);
        None
    }

    fn check_tag(&mut self, tag: Option<&Tag>, wanted: &str, span: &Range<usize>) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == wanted)
        {
            self.refuse_tag(tag, span);
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, span: &Range<usize>) {
        let shown = if tag.is_yaml_core_schema() {
            format!("!!{}", tag.suffix)
        } else {
            tag.to_string()
        };
        self.sink.error(
            code::SYNTAX,
            span.clone(),
            format!("the YAML tag `{shown}` is not supported"),
        );
    }
}

/// What most often lies behind an error at that byte.
fn help_for_syntax(text: &str, at: usize) -> Option<&'static str> {
    let (before, after) = text.split_at_checked(at)?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    if line.trim_start_matches(' ').starts_with('\t') || after.starts_with('\t') {
        return Some("YAML is indented with spaces, not with tabs");
    }
    match after.chars().next()? {
        '*' => Some("a plain `*` begins an alias; put the text into quotes: `\"*/5 * * * *\"`"),
        '&' => Some("a plain `&` begins an anchor; put the text into quotes"),
        '@' | '`' | '%' => Some("no plain text begins with this character; put it into quotes"),
        _ => None,
    }
}

/// The scanner's message in a sentence that fits behind a colon.
fn plain_words(info: &str) -> String {
    info.trim().trim_end_matches('.').to_owned()
}

/// The core schema, with the two spellings that Compose's reader adds: `0644` is octal, and `_` may
/// group digits.
fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Kind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Kind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Kind::Text;
    }
    let digits = text.replace('_', "");
    if let Some(value) = integer(&digits) {
        return Kind::Int(value);
    }
    if is_float(&digits)
        && let Ok(value) = digits.parse()
    {
        return Kind::Float(value);
    }
    Kind::Text
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}
