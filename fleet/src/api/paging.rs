//! Pages of lists: `limit` and `cursor`.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::problem::Problem;
use super::types::List;
use crate::plan::filter::Pattern;

/// Items of a page, unless another number is asked for.
const LIMIT: usize = 100;
/// Items of a page at most.
pub(crate) const LIMIT_MAX: usize = 1000;

/// Which page of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paged {
    /// How many items, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<usize>,
    /// The `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Only what this regular expression finds, anywhere in the name.
    pub(super) regex: Option<String>,
}

/// The number of items that is asked for.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::senseless(format!("limit is 1 to {LIMIT_MAX}"))),
    }
}

/// A regular expression, if one is asked for.
pub(super) fn pattern(asked: Option<&str>) -> Result<Option<Pattern>, Problem> {
    Ok(asked.map(Pattern::new).transpose()?)
}

impl Paged {
    /// The page of a list that is sorted by `name`.
    pub(super) fn page<T, U: From<T>>(
        &self,
        all: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<List<U>, Problem> {
        let limit = limit(self.limit)?;
        let pattern = pattern(self.regex.as_deref())?;
        let found = |one: &T| pattern.as_ref().is_none_or(|pattern| pattern.is_match(name(one)));
        let all: Vec<T> = all.into_iter().filter(found).collect();
        let total = Some(all.len() as u64);
        let cursor = self.cursor.as_deref();
        let rest = all.into_iter().filter(|one| cursor.is_none_or(|cursor| name(one) > cursor));
        let mut items: Vec<T> = rest.take(limit + 1).collect();
        let next = if items.len() > limit {
            items.truncate(limit);
            items.last().map(|last| name(last).to_owned())
        } else {
            None
        };
        Ok(List { items: items.into_iter().map(U::from).collect(), next, total })
    }
}
