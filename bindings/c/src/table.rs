//! Handles: a slot and its generation in a pointer that is never dereferenced.
//!
//! A C program may pass in anything: NULL, a pointer of its own, a handle that was freed, a handle of another kind.
//! Each is distinguished from a valid one here, without a read of the memory it points at. The top byte says that it is
//! a handle of this library and of which kind (no address of a user's program has it), then come 8 bits of the process
//! (its fork depth), 24 of slot and 24 of generation. A forked child has its own tables, and can distinguish its
//! parent's handles from its own.

use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::per_process::{PerProcess, current_depth};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles need pointers of 64 bits");

/// The top byte of kind 0.
const FIRST_KIND: usize = 0xe0;
const DEPTH_BITS: u32 = 8;
const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

/// Why a handle is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HandleError {
    /// It is NULL.
    Null,
    /// It was never a handle of this kind.
    Foreign,
    /// It was freed.
    Freed,
    /// It is the parent's, and this is a forked child.
    Inherited,
}

struct HandleSlot<T> {
    generation: u32,
    value: Option<Arc<T>>,
}

struct HandleSlots<T> {
    slots: Vec<HandleSlot<T>>,
    free: Vec<usize>,
}

impl<T> Default for HandleSlots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

/// All handles of one kind: `H` is the C type, `T` the object that a handle refers to.
pub(crate) struct HandleTable<H, T: 'static> {
    kind: usize,
    slots: PerProcess<RwLock<HandleSlots<T>>>,
    c_type: PhantomData<fn(*mut H)>,
}

impl<H, T: Send + Sync> HandleTable<H, T> {
    /// An empty table. No two kinds may have one number, which is below 16.
    pub(crate) const fn new(kind: usize) -> Self {
        Self { kind: FIRST_KIND + kind, slots: PerProcess::new(), c_type: PhantomData }
    }

    // The slots are consistent between two statements, so a poisoned lock can be used.
    fn read(&self) -> RwLockReadGuard<'_, HandleSlots<T>> {
        self.slots.get().read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HandleSlots<T>> {
        self.slots.get().write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new handle; NULL when the table is full.
    pub(crate) fn insert(&self, value: T) -> *mut H {
        let value = Arc::new(value);
        let mut table = self.write();
        let slot = match table.free.pop() {
            Some(slot) => slot,
            None if table.slots.len() < 1 << SLOT_BITS => {
                table.slots.push(HandleSlot { generation: 0, value: None });
                table.slots.len() - 1
            }
            None => return std::ptr::null_mut(),
        };
        let Some(entry) = table.slots.get_mut(slot) else { return std::ptr::null_mut() };
        entry.generation += 1;
        entry.value = Some(value);
        let generation = entry.generation as usize;
        let kind = self.kind << DEPTH_BITS | current_depth() as usize;
        let address = kind << (SLOT_BITS + GENERATION_BITS) | slot << GENERATION_BITS | generation;
        std::ptr::without_provenance_mut(address)
    }

    fn parse_handle(&self, handle: *const H) -> Result<(usize, u32), HandleError> {
        let address = handle.addr();
        if address == 0 {
            return Err(HandleError::Null);
        }
        let kind = address >> (SLOT_BITS + GENERATION_BITS);
        if kind >> DEPTH_BITS != self.kind {
            return Err(HandleError::Foreign);
        }
        match kind & ((1 << DEPTH_BITS) - 1) {
            depth if depth < current_depth() as usize => return Err(HandleError::Inherited),
            depth if depth > current_depth() as usize => return Err(HandleError::Foreign),
            _ => {}
        }
        let slot = (address >> GENERATION_BITS) & ((1 << SLOT_BITS) - 1);
        u32::try_from(address & ((1 << GENERATION_BITS) - 1))
            .map(|generation| (slot, generation))
            .or(Err(HandleError::Foreign))
    }

    /// The object that a handle refers to.
    pub(crate) fn get(&self, handle: *const H) -> Result<Arc<T>, HandleError> {
        let (slot, generation) = self.parse_handle(handle)?;
        let table = self.read();
        let entry = table.slots.get(slot).ok_or(HandleError::Foreign)?;
        if generation == 0 || generation > entry.generation {
            return Err(HandleError::Foreign);
        }
        let value = entry.value.as_ref().filter(|_| entry.generation == generation);
        value.cloned().ok_or(HandleError::Freed)
    }

    /// Removes a handle, and returns its object.
    pub(crate) fn remove(&self, handle: *const H) -> Result<Arc<T>, HandleError> {
        let (slot, generation) = self.parse_handle(handle)?;
        let mut table = self.write();
        let entry = table.slots.get_mut(slot).ok_or(HandleError::Foreign)?;
        if generation == 0 || generation > entry.generation {
            return Err(HandleError::Foreign);
        }
        if generation < entry.generation {
            return Err(HandleError::Freed);
        }
        let value = entry.value.take().ok_or(HandleError::Freed)?;
        // A slot whose generations are used up is not used again.
        if generation < LAST_GENERATION {
            table.free.push(slot);
        }
        Ok(value)
    }
}
