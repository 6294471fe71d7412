use std::hash::Hash;

/// Values that others refer to by a small number, which stays the same for as long as anybody uses the key.
///
/// A number is given to another key only when nobody uses it any more: what holds one never reaches another's value.
#[derive(Clone, Debug)]
pub(super) struct Slots<K: Clone + Eq + Hash, V: Clone + Default> {
    numbers: imbl::HashMap<K, u32>,
    slots: imbl::Vector<Slot<K, V>>,
    free: imbl::Vector<u32>,
}

#[derive(Clone, Debug)]
struct Slot<K, V> {
    /// `None` while it is free.
    key: Option<K>,
    users: usize,
    value: V,
}

impl<K: Clone + Eq + Hash, V: Clone + Default> Slots<K, V> {
    /// The number of `key`, for one user more.
    pub(super) fn acquire(&mut self, key: &K) -> u32 {
        if let Some(number) = self.find(key) {
            self.slot_mut(number).users += 1;
            return number;
        }
        let slot = Slot { key: Some(key.clone()), users: 1, value: V::default() };
        let number = match self.free.pop_back() {
            Some(number) => {
                *self.slot_mut(number) = slot;
                number
            }
            None => {
                self.slots.push_back(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 services and pools fit in memory")
            }
        };
        self.numbers.insert(key.clone(), number);
        number
    }

    /// One user less. The last one leaves nothing.
    pub(super) fn release(&mut self, number: u32) {
        let slot = self.slot_mut(number);
        slot.users -= 1;
        if slot.users > 0 {
            return;
        }
        slot.value = V::default();
        if let Some(key) = slot.key.take() {
            self.numbers.remove(&key);
        }
        self.free.push_back(number);
    }

    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// The value at a number that is in use.
    pub(super) fn at(&self, number: u32) -> &V {
        &self.slots[number as usize].value
    }

    /// The value at a number that is in use.
    pub(super) fn at_mut(&mut self, number: u32) -> &mut V {
        &mut self.slot_mut(number).value
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter(|slot| slot.key.is_some()).map(|slot| &slot.value)
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot<K, V> {
        &mut self.slots[number as usize]
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Default> Default for Slots<K, V> {
    fn default() -> Self {
        Self { numbers: imbl::HashMap::default(), slots: imbl::Vector::new(), free: imbl::Vector::new() }
    }
}
