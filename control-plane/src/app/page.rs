use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;
use switchyard_proto::vocab::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

use super::{AppError, page_token::PageTokens};
use crate::model::Stored;

/// Which page of a list.
#[derive(Clone, Debug)]
pub struct PageRequest {
    size: usize,
    /// The id that it begins after.
    after: Option<String>,
    tokens: PageTokens,
}

impl PageRequest {
    /// Takes what a request says: 0 stands for the default size, larger sizes than allowed for the largest, an empty
    /// token for the first page.
    pub fn parse(tokens: &PageTokens, page_size: i32, page_token: &str) -> Result<Self, AppError> {
        let size = match usize::try_from(page_size) {
            Err(_) => return Err(AppError::invalid("page_size", "a page size is not negative")),
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
        };
        let after = match page_token {
            "" => None,
            token => Some(tokens.open(token).ok_or_else(foreign_token)?),
        };
        Ok(Self { size, after, tokens: tokens.clone() })
    }

    /// How many elements it has at most.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// What it begins after, as the page before said.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The token of the page that begins after the element at this place, of the same list.
    pub(super) fn token_after(&self, place: &str) -> String {
        self.tokens.seal(place)
    }
}

pub(super) fn foreign_token() -> AppError {
    AppError::invalid("page_token", "not a token that a list returned")
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it, in order.
    pub items: Vec<T>,
    /// The token of the next one; empty on the last.
    pub next_page_token: String,
    /// What seals others.
    pub(super) tokens: PageTokens,
}

impl<T> Page<T> {
    /// Cuts a page out of `items`, which are in order of their ids.
    pub fn cut(items: impl Iterator<Item = T>, request: &PageRequest, id: impl Fn(&T) -> &str) -> Self {
        let after = |item: &T| request.after.as_deref().is_none_or(|after| id(item) > after);
        let items = items.filter(after).take(request.size + 1).collect();
        Self::of_more(items, request, |item| id(item).to_owned())
    }

    /// The token of a page that begins after one of this page's elements: that of this id.
    pub fn token_after(&self, id: &str) -> String {
        self.tokens.seal(id)
    }

    /// Makes a page of its elements and the place that the next one begins after, if there is one.
    pub(super) fn ending_at(items: Vec<T>, place: Option<&str>, request: &PageRequest) -> Self {
        let next_page_token = place.map(|place| request.token_after(place)).unwrap_or_default();
        Self { items, next_page_token, tokens: request.tokens.clone() }
    }

    /// Makes a page of its elements and, if there is one, the first of the next page.
    pub(super) fn of_more(mut items: Vec<T>, request: &PageRequest, place: impl Fn(&T) -> String) -> Self {
        let mut next_page_token = String::new();
        if items.len() > request.size {
            items.truncate(request.size);
            next_page_token = items.last().map(|last| request.token_after(&place(last))).unwrap_or_default();
        }
        Self { items, next_page_token, tokens: request.tokens.clone() }
    }
}

/// A page of those resources that are shown. Costs what is on the page, wherever in the list it is, and what is passed over.
pub(super) fn of_map<K, V>(
    map: &OrdMap<K, Arc<Stored<V>>>,
    request: &PageRequest,
    parse: impl Fn(&str) -> Option<K>,
    id: impl Fn(&V) -> &str,
    is_shown: impl Fn(&V) -> bool,
) -> Result<Page<Arc<Stored<V>>>, AppError>
where
    K: Ord + Clone,
{
    let start = match &request.after {
        None => Bound::Unbounded,
        Some(after) => Bound::Excluded(parse(after).ok_or_else(foreign_token)?),
    };
    let items = map.range((start, Bound::Unbounded)).map(|(_, stored)| stored);
    let items = items.filter(|stored| is_shown(&stored.value)).cloned();
    Ok(Page::cut(items, request, |stored| id(&stored.value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let tokens = PageTokens::new(&[7; 32]);
        let all = ["a", "b", "c", "d", "e"];
        let mut token = String::new();
        let mut seen: Vec<&str> = Vec::new();
        loop {
            let request = PageRequest::parse(&tokens, 2, &token).unwrap();
            let page = Page::cut(all.into_iter(), &request, |item| item);
            seen.extend(page.items);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn foreign_tokens_and_negative_sizes_are_refused() {
        let tokens = PageTokens::new(&[7; 32]);
        assert!(PageRequest::parse(&tokens, -1, "").is_err());
        assert!(PageRequest::parse(&tokens, 0, "*").is_err());
        assert!(PageRequest::parse(&tokens, 0, &PageTokens::new(&[8; 32]).seal("a")).is_err());
        assert!(PageRequest::parse(&tokens, i32::MAX, "").is_ok());
    }
}
