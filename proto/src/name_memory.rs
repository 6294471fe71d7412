use std::{
    hash::{BuildHasher, RandomState},
    time::Instant,
};

/// Remembers names for a while, in memory that never grows: where there is no room for one more, another is forgotten.
///
/// A name is kept as a keyed hash of 64 bits, so that nobody can choose names that push out one another.
#[derive(Clone, Debug)]
pub struct NameMemory {
    slots: Box<[Option<Remembered>]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    hash: u64,
    until: Instant,
}

impl NameMemory {
    /// Room for so many names; at least one.
    pub fn new(names_max: usize) -> Self {
        Self { slots: vec![None; names_max.max(1)].into(), hasher: RandomState::new() }
    }

    /// Remembers a name.
    pub fn remember(&mut self, name: &str, until: Instant) {
        let hash = self.hasher.hash_one(name);
        let slot = self.slot(hash);
        self.slots[slot] = Some(Remembered { hash, until });
    }

    /// Whether a name is remembered.
    pub fn has(&self, name: &str, now: Instant) -> bool {
        let hash = self.hasher.hash_one(name);
        self.slots[self.slot(hash)].is_some_and(|it| it.hash == hash && it.until > now)
    }

    fn slot(&self, hash: u64) -> usize {
        let slot = hash % self.slots.len() as u64;
        usize::try_from(slot).expect("it is less than how many slots there are")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_is_remembered_for_as_long_as_was_said() {
        let now = Instant::now();
        let mut memory = NameMemory::new(1_000);
        assert!(!memory.has("a.example", now));
        memory.remember("a.example", now + Duration::from_secs(60));
        assert!(memory.has("a.example", now + Duration::from_secs(59)));
        assert!(!memory.has("a.example", now + Duration::from_secs(60)));
        assert!(!memory.has("b.example", now));
    }

    #[test]
    fn any_number_of_names_takes_the_same_room() {
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        let mut memory = NameMemory::new(100);
        for number in 0..10_000 {
            memory.remember(&format!("{number}.example"), until);
        }
        let remembered = (0..10_000).filter(|number| memory.has(&format!("{number}.example"), now)).count();
        assert!((1..=100).contains(&remembered), "{remembered}");
        assert!(memory.has("9999.example", now), "the newest is");
    }
}
