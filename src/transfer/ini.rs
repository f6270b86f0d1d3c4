//! INI values as the two libraries read them that ofelia's editions use: gcfg (mcuadros, chadburn) and
//! ini.v1 (netresearch). They agree where nobody writes quotes.

/// A value, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub text: String,
    /// The first byte behind it and its comment: a line's end, or the end of the file.
    pub end: usize,
    /// Where a comment behind it begins.
    pub comment: Option<usize>,
}

/// What stands behind `=`, with all that follows. `None` where gcfg refuses the file.
pub(crate) fn gcfg(text: &str) -> Option<Read> {
    let mut out = String::new();
    // White space at the end is none of the value's, unless it is in quotes.
    let mut kept = 0;
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    let mut stop = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\r' => continue,
            '\\' if quoted => match chars.next()?.1 {
                c @ ('\\' | '"') => out.push(c),
                'n' => out.push('\n'),
                't' => out.push('\t'),
                _ => return None,
            },
            '\\' => {
                chars.next_if(|(_, c)| *c == '\r');
                match chars.next()?.1 {
                    '\n' => {}
                    '"' => out.push('"'),
                    _ => return None,
                }
            }
            '\n' if quoted => return None,
            '\n' | ';' | '#' if !quoted => {
                stop = at;
                break;
            }
            ' ' | '\t' if !quoted && out.is_empty() => continue,
            c => out.push(c),
        }
        if quoted || !matches!(c, ' ' | '\t') {
            kept = out.len();
        }
    }
    if quoted {
        return None;
    }
    out.truncate(kept);
    let comment = text[stop..].starts_with([';', '#']).then_some(stop);
    Some(Read {
        text: out,
        end: line_end(text, stop),
        comment,
    })
}

/// The same for ini.v1.
pub(crate) fn ini_v1(text: &str) -> Option<Read> {
    let end = line_end(text, 0);
    let line = &text[..end];
    let value = line.trim_start();
    let read = |text: &str, end: usize| {
        Some(Read {
            text: text.to_owned(),
            end,
            comment: None,
        })
    };
    for quote in ["\"\"\"", "`"] {
        let Some(inner) = value.strip_prefix(quote) else {
            continue;
        };
        if let Some((inner, _)) = inner.rsplit_once(quote) {
            return read(inner, end);
        }
        // It goes on until a line has the quote again.
        let start = end - inner.len();
        let rest = &text[end..];
        let close = end + rest.find(quote)?;
        let close = text[..line_end(text, close)].rfind(quote).unwrap_or(close);
        return read(&text[start..close], line_end(text, close));
    }
    let value = value.trim_end();
    if let Some(value) = value.strip_suffix('\\') {
        return Some(continued(value, text, end));
    }
    let (value, comment) = match value.find(['#', ';']) {
        Some(at) => {
            let start = line.len() - line.trim_start().len();
            (value[..at].trim_end(), Some(start + at))
        }
        None => (value, None),
    };
    let inner = ['\'', '"'].into_iter().find_map(|quote| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    });
    Some(Read {
        text: inner.unwrap_or(value).to_owned(),
        end,
        comment,
    })
}

/// A line that ends in `\` goes on in the next one, comments and all.
fn continued(value: &str, text: &str, mut end: usize) -> Read {
    let mut out = value.to_owned();
    while end < text.len() {
        let next_end = line_end(text, end + 1);
        let next = text[end + 1..next_end].trim();
        end = next_end;
        match next.strip_suffix('\\') {
            Some(next) => out.push_str(next),
            None => {
                out.push_str(next);
                break;
            }
        }
    }
    Read {
        text: out,
        end,
        comment: None,
    }
}

fn line_end(text: &str, from: usize) -> usize {
    text.get(from..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |at| from + at)
}

/// Whether a value is one text in double quotes, with nothing beside it but a comment.
pub(crate) fn is_quoted(text: &str) -> bool {
    let Some(inner) = text.trim_start().strip_prefix('"') else {
        return false;
    };
    let mut escaped = false;
    let close = inner.find(|c: char| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    let rest = close.map(|at| inner[at + 1..].trim_start_matches([' ', '\t', '\r']));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', ';', '#']))
}

/// Whether a quote is escaped outside of quotes, which is how gcfg wants one that is meant.
pub(crate) fn escapes_quotes(line: &str) -> bool {
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if chars.next() == Some('"') && !quoted => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both readings; `-` where one library refuses the file.
    fn both(text: &str) -> [String; 2] {
        [gcfg(text), ini_v1(text)].map(|read| read.map_or_else(|| "-".to_owned(), |read| read.text))
    }

    #[test]
    fn values_are_as_each_library_reads_them() {
        for (text, first, second) in [
            (
                " php artisan x ; nightly\nk = v",
                "php artisan x",
                "php artisan x",
            ),
            (" \"@daily\" # nightly", "@daily", "@daily"),
            ("www-data\r\n", "www-data", "www-data"),
            ("", "", ""),
            (" # nothing", "", ""),
            (
                r#" "sh -c \"echo hi; date\"""#,
                r#"sh -c "echo hi; date""#,
                r#""sh -c \"echo hi"#,
            ),
            (r#" sh -c "a && b" # c"#, "sh -c a && b", r#"sh -c "a && b""#),
            (r#" sh -c \"a && b\""#, r#"sh -c "a && b""#, r#"sh -c \"a && b\""#),
            (r#"'it is'"#, "'it is'", "it is"),
            (r#""a\tb\\""#, "a\tb\\", r"a\tb\\"),
            (r"a\d", "-", r"a\d"),
            ("\"a", "-", "\"a"),
            ("\"a\nb\"", "-", "\"a"),
            ("`a; b`", "`a", "a; b"),
            ("\"\"\"a;\nb\"\"\" # c\nk = v", "-", "a;\nb"),
            ("`a\nb", "`a", "-"),
            ("a \\\n  b \\\n  c ; d\nk = v", "a   b   c", "a b c ; d"),
            ("\" a \"  ; x", " a ", " a "),
        ] {
            assert_eq!(both(text), [first, second], "{text}");
        }
        let read = gcfg("a ; b\nk").unwrap();
        assert_eq!((read.end, read.comment), (5, Some(2)));
        let read = ini_v1(" a ; b\nk").unwrap();
        assert_eq!((read.end, read.comment), (6, Some(3)));
        assert_eq!(ini_v1("\"\"\"a\nb\"\"\"\nk").unwrap().end, 9);
        assert_eq!(ini_v1("a\\\nb\nk").unwrap().end, 4);
    }

    #[test]
    fn whose_quotes_they_are() {
        assert!(is_quoted(r#" "a \" b" # c"#) && is_quoted("\"a\"\r\nb"));
        assert!(!is_quoted(r#""a" b"#) && !is_quoted(r#"a "b""#) && !is_quoted("\"a"));
        assert!(escapes_quotes(r#"sh -c \"a\""#));
        assert!(!escapes_quotes(r#"sh -c "a \"b\"""#) && !escapes_quotes(r"a \d"));
    }
}
