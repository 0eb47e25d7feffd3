//! Clusters in memory, as many as fit: tables as they are in the file, and what was decoded.
//!
//! ```text
//! key ─► a set of the cache (one lock each) ─► at most `ways` clusters, the latest used first
//!                 │ not there
//!                 └─► read outside the lock, then put first; the last falls out
//! ```
//!
//! Threads meet only where they look into the same set at the same moment, and never while one reads or decodes.
//! Two that miss the same cluster at once both fetch it.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex, PoisonError};

/// Clusters in a set.
const WAYS: u64 = 8;

/// The content of a cluster.
pub(crate) type Cluster = Arc<[u8]>;

/// What tells clusters apart.
pub(crate) trait Key: Copy + Eq {
    /// A number that is seldom the same for two.
    fn number(self) -> u64;
}

impl Key for u64 {
    fn number(self) -> u64 {
        self
    }
}

/// Clusters whose keys fall together, the latest used first.
type Set<K> = Vec<(K, Cluster)>;

/// Clusters by key, of a bounded number of bytes.
#[derive(Debug)]
pub(crate) struct ClusterCache<K> {
    sets: Box<[Mutex<Set<K>>]>,
    ways: usize,
}

impl<K: Key> ClusterCache<K> {
    /// An empty one for no more than `bytes` in clusters of `cluster_size`, or for one cluster.
    pub(crate) fn new(bytes: u64, cluster_size: u64) -> Self {
        let clusters = bytes.checked_div(cluster_size).unwrap_or_default().max(1);
        let ways = clusters.min(WAYS);
        let sets = (0..clusters.checked_div(ways).unwrap_or(1)).map(|_| Mutex::default()).collect();
        Self { sets, ways: ways as usize }
    }

    /// What `key` stands for, if it is there.
    pub(crate) fn find(&self, key: K) -> Option<Cluster> {
        let mut set = self.set(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let at = set.iter().position(|(known, _)| *known == key)?;
        let found = set.get_mut(..=at)?;
        found.rotate_right(1);
        found.first().map(|(_, cluster)| cluster.clone())
    }

    /// Puts `cluster` into the place of what was known of `key`.
    pub(crate) fn put(&self, key: K, cluster: Cluster) {
        let Some(set) = self.set(key) else { return };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        set.retain(|(known, _)| *known != key);
        set.truncate(self.ways.saturating_sub(1));
        set.insert(0, (key, cluster));
    }

    /// Forgets what was known of `key`.
    pub(crate) fn forget(&self, key: K) {
        if let Some(set) = self.set(key) {
            set.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != key);
        }
    }

    fn set(&self, key: K) -> Option<&Mutex<Set<K>>> {
        // Neighbours land in different sets; the product spreads those at regular distances.
        let spread = key.number().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_shr(32);
        let index = spread.checked_rem(self.sets.len() as u64)?;
        self.sets.get(index as usize)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn cluster_of(byte: u8) -> Cluster {
        vec![byte; 16].into()
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = ClusterCache::new(8 << 20, 2 << 20);
        cache.put(1, cluster_of(1));
        for key in 2..10 {
            cache.put(key, cluster_of(key as u8));
            assert_eq!(cache.find(1).unwrap()[0], 1);
        }
        let held: usize = cache.sets.iter().map(|set| set.lock().unwrap().len()).sum();
        assert_eq!(held, 4, "8 MiB of clusters of 2 MiB");
        assert!(cache.find(2).is_none(), "2 had fallen out");
    }

    #[test]
    fn one_cluster_is_kept_however_large_it_is_and_forgotten_on_demand() {
        let cache = ClusterCache::new(1, 1 << 16);
        cache.put(1, cluster_of(1));
        cache.put(1, cluster_of(2));
        assert_eq!(cache.find(1).unwrap()[0], 2);
        cache.forget(1);
        assert!(cache.find(1).is_none());
    }
}
