use std::sync::Arc;

use prost::Message;

use crate::{app::Page, model::Stored};

/// Bytes of the resources on one page: clients take messages of 4 MiB as a rule.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A page as messages, and the token of the next one. Where resources are long, it is shorter than asked for, so that it fits into
/// a message.
pub(super) fn fitting<T, M: Message>(
    page: Page<Arc<Stored<T>>>,
    message: impl Fn(&Stored<T>) -> M,
    id: impl Fn(&T) -> &str,
) -> (Vec<M>, String) {
    let mut messages = Vec::with_capacity(page.items.len());
    let mut bytes = 0;
    let mut last: Option<&Stored<T>> = None;
    for stored in &page.items {
        let next = message(stored);
        bytes += next.encoded_len();
        // One is far smaller than a page, so at least one fits.
        if let Some(last) = last.filter(|_| bytes > PAGE_BYTES_MAX) {
            return (messages, page.token_after(id(&last.value)));
        }
        messages.push(next);
        last = Some(stored);
    }
    (messages, page.next_page_token)
}
