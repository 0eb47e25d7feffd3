//! A tree: items found by key, and walked through in the order of their keys.
//!
//! ```text
//! root ─► pointers, by the first key of each ─► … ─► items        what the log says lies over them
//! ```
//! A block's keys lie between the one that leads to it and the next: so every block is met once however broken a tree is, and
//! levels go down by one: so no way is longer than the root's level says.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::blocks::{Blocks, Wanted};
use super::key::Key;
use super::rule::BtrfsRule;
use super::superblock::TreeRoot;
use super::tree_block::{Item, Pointer, TreeBlock};
use crate::error::{Error, Result};

/// Items that count in place of those in a tree; `None` for one that is gone.
pub(super) type Overlay = BTreeMap<Key, Option<Arc<[u8]>>>;

/// A tree, and what lies over it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Its number.
    pub(super) id: u64,
    root: TreeRoot,
    overlay: Arc<Overlay>,
}

impl Tree {
    pub(super) fn new(id: u64, root: TreeRoot) -> Self {
        Self { id, root, overlay: Arc::default() }
    }

    /// The same with `overlay` over it.
    pub(super) fn with_overlay(self, overlay: Arc<Overlay>) -> Self {
        Self { overlay, ..self }
    }

    /// What lies over it, to be changed.
    pub(super) fn overlay_mut(&mut self) -> &mut Overlay {
        Arc::make_mut(&mut self.overlay)
    }

    /// Gives what lies over it.
    pub(super) fn into_overlay(self) -> Arc<Overlay> {
        self.overlay
    }

    fn root_block(&self, blocks: &Blocks) -> Result<Arc<TreeBlock>> {
        let TreeRoot { block, generation, level } = self.root;
        blocks.tree_block(Wanted { block, generation, level, owner: self.id })
    }

    /// The block that `pointer` in `parent` leads to; all of its keys are below `bound`.
    fn child(
        &self,
        blocks: &Blocks,
        parent: &TreeBlock,
        pointer: Pointer,
        bound: Option<Key>,
    ) -> Result<Arc<TreeBlock>> {
        let Pointer { key, block, generation } = pointer;
        let wrong = |what| Error::corrupt(BtrfsRule::TreeBlock { block, what });
        let level = parent.level.checked_sub(1).ok_or_else(|| wrong("level"))?;
        let child = blocks.tree_block(Wanted { block, generation, level, owner: self.id })?;
        if child.key(0) != Some(key) || bound.is_some_and(|bound| child.last_key() >= Some(bound)) {
            return Err(wrong("range of keys"));
        }
        Ok(child)
    }

    /// The item with `key`.
    pub(super) fn get(&self, blocks: &Blocks, key: Key) -> Result<Option<Item>> {
        match self.overlay.get(&key) {
            Some(found) => Ok(found.as_ref().map(|bytes| Item::new(key, Arc::clone(bytes)))),
            None => Ok(self.stored_at_most(blocks, key)?.filter(|item| item.key == key)),
        }
    }

    /// The last item whose key is not above `key`.
    pub(super) fn at_most(&self, blocks: &Blocks, key: Key) -> Result<Option<Item>> {
        let laid = self.overlay.range(..=key).rev().find_map(|(key, bytes)| Some((*key, bytes.as_ref()?)));
        let laid = laid.map(|(key, bytes)| Item::new(key, Arc::clone(bytes)));
        let mut from = key;
        let stored = loop {
            let Some(item) = self.stored_at_most(blocks, from)? else { break None };
            let is_before = laid.as_ref().is_some_and(|laid| item.key < laid.key);
            if is_before || !self.overlay.contains_key(&item.key) {
                break Some(item);
            }
            let Some(previous) = item.key.previous() else { break None };
            from = previous;
        };
        Ok([laid, stored].into_iter().flatten().max_by_key(|item| item.key))
    }

    fn stored_at_most(&self, blocks: &Blocks, key: Key) -> Result<Option<Item>> {
        let mut block = self.root_block(blocks)?;
        let mut bound = None;
        while block.level > 0 {
            let Some(slot) = block.slot_at_most(key) else { return Ok(None) };
            let Some(pointer) = block.pointer(slot) else { return Ok(None) };
            bound = block.key(slot.saturating_add(1)).or(bound);
            block = self.child(blocks, &block, pointer, bound)?;
        }
        Ok(block.slot_at_most(key).and_then(|slot| block.item(slot)))
    }

    /// Calls `each` with the address of every block of it.
    pub(super) fn each_block(&self, blocks: &Blocks, each: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        each(self.root.block)?;
        let mut way = vec![Step { block: self.root_block(blocks)?, slot: 0, bound: None }];
        while let Some(top) = way.last_mut() {
            let slot = top.slot;
            top.slot = slot.saturating_add(1);
            let Some(pointer) = top.block.pointer(slot) else {
                way.pop();
                continue;
            };
            each(pointer.block)?;
            let bound = top.block.key(top.slot).or(top.bound);
            let block = self.child(blocks, &top.block, pointer, bound)?;
            way.push(Step { block, slot: 0, bound });
        }
        Ok(())
    }

    /// The items from `first` to `last`, both included. Behind an error there is nothing more.
    pub(super) fn range<'a>(&self, blocks: &'a Blocks, first: Key, last: Key) -> Cursor<'a> {
        Cursor { tree: self.clone(), blocks, way: None, waiting: None, from: Some(first), last }
    }

    /// All items of `kind` that `object` has.
    pub(super) fn items<'a>(&self, blocks: &'a Blocks, object: u64, kind: u8) -> Cursor<'a> {
        self.range(blocks, Key::new(object, kind, 0), Key::last(object, kind))
    }
}

/// A block on the way to an item.
struct Step {
    block: Arc<TreeBlock>,
    /// What comes next.
    slot: usize,
    /// What all its keys are below.
    bound: Option<Key>,
}

/// Items one after the other.
pub(super) struct Cursor<'a> {
    tree: Tree,
    blocks: &'a Blocks,
    /// From the root down; `None` before the first item.
    way: Option<Vec<Step>>,
    /// Read from the tree, but something that lies over it comes first.
    waiting: Option<Item>,
    /// What lies over it counts from here on; `None` at the end.
    from: Option<Key>,
    last: Key,
}

impl Cursor<'_> {
    fn begin(&self, first: Key) -> Result<Vec<Step>> {
        let mut block = self.tree.root_block(self.blocks)?;
        let mut bound = None;
        let mut way = Vec::new();
        while block.level > 0 {
            let slot = block.slot_at_most(first).unwrap_or(0);
            let Some(pointer) = block.pointer(slot) else { break };
            let slot = slot.saturating_add(1);
            let below = block.key(slot).or(bound);
            let child = self.tree.child(self.blocks, &block, pointer, below)?;
            way.push(Step { block, slot, bound });
            (block, bound) = (child, below);
        }
        let slot = block.slot_from(first);
        way.push(Step { block, slot, bound });
        Ok(way)
    }

    fn stored(&mut self, first: Key) -> Result<Option<Item>> {
        let mut way = match self.way.take() {
            Some(way) => way,
            None => self.begin(first)?,
        };
        while let Some(top) = way.last_mut() {
            let slot = top.slot;
            top.slot = slot.saturating_add(1);
            if let Some(item) = top.block.item(slot) {
                self.way = Some(way);
                return Ok(Some(item).filter(|item| item.key <= self.last));
            }
            let Some(pointer) = top.block.pointer(slot) else {
                way.pop();
                continue;
            };
            let bound = top.block.key(slot.saturating_add(1)).or(top.bound);
            let block = self.tree.child(self.blocks, &top.block, pointer, bound)?;
            way.push(Step { block, slot: 0, bound });
        }
        self.way = Some(way);
        Ok(None)
    }

    fn step(&mut self) -> Result<Option<Item>> {
        while let Some(from) = self.from.filter(|from| *from <= self.last) {
            if self.waiting.is_none() {
                self.waiting = self.stored(from)?;
            }
            let laid = self.tree.overlay.range(from..=self.last).next();
            let stored = self.waiting.as_ref().map(|item| item.key);
            let Some((key, bytes)) = laid.filter(|(key, _)| stored.is_none_or(|stored| **key <= stored))
            else {
                let item = self.waiting.take();
                self.from = item.as_ref().and_then(|item| item.key.next());
                return Ok(item);
            };
            if stored == Some(*key) {
                self.waiting = None;
            }
            self.from = key.next();
            if let Some(bytes) = bytes {
                return Ok(Some(Item::new(*key, Arc::clone(bytes))));
            }
        }
        Ok(None)
    }
}

impl Iterator for Cursor<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.from = None;
        }
        step
    }
}
