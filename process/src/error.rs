use std::error::Error;

/// An error with the chain of its causes, in one line. A cause that the text before repeats is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let of_cause = error.to_string();
        if !text.contains(&of_cause) {
            text.push_str(": ");
            text.push_str(&of_cause);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the store")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("read: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn every_cause_is_named_once() {
        assert_eq!(chain(&Outer(io::Error::other("disk\nfull"))), "open the store: disk full");
        assert_eq!(chain(&Repeating(io::Error::other("disk full"))), "read: disk full");
    }
}
