//! From text to a [`Filter`]: a descent by hand, because its errors are read by people. The depth of
//! what it descends into is counted, so that no text can exhaust the stack.

use std::fmt;
use std::str::FromStr;

use super::pattern::Size;
use super::{
    Age, Comparison, DEPTH_MAX, EXPRESSION_BYTES_MAX, Filter, LARGE_PATTERNS_MAX, PATTERNS_MAX,
    Pattern, Unit,
};
use crate::plan::words::{AttributeKey, PackageName, PackageVersion, Tag, WordError};

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {fault}")]
pub struct FilterError {
    /// The character where it goes wrong, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else stands where one of these has to.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand there.
        expected: Expected,
        /// What does.
        found: String,
    },
    /// A string begins and does not end.
    #[error("this string does not end; strings run from \" to the next \"")]
    OpenString,
    /// A regular expression that is none, or too large a one.
    #[error("this is no regular expression for a filter: {0}")]
    Pattern(String),
    /// A string that is no word of its kind.
    #[error("{0}")]
    Word(#[from] WordError),
    /// A number that is too large.
    #[error("a time span counts up to {}", u32::MAX)]
    Number,
    /// Nested too deeply.
    #[error("nested more than {DEPTH_MAX} deep; a long AND or OR needs no parentheses")]
    TooDeep,
    /// Too long a text.
    #[error("an expression has at most {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// Too many regular expressions.
    #[error(
        "a filter has at most {PATTERNS_MAX} regular expressions; (A|B) in one is the shorter way"
    )]
    TooManyPatterns,
    /// Too many large regular expressions.
    #[error("a filter has at most {LARGE_PATTERNS_MAX} regular expressions as large as this")]
    TooManyLargePatterns,
}

/// What could stand at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The beginning of a condition.
    Condition,
    /// `AND`, `OR` or the end.
    Joint,
    /// `AND`, `OR` or the parenthesis that closes.
    Closing,
    /// A string in quotes.
    Text,
    /// `=`
    Equals,
    /// A comparison of versions.
    Comparison,
    /// A comparison of times, which can hardly be equal.
    Ordering,
    /// A number and a unit.
    Age,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition => {
                "a condition (vin_matches, has_package, has_component, attr, tag, runs, seen, online, \
                 TRUE, FALSE), NOT or ("
            }
            Self::Joint => "AND, OR or the end",
            Self::Closing => "AND, OR or )",
            Self::Text => "a string in quotes",
            Self::Equals => "=",
            Self::Comparison => "one of = != < <= > >=",
            Self::Ordering => "one of < <= > >=",
            Self::Age => "a time span such as 90s, 15m, 12h, 7d or 4w",
        })
    }
}

impl FilterError {
    pub(super) fn pattern(text: &str, offset: usize, reason: String) -> Self {
        Self { column: column(text, offset), fault: Fault::Pattern(reason) }
    }
}

/// The character at a byte, counted from 1.
fn column(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(0, |before| before.chars().count()) + 1
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// A [`FilterError`] with the column, and with what was expected there.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let end = (0..=EXPRESSION_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
            let column = column(text, end.unwrap_or(0));
            return Err(FilterError { column, fault: Fault::TooLong });
        }
        let mut parser = Parser { text, place: 0, depth: 0, patterns: 0, large: 0 };
        let filter = parser.any_of()?;
        match parser.peek()? {
            (_, Token::End) => Ok(filter),
            (at, found) => Err(parser.unexpected(at, Expected::Joint, found)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Sign(&'a str),
    End,
}

struct Parser<'a> {
    text: &'a str,
    place: usize,
    depth: usize,
    patterns: usize,
    large: usize,
}

impl<'a> Parser<'a> {
    fn any_of(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.all_of()?];
        while self.take_word("OR")? {
            parts.push(self.all_of()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn all_of(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.one()?];
        while self.take_word("AND")? {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn one(&mut self) -> Result<Filter, FilterError> {
        let (at, token) = self.next()?;
        match token {
            Token::Sign("(") => {
                self.deeper(at)?;
                let inner = self.any_of()?;
                match self.next()? {
                    (_, Token::Sign(")")) => {}
                    (at, found) => return Err(self.unexpected(at, Expected::Closing, found)),
                }
                self.depth -= 1;
                Ok(inner)
            }
            Token::Word("NOT") => {
                self.deeper(at)?;
                let inner = self.one()?;
                self.depth -= 1;
                Ok(Filter::Not(Box::new(inner)))
            }
            // Apart from the descent, so that a level of it is small on the stack.
            token => self.leaf(at, token),
        }
    }

    fn leaf(&mut self, at: usize, token: Token<'a>) -> Result<Filter, FilterError> {
        Ok(match token {
            Token::Word("TRUE") => Filter::True,
            Token::Word("FALSE") => Filter::False,
            Token::Word("online") => Filter::Online,
            Token::Word("vin_matches") => Filter::VinMatches(self.pattern()?),
            Token::Word("has_package") => Filter::HasPackage(self.pattern()?, self.pattern()?),
            Token::Word("has_component") => Filter::HasComponent(self.pattern()?),
            Token::Word("tag") => Filter::Tag(self.word::<Tag>()?),
            Token::Word("attr") => {
                let key = self.word::<AttributeKey>()?;
                match self.next()? {
                    (_, Token::Sign("=")) => {}
                    (at, found) => return Err(self.unexpected(at, Expected::Equals, found)),
                }
                Filter::Attribute(key, self.string()?.1.to_owned())
            }
            Token::Word("runs") => Filter::Runs(
                self.word::<PackageName>()?,
                self.comparison(Expected::Comparison)?,
                self.word::<PackageVersion>()?,
            ),
            Token::Word("seen") => Filter::Seen(self.comparison(Expected::Ordering)?, self.age()?),
            found => return Err(self.unexpected(at, Expected::Condition, found)),
        })
    }

    fn deeper(&mut self, at: usize) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error(at, Fault::TooDeep)) } else { Ok(()) }
    }

    fn pattern(&mut self) -> Result<Pattern, FilterError> {
        let (at, source) = self.string()?;
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(self.error(at, Fault::TooManyPatterns));
        }
        let pattern = Pattern::compile(source).map_err(|refused| {
            // Behind the quote.
            FilterError::pattern(self.text, at + 1 + refused.offset, refused.reason)
        })?;
        self.large += usize::from(pattern.size() == Size::Large);
        if self.large > LARGE_PATTERNS_MAX {
            return Err(self.error(at, Fault::TooManyLargePatterns));
        }
        Ok(pattern)
    }

    fn word<W: FromStr<Err = WordError>>(&mut self) -> Result<W, FilterError> {
        let (at, text) = self.string()?;
        text.parse().map_err(|error: WordError| self.error(at, error.into()))
    }

    fn string(&mut self) -> Result<(usize, &'a str), FilterError> {
        match self.next()? {
            (at, Token::Text(text)) => Ok((at, text)),
            (at, found) => Err(self.unexpected(at, Expected::Text, found)),
        }
    }

    fn comparison(&mut self, expected: Expected) -> Result<Comparison, FilterError> {
        let (at, token) = self.next()?;
        let equality = expected == Expected::Comparison;
        Ok(match token {
            Token::Sign("=") if equality => Comparison::Equal,
            Token::Sign("!=") if equality => Comparison::Unequal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::AtMost,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::AtLeast,
            found => return Err(self.unexpected(at, expected, found)),
        })
    }

    fn age(&mut self) -> Result<Age, FilterError> {
        let (at, token) = self.next()?;
        let Token::Word(word) = token else {
            return Err(self.unexpected(at, Expected::Age, token));
        };
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (number, sign) = word.split_at(digits);
        let Some((_, unit)) = Unit::ALL.iter().find(|(known, _)| digits > 0 && *known == sign)
        else {
            return Err(self.unexpected(at, Expected::Age, token));
        };
        let number = number.parse().map_err(|_| self.error(at, Fault::Number))?;
        Ok(Age { number, unit: *unit })
    }

    fn take_word(&mut self, word: &str) -> Result<bool, FilterError> {
        let before = self.place;
        let found = self.next()?.1 == Token::Word(word);
        if !found {
            self.place = before;
        }
        Ok(found)
    }

    fn peek(&mut self) -> Result<(usize, Token<'a>), FilterError> {
        let before = self.place;
        let token = self.next();
        self.place = before;
        token
    }

    /// The next token, and the byte at which it begins.
    fn next(&mut self) -> Result<(usize, Token<'a>), FilterError> {
        let text = self.text;
        let rest = text[self.place..].trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            self.place = text.len();
            return Ok((at, Token::End));
        };
        let (token, length) = match first {
            '"' => match rest[1..].find('"') {
                Some(end) => (Token::Text(&rest[1..=end]), end + 2),
                None => return Err(self.error(at, Fault::OpenString)),
            },
            '<' | '>' | '!' if rest[1..].starts_with('=') => (Token::Sign(&rest[..2]), 2),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
            c => (Token::Sign(&rest[..c.len_utf8()]), c.len_utf8()),
        };
        self.place = at + length;
        Ok((at, token))
    }

    fn unexpected(&self, at: usize, expected: Expected, found: Token<'_>) -> FilterError {
        let found = match found {
            Token::Word(word) => shortened(word),
            Token::Text(text) => format!("the string {:?}", shortened(text)),
            Token::Sign(sign) => format!("{sign:?}"),
            Token::End => "the end".to_owned(),
        };
        self.error(at, Fault::Unexpected { expected, found })
    }

    fn error(&self, at: usize, fault: Fault) -> FilterError {
        FilterError { column: column(self.text, at), fault }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// An error does not repeat 64 KiB to the one who sent them.
fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 40;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
