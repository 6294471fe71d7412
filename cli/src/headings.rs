//! What groups of options are called in helps.

/// The heading of what says how a change is made.
pub(crate) const CHANGE: &str = "Change options";
/// The heading of what says how a change is followed to the edges.
pub(crate) const WAIT: &str = "Wait options";
/// The heading of what says how clients are spoken to.
pub(crate) const TLS: &str = "TLS options";
