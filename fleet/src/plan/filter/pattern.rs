//! A regular expression in a filter: bounded when it is compiled, linear when it is matched.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};

/// A pattern that compiles to no more than this is a small one, and there may be many of them.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// What a large one may become.
const LARGE_BYTES_MAX: usize = 1024 * 1024;

/// How much the matcher may remember between two texts, for each pattern.
const CACHE_BYTES_MAX: usize = 512 * 1024;

/// How deep groups may be nested in a pattern.
const NEST_MAX: u32 = 100;

/// A regular expression: not anchored, linear in time. Two are equal when their text is.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
    size: Size,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

/// What can be said about a pattern without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It matches every text.
    Everything,
    /// It matches the texts that begin so, and no others.
    Prefix(String),
    /// It matches this text alone.
    Exactly(String),
    /// It matches the texts that hold this somewhere, and no others.
    Contains(String),
    /// Something else.
    Other,
}

/// Why a pattern is refused: what, and after how many bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) offset: usize,
    pub(super) reason: String,
}

impl Pattern {
    /// Compiles a pattern outside a filter: a search by name.
    ///
    /// # Errors
    ///
    /// A [`super::FilterError`] whose column counts the characters of the pattern.
    pub fn new(source: &str) -> Result<Self, super::FilterError> {
        Self::compile(source)
            .map_err(|refused| super::FilterError::pattern(source, refused.offset, refused.reason))
    }

    pub(super) fn compile(source: &str) -> Result<Self, Refused> {
        let hir = regex_syntax::ParserBuilder::new()
            .nest_limit(NEST_MAX)
            .build()
            .parse(source)
            .map_err(|error| refused(&error))?;
        let built = |limit| {
            RegexBuilder::new(source)
                .size_limit(limit)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .nest_limit(NEST_MAX)
                .build()
        };
        let (regex, size) = match built(SMALL_BYTES_MAX) {
            Ok(regex) => (regex, Size::Small),
            Err(_) => match built(LARGE_BYTES_MAX) {
                Ok(regex) => (regex, Size::Large),
                Err(_) => {
                    let reason = "compiled it would be larger than 1 MiB".to_owned();
                    return Err(Refused { offset: 0, reason });
                }
            },
        };
        Ok(Self { regex, size, shape: shape(&hir) })
    }

    /// Whether some part of the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The text that it was made from.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// What can be said about it without running it.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }
}

fn shape(hir: &Hir) -> Shape {
    match parts(hir) {
        [] => Shape::Everything,
        [one] if is(one, Look::Start) || is(one, Look::End) => Shape::Everything,
        [one] => literal(one).map_or(Shape::Other, Shape::Contains),
        [start, text] if is(start, Look::Start) => {
            literal(text).map_or(Shape::Other, Shape::Prefix)
        }
        [start, text, end] if is(start, Look::Start) && is(end, Look::End) => {
            literal(text).map_or(Shape::Other, Shape::Exactly)
        }
        _ => Shape::Other,
    }
}

fn parts(hir: &Hir) -> &[Hir] {
    match hir.kind() {
        HirKind::Empty => &[],
        HirKind::Concat(parts) => parts,
        // `.*` and the like match everywhere.
        _ if hir.properties().minimum_len() == Some(0)
            && hir.properties().look_set().is_empty() =>
        {
            &[]
        }
        _ => std::slice::from_ref(hir),
    }
}

fn is(hir: &Hir, look: Look) -> bool {
    matches!(hir.kind(), HirKind::Look(found) if *found == look)
}

fn literal(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        _ => None,
    }
}

fn refused(error: &regex_syntax::Error) -> Refused {
    match error {
        regex_syntax::Error::Parse(error) => {
            Refused { offset: error.span().start.offset, reason: error.kind().to_string() }
        }
        regex_syntax::Error::Translate(error) => {
            Refused { offset: error.span().start.offset, reason: error.kind().to_string() }
        }
        other => Refused { offset: 0, reason: other.to_string() },
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
