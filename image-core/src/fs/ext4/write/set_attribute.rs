//! Attributes set and taken: in the inode where they fit, else in a block, else in an inode of their own.
//!
//! ```text
//! entries of the inode ─┐                                     ┌► inode
//! entries of its block ─┴─► without the old one, with the new ┼► block; of one that others share, a copy
//!                                                             └► inode of the value (ea_inode), its entry in one of the two
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extended Attributes"); xattr(7).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::access_list;
use super::attribute_area::{Entry, Stored, put_block, put_inside};
use super::attributes::put_block_checksum;
use super::inode::{CHANGED, put_time};
use super::refusal::Refusal;
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::attributes::{
    ACCESS_LIST, CONTENT, DEFAULT_LIST, HEADER_LEN, MAGIC, SYSTEM, Value, entries, split_name, wrong,
};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u16_at, u32_at};
use crate::fs::ext4::inode::{Inode, NodeKind, OLD_LEN};

/// What xattr(7) takes for a name and a value.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 1 << 16;
/// The prefix `user.`.
const USER: u8 = 1;

/// The attributes of an inode, by where they are.
struct Attributes {
    inside: Vec<Entry>,
    block: Vec<Entry>,
}

impl Ext4Writer {
    /// Sets the extended attribute `name` of `inode`, with names and values as setxattr(2) has them. An access control list sets the
    /// mode too, and one that says no more than a mode can is not kept.
    ///
    /// # Errors
    /// [`Refusal::NoRoomForAttribute`] or [`Refusal::NoSpace`]; [`Invalid`](crate::ErrorKind::Invalid) for a name or value that this
    /// inode cannot have; [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`](crate::fs::Ext4Rule); whatever the disk says.
    pub fn set_attribute(&mut self, inode: u32, name: &[u8], value: &[u8]) -> Result<()> {
        self.attempt(|changes| changes.put_attribute(inode, name, value))
            .doing(|| format!("setting {} of inode {inode}", String::from_utf8_lossy(name)))
    }

    /// Takes the extended attribute `name` from `inode`.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] if it has none; else as [`set_attribute`](Self::set_attribute).
    pub fn remove_attribute(&mut self, inode: u32, name: &[u8]) -> Result<()> {
        let remove = |changes: &mut Self| {
            let own = changes.changeable(inode)?;
            let key = split_name(name).ok_or(Refusal::NotFound)?;
            match changes.replace_attribute(&own, key, None)? {
                true => changes.touch_changed(inode),
                false => Err(Refusal::NotFound.into()),
            }
        };
        self.attempt(remove).doing(|| format!("taking {} from inode {inode}", String::from_utf8_lossy(name)))
    }

    fn put_attribute(&mut self, number: u32, name: &[u8], value: &[u8]) -> Result<()> {
        let inode = self.changeable(number)?;
        let key = split_name(name).ok_or_else(|| Error::invalid("no attribute can have this name"))?;
        if key.1.len() > NAME_MAX || value.len() > VALUE_MAX {
            return Err(Error::invalid("its name or value is too long"));
        }
        let has_user = matches!(inode.kind, NodeKind::File | NodeKind::Directory);
        if key.0 == USER && !has_user {
            return Err(Error::invalid("only files and directories have attributes of users"));
        }
        if !matches!(key.0, ACCESS_LIST | DEFAULT_LIST) {
            self.replace_attribute(&inode, key, Some(value))?;
            return self.touch_changed(number);
        }
        let is_fit = match key.0 {
            DEFAULT_LIST => inode.kind == NodeKind::Directory,
            _ => inode.kind != NodeKind::Link,
        };
        let list = access_list::stored(value).filter(|_| is_fit);
        let mut list = list.ok_or_else(|| Error::invalid("it is no access control list for this inode"))?;
        if key.0 == ACCESS_LIST
            && let Some(own) = &list
        {
            let (rights, is_all) = access_list::mode_of(own);
            self.put_mode(number, inode.mode as u16 & !0o777 | rights)?;
            list = list.filter(|_| !is_all);
        }
        self.replace_attribute(&inode, key, list.as_deref())?;
        self.touch_changed(number)
    }

    fn touch_changed(&mut self, number: u32) -> Result<()> {
        let now = self.time;
        self.edit_inode(number, |_, bytes| put_time(bytes, CHANGED, now))
    }

    /// The value of an attribute of `inode` as it is stored.
    pub(super) fn stored_attribute(&self, inode: &Inode, prefix: u8, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let all = self.entries_of(inode)?;
        let found = all.inside.into_iter().chain(all.block).find(|entry| entry.is((prefix, name)));
        match found.map(|entry| entry.value) {
            Some(Stored::Here(value)) => Ok(Some(value)),
            Some(Stored::Inode { .. }) => Err(Error::unsupported("it is in an inode of its own")),
            None => Ok(None),
        }
    }

    /// How many values of `inode` are inodes.
    pub(super) fn count_values(&self, inode: &Inode) -> Result<i64> {
        let all = self.entries_of(inode)?;
        let is_inode = |entry: &&Entry| matches!(entry.value, Stored::Inode { .. });
        let count = all.inside.iter().chain(&all.block).filter(is_inode).count();
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn entries_of(&self, inode: &Inode) -> Result<Attributes> {
        let mut found = Attributes { inside: Vec::new(), block: Vec::new() };
        if let Some(area) = inode.inside.strip_prefix(&MAGIC) {
            found.inside = self.entries_in(inode, area, area)?;
        }
        if let Some(block) = self.fs.attribute_block(inode)? {
            found.block = self.entries_in(inode, block.get(HEADER_LEN..).unwrap_or_default(), &block)?;
        }
        Ok(found)
    }

    fn entries_in(&self, inode: &Inode, area: &[u8], values: &[u8]) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        for entry in entries(area, values).map_err(|what| wrong(inode, what))? {
            let value = match entry.value {
                Value::Here(value) => Stored::Here(value.to_vec()),
                Value::Inode(number, len) => {
                    let sum = self.fs.inode(number)?.accessed.seconds as u32;
                    Stored::Inode { number, len, sum }
                }
            };
            all.push(Entry { prefix: entry.prefix, name: entry.name.to_vec(), value });
        }
        Ok(all)
    }

    /// Sets the attribute `key` of `inode` to `value` as it is stored, or takes it. Answers with whether there was one.
    pub(super) fn replace_attribute(
        &mut self,
        inode: &Inode,
        key: (u8, &[u8]),
        value: Option<&[u8]>,
    ) -> Result<bool> {
        let before = self.entries_of(inode)?;
        let without = |entries: &[Entry]| -> Vec<Entry> {
            entries.iter().filter(|entry| !entry.is(key)).cloned().collect()
        };
        let mut after = Attributes { inside: without(&before.inside), block: without(&before.block) };
        let old = before.inside.iter().chain(&before.block).find(|entry| entry.is(key)).cloned();
        if let Some(value) = value {
            let entry = |value| Entry { prefix: key.0, name: key.1.to_vec(), value };
            if !self.fit(inode, &mut after, entry(Stored::Here(value.to_vec()))) {
                if !self.fs.superblock().has(features::EA_INODE) {
                    return Err(Refusal::NoRoomForAttribute.into());
                }
                let stored = self.new_value(inode, value)?;
                if !self.fit(inode, &mut after, entry(stored)) {
                    return Err(Refusal::NoRoomForAttribute.into());
                }
            }
        }
        if after.inside != before.inside {
            let area = self.area_of(inode);
            self.edit_inode(inode.number, |_, bytes| {
                put_inside(bytes.get_mut(area..).unwrap_or_default(), &after.inside);
            })?;
        }
        let users = match inode.attribute_block {
            0 => 0,
            block => self.users_of(block)?,
        };
        if after.block != before.block {
            // Values that a copy of the block uses once more.
            let is_kept = |entry: &&Entry| before.block.contains(entry);
            let kept: Vec<Entry> = after.block.iter().filter(is_kept).cloned().collect();
            self.rewrite_block(inode, users, &after.block, &kept)?;
        }
        if let Some(Entry { value: Stored::Inode { number, len, .. }, .. }) = &old {
            self.count_value(inode, *len, false)?;
            // A block that others share still uses it.
            let is_shared = users > 1 && before.block.iter().any(|entry| entry.is(key));
            if !is_shared {
                self.release_value(inode, *number)?;
            }
        }
        Ok(old.is_some())
    }

    /// Puts `entry` where there is room: `false` if there is none.
    fn fit(&self, inode: &Inode, all: &mut Attributes, entry: Entry) -> bool {
        let size = self.fs.superblock();
        let mut inside = all.inside.clone();
        inside.push(entry);
        let room = (size.inode_size as usize).saturating_sub(self.area_of(inode));
        if room > 0 && put_inside(&mut vec![0; room], &inside) {
            all.inside = inside;
            return true;
        }
        let Some(entry) = inside.pop() else { return false };
        // What of its content an inode has as an attribute stays in it.
        let is_content = entry.is((SYSTEM, CONTENT));
        all.block.push(entry);
        let fits = !is_content && put_block(&mut vec![0; size.block_size as usize], &all.block);
        if !fits {
            all.block.pop();
        }
        fits
    }

    /// Where in its bytes `inode` has room for attributes; its end if it has none.
    fn area_of(&self, inode: &Inode) -> usize {
        let size = self.fs.superblock().inode_size as usize;
        let bytes = self.fs.inode_bytes(inode.number);
        let extra = bytes.map_or(0, |bytes| usize::from(u16_at(&bytes, 0x80)));
        if size <= OLD_LEN || extra == 0 { size } else { OLD_LEN.saturating_add(extra).min(size) }
    }

    fn users_of(&self, block: u64) -> Result<u32> {
        let bytes = self.fs.blocks().block(block)?;
        Ok(if bytes.starts_with(&MAGIC) { u32_at(&bytes, 4) } else { 0 })
    }

    /// Has `inode`, whose block `users` inodes use, have `entries` in a block of its own, none in none. `kept` were there before.
    fn rewrite_block(&mut self, inode: &Inode, users: u32, entries: &[Entry], kept: &[Entry]) -> Result<()> {
        let old = inode.attribute_block;
        if entries.is_empty() {
            self.leave_block(old, users)?;
            self.point_to_attributes(inode, 0)?;
            return self.count_clusters(inode, -1);
        }
        let mut block = old;
        if users != 1 {
            let superblock = self.fs.superblock();
            let near = superblock.blocks_of(superblock.place_of_inode(inode.number).0).start;
            block = self.allocate(near, 1)?.0;
            self.set_feature(features::EXT_ATTR, true)?;
            self.point_to_attributes(inode, block)?;
        }
        if users == 0 {
            self.count_clusters(inode, 1)?;
        } else if users > 1 {
            self.leave_block(old, users)?;
            for entry in kept {
                if let Stored::Inode { number, .. } = entry.value {
                    self.use_value(number)?;
                }
            }
        }
        let (seed, has_sums) = (self.fs.superblock().seed, self.fs.superblock().has(features::METADATA_CSUM));
        self.fs.blocks().change(block, |bytes| {
            put_block(bytes, entries);
            if has_sums {
                put_block_checksum(seed, block, bytes);
            }
        })
    }

    /// One user less of a block of attributes; its values stay as they are.
    fn leave_block(&mut self, block: u64, users: u32) -> Result<()> {
        if block == 0 {
            return Ok(());
        }
        if users > 1 {
            return self.put_users(block, users.saturating_sub(1));
        }
        let cluster = self.cluster_of(block);
        self.free_clusters(vec![(cluster, 1)]).map(|_| ())
    }

    fn point_to_attributes(&mut self, inode: &Inode, block: u64) -> Result<()> {
        let high = (block >> 32) as u16;
        if high != 0 && !self.fs.superblock().has(features::WIDE) {
            return Err(Refusal::NoSpace.into());
        }
        self.edit_inode(inode.number, |_, bytes| {
            put(bytes, 0x68, &(block as u32).to_le_bytes());
            put(bytes, 0x76, &high.to_le_bytes());
        })
    }
}
