//! Patterns over names: `*` stands for any characters, `?` for one.

/// A pattern made of the characters of a name, `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl std::str::FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Glob, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?');
        if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
            return Err("a pattern is made of the characters of a name, `*` and `?`".to_owned());
        }
        Ok(Glob::new(text))
    }
}

impl Glob {
    #[must_use]
    pub fn new(pattern: &str) -> Glob {
        Glob(pattern.chars().collect())
    }

    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // `reached[i]`: the pattern's first i characters match the name so far.
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        for c in name.chars() {
            let mut next = vec![false; reached.len()];
            for (at, &pattern) in self.0.iter().enumerate() {
                match pattern {
                    '*' => next[at] |= reached[at],
                    '?' => next[at + 1] |= reached[at],
                    _ => next[at + 1] |= reached[at] && pattern == c,
                }
            }
            self.skip_stars(&mut next);
            reached = next;
        }
        reached[self.0.len()]
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (at, &pattern) in self.0.iter().enumerate() {
            if pattern == '*' && reached[at] {
                reached[at + 1] = true;
            }
        }
    }
}
