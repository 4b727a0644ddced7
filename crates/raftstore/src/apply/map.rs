//! A map in the place of an engine.

use super::ApplyStore;
use crate::op::consistency::{FAMILIES, Hash, HashWish, RegionHasher};
use crate::state::decode_apply_state;
use bytes::Bytes;
use engine::Cf;
use std::collections::BTreeMap;
use types::{RegionId, Space, keys};

#[derive(Clone, Default)]
pub(crate) struct Map(
    pub(crate) BTreeMap<(Cf, Vec<u8>), Bytes>,
    /// At which entries it was to be hashed, and what the Region held there.
    pub(crate) Vec<(u64, Hash)>,
);

impl Map {
    pub(crate) fn applied_index(&mut self) -> Option<u64> {
        let state = self.get(Cf::Raft, &keys::apply_state_key(RegionId(2)));
        let state = state.unwrap()?;
        Some(decode_apply_state(state).unwrap().applied_index)
    }
}

impl ApplyStore for Map {
    fn begin_reads(&mut self) -> engine::Result<()> {
        Ok(())
    }

    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>> {
        Ok(self.0.get(&(cf, key.to_vec())).cloned())
    }

    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.0
            .insert((cf, key.to_vec()), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.0.remove(&(cf, key.to_vec()));
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        self.0
            .retain(|(at, key), _| *at != cf || &key[..] < start || &key[..] >= end);
    }

    fn pin(&mut self, wish: HashWish) {
        let HashWish { region, index } = wish;
        let space = Space::of(region.id);
        let start = space.key(&region.range.start);
        let end = space.end_key(&region.range.end);
        let mut hasher = RegionHasher::new(&region);
        for cf in FAMILIES {
            let range = (cf, start.clone())..(cf, end.clone());
            for ((cf, key), value) in self.0.range(range) {
                hasher.see(*cf, space.strip(key).expect("it lies within"), value);
            }
        }
        self.1.push((index, hasher.finish()));
    }
}
