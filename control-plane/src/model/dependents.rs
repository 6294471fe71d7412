use std::fmt;

use switchyard_proto::vocab::ResourceKey;

/// Dependents that are named; the rest is counted.
const DEPENDENTS_NAMED_MAX: usize = 10;

/// What depends on something, as far as the actor may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependents {
    /// The first of those that are in the actor's scope.
    named: Vec<ResourceKey>,
    /// How many more there are.
    more: usize,
}

impl Dependents {
    /// Those that are named.
    pub fn named(&self) -> &[ResourceKey] {
        &self.named
    }

    /// Of all that depend on something, each with whether it is in the actor's scope. None: nothing does.
    pub fn of(all: impl Iterator<Item = (ResourceKey, bool)>) -> Option<Self> {
        let mut dependents = Self::default();
        for (key, is_in_scope) in all {
            if is_in_scope && dependents.named.len() < DEPENDENTS_NAMED_MAX {
                dependents.named.push(key);
            } else {
                dependents.more += 1;
            }
        }
        (dependents != Self::default()).then_some(dependents)
    }
}

/// `domains/a.example, domains/b.example and 3 more`
impl fmt::Display for Dependents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match (self.named.is_empty(), self.more) {
            (true, more) => write!(f, "{more} out of this token's scope"),
            (false, 0) => f.write_str(&named),
            (false, more) => write!(f, "{named} and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::HostPattern;

    use super::*;

    #[test]
    fn dependents_are_named_in_scope_and_counted_beyond() {
        let key = |n: usize| ResourceKey::domain(&HostPattern::parse(&format!("d{n:02}.example")).unwrap());
        assert_eq!(Dependents::of(std::iter::empty()), None);
        let text = |count, hidden| Dependents::of((0..count).map(|n| (key(n), n >= hidden))).unwrap().to_string();
        assert_eq!(text(2, 0), "domains/d00.example, domains/d01.example");
        assert_eq!(text(3, 2), "domains/d02.example and 2 more");
        assert_eq!(text(3, 3), "3 out of this token's scope");
        assert!(text(12, 0).ends_with("domains/d09.example and 2 more"));
    }
}
